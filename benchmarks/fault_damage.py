"""Ways in which a file of a run, a result or a plan is damaged; each is drawn from a seed."""

from __future__ import annotations

import array
import json
import math
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

JSON = (".json", ".jsonl")
WRONG: tuple[Any, ...] = (None, True, -1, 5, 1.5, 10**30, "x", "", [], {}, [1], {"a": 1}, math.nan, math.inf)
"""What stands in the place of a value of another kind."""
Path_ = list[Any]


def leaves(value: Any, at: Path_ | None = None) -> Iterator[Path_]:
    """Where JSON holds something: every place, containers too."""
    at = at or []
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from leaves(inner, [*at, key])


def put(value: Any, at: Path_, new: Any) -> None:
    for key in at[:-1]:
        value = value[key]
    value[at[-1]] = new


def get(value: Any, at: Path_) -> Any:
    for key in at:
        value = value[key]
    return value


def kind(value: Any) -> str:
    """A JSON value's kind; whole numbers are numbers."""
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def edited(path: Path, rng: random.Random, change: Callable[[Any, random.Random], str]) -> str:
    """Change the JSON in a file (of JSON lines, in one line)."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    value = json.loads(lines[number])
    told = change(value, rng)
    lines[number] = json.dumps(value, indent=None if path.suffix == ".jsonl" else 1)
    path.write_text("\n".join(lines) + "\n")
    return told


def wrong_kind(value: Any, rng: random.Random) -> str:
    at = rng.choice(list(leaves(value)))
    old = get(value, at)
    new = rng.choice([x for x in WRONG if kind(x) != kind(old) or (isinstance(x, float) and not math.isfinite(x))])
    put(value, at, new)
    return f"{'.'.join(map(str, at))} = {new!r}, was {str(old)[:40]!r}"


def field_renamed(value: Any, rng: random.Random) -> str:
    at = rng.choice([at for at in leaves(value) if isinstance(at[-1], str)])
    inside, name = get(value, at[:-1]), at[-1]
    how = rng.choice(["gone", "renamed", "added"])
    if how == "added":
        inside["surplus"] = 1
    else:
        old = inside.pop(name)
        if how == "renamed":
            inside[name + "_"] = old
    return f"{'.'.join(map(str, at))} {how}"


def truncated(path: Path, rng: random.Random) -> str:
    size = path.stat().st_size
    keep = rng.choice([rng.randrange(size), size - 1])
    os.truncate(path, keep)
    return f"{keep} of {size} bytes"


def emptied(path: Path, rng: random.Random) -> str:
    os.truncate(path, 0)
    return ""


def flipped(path: Path, rng: random.Random) -> str:
    told = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(told))
    told[bit // 8] ^= 1 << bit % 8
    path.write_bytes(told)
    return f"bit {bit} of {8 * len(told)}"


def noise(path: Path, rng: random.Random) -> str:
    path.write_bytes(rng.randbytes(rng.choice([1, 100, path.stat().st_size or 1])))
    return ""


def no_numbers(path: Path, rng: random.Random) -> str:
    """NaN or inf among weights."""
    told = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(told[:8], "little")
    head = json.loads(told[8:start])
    name = rng.choice([n for n, about in head.items() if n != "__metadata__" and about["dtype"] == "F32"])
    begin, end = head[name]["data_offsets"]
    at = start + begin + 4 * rng.randrange((end - begin) // 4)
    value = rng.choice([math.nan, math.inf, -math.inf])
    told[at : at + 4] = struct.pack("<f", value)
    path.write_bytes(told)
    return f"{name} holds {value}"


def deep(path: Path, rng: random.Random) -> str:
    path.write_text("[" * 200_000 + "]" * 200_000)
    return ""


def folder_there(path: Path, rng: random.Random) -> str:
    path.unlink()
    path.mkdir()
    return ""


def pipe_there(path: Path, rng: random.Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return ""


def link_there(path: Path, rng: random.Random) -> str:
    path.unlink()
    to = rng.choice(["nowhere", "/dev/zero", "/etc/passwd", path.name])
    path.symlink_to(to)
    return f"to {to}"


def gone(path: Path, rng: random.Random) -> str:
    path.unlink()
    return ""


def swapped(path: Path, others: list[Path], rng: random.Random) -> str:
    """Another file of that kind in its place."""
    other = rng.choice(others)
    shutil.copyfile(other, path)
    return f"by {'/'.join(other.parts[-4:])}"


ANY: dict[str, Callable[[Path, random.Random], str]] = {
    "truncated": truncated,
    "emptied": emptied,
    "bit flipped": flipped,
    "noise": noise,
    "missing": gone,
    "a folder": folder_there,
    "a pipe": pipe_there,
    "a link": link_there,
}
OF_JSON: dict[str, Callable[[Path, random.Random], str]] = {
    "wrong kind": lambda path, rng: edited(path, rng, wrong_kind),
    "field renamed": lambda path, rng: edited(path, rng, field_renamed),
    "nested deeply": deep,
}
OF_WEIGHTS: dict[str, Callable[[Path, random.Random], str]] = {"not numbers": no_numbers}
SWAPPED = "swapped"


def kinds(path: Path) -> list[str]:
    """What can be done to a file; what says most is drawn more often."""
    if path.suffix in JSON:
        return [*ANY, SWAPPED, *OF_JSON, "wrong kind", "wrong kind", "bit flipped"]
    return [*ANY, SWAPPED, *OF_WEIGHTS, "not numbers", "bit flipped", "bit flipped"]


def damage(path: Path, how: str, others: list[Path], rng: random.Random) -> str:
    """Do it; says what exactly."""
    if how == SWAPPED:
        return swapped(path, others, rng)
    return (ANY | OF_JSON | OF_WEIGHTS)[how](path, rng)


# ---- what only a checksum can tell -----------------------------------------------------------------------------------
def skeleton(value: Any) -> Any:
    """The names and kinds in JSON, without its values."""
    if isinstance(value, dict):
        return {key: skeleton(inner) for key, inner in value.items()}
    return [skeleton(inner) for inner in value] if isinstance(value, list) else kind(value)


def form(told: bytes, suffix: str) -> Any:
    """All that a file's content says of itself; two of one form differ in their values alone, all of them proper.

    None where it is damaged for anyone to see.
    """
    try:
        if suffix in JSON:
            no = lambda word: (_ for _ in ()).throw(ValueError(word))
            lines = told.splitlines() if suffix == ".jsonl" else [told]
            return str([skeleton(json.loads(line, parse_constant=no)) for line in lines])
        start = 8 + int.from_bytes(told[:8], "little")
        head = json.loads(told[8:start])
        shapes = {k: (v["dtype"], v["shape"], v["data_offsets"]) for k, v in head.items() if k != "__metadata__"}
        for dtype, _, (begin, end) in shapes.values():
            if dtype == "F32" and not all(map(math.isfinite, array.array("f", told[start + begin : start + end]))):
                return None
        return str(sorted(shapes.items())), len(told), head.get("__metadata__") if suffix else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def same_form(before: bytes, path: Path) -> bool:
    """Whether what lies there now is as good a file as what lay there before, but for its values."""
    if path.is_symlink() or not path.is_file():
        return False
    now = form(path.read_bytes(), path.suffix)
    return now is not None and now == form(before, path.suffix)

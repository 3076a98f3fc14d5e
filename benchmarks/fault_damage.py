"""Ways of damaging a file of a run, a result or a plan; each is drawn from a seed."""

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
"""Values that replace one of another kind."""
Path_ = list[Any]


def leaves(value: Any, at: Path_ | None = None) -> Iterator[Path_]:
    """Paths of all values in JSON, also of containers."""
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
    """Apply a change to the JSON of a file, or to one line of JSON lines; returns what was changed."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    number = rng.randrange(len(lines))
    value = json.loads(lines[number])
    what = change(value, rng)
    lines[number] = json.dumps(value, indent=None if path.suffix == ".jsonl" else 1)
    path.write_text("\n".join(lines) + "\n")
    return what


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
    data = bytearray(path.read_bytes())
    bit = rng.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return f"bit {bit} of {8 * len(data)}"


def noise(path: Path, rng: random.Random) -> str:
    path.write_bytes(rng.randbytes(rng.choice([1, 100, path.stat().st_size or 1])))
    return ""


def no_numbers(path: Path, rng: random.Random) -> str:
    """Write NaN or inf into one weight."""
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    head = json.loads(data[8:start])
    name = rng.choice([n for n, about in head.items() if n != "__metadata__" and about["dtype"] == "F32"])
    begin, end = head[name]["data_offsets"]
    offset = start + begin + 4 * rng.randrange((end - begin) // 4)
    value = rng.choice([math.nan, math.inf, -math.inf])
    data[offset : offset + 4] = struct.pack("<f", value)
    path.write_bytes(data)
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
    """Replace a file by another one of its kind."""
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


def damages_of(path: Path) -> list[str]:
    """Names of damages that fit a file; the more informative ones are listed more than once."""
    if path.suffix in JSON:
        return [*ANY, SWAPPED, *OF_JSON, "wrong kind", "wrong kind", "bit flipped"]
    return [*ANY, SWAPPED, *OF_WEIGHTS, "not numbers", "bit flipped", "bit flipped"]


def apply_damage(path: Path, how: str, others: list[Path], rng: random.Random) -> str:
    """Damage a file; returns what exactly was done."""
    if how == SWAPPED:
        return swapped(path, others, rng)
    return (ANY | OF_JSON | OF_WEIGHTS)[how](path, rng)


# ---- what only a checksum can tell -----------------------------------------------------------------------------------
def skeleton(value: Any) -> Any:
    """The names and kinds in JSON, without its values."""
    if isinstance(value, dict):
        return {key: skeleton(inner) for key, inner in value.items()}
    return [skeleton(inner) for inner in value] if isinstance(value, list) else kind(value)


def proper_form(data: bytes, suffix: str) -> Any:
    """Structure of a file's content without its values; None where the content is visibly damaged.

    Two files of equal structure differ in their values only, all of which are valid.
    """
    try:
        if suffix in JSON:
            no = lambda word: (_ for _ in ()).throw(ValueError(word))
            lines = data.splitlines() if suffix == ".jsonl" else [data]
            return str([skeleton(json.loads(line, parse_constant=no)) for line in lines])
        start = 8 + int.from_bytes(data[:8], "little")
        head = json.loads(data[8:start])
        shapes = {k: (v["dtype"], v["shape"], v["data_offsets"]) for k, v in head.items() if k != "__metadata__"}
        for dtype, _, (begin, end) in shapes.values():
            if dtype == "F32" and not all(map(math.isfinite, array.array("f", data[start + begin : start + end]))):
                return None
        return str(sorted(shapes.items())), len(data), head.get("__metadata__") if suffix else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def same_form(before: bytes, path: Path) -> bool:
    """Whether a file has the same structure as before, so that only a checksum could find the damage."""
    if path.is_symlink() or not path.is_file():
        return False
    now = proper_form(path.read_bytes(), path.suffix)
    return now is not None and now == proper_form(before, path.suffix)

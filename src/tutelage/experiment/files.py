"""Reading and writing files: writes are atomic, and errors of reading name the file and the damage.

This module does not import jax; `arrays.py` reads and writes arrays.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tutelage.errors import BadInput, Fault, NotWritten
from tutelage.jsons import to_json


def open_no_link(name: str, flags: int) -> int:
    """An opener for `open` that refuses a symbolic link: the file it points to may belong to somebody else."""
    return os.open(name, flags | os.O_NOFOLLOW, 0o666)


def check_no_file_above(out: Path) -> None:
    """Raise BadInput where a parent of the path is a file, so that nothing can be written there."""
    parent = next((parent for parent in out.parents if os.path.exists(parent)), out.parent)
    if os.path.exists(parent) and not os.path.isdir(parent):
        raise BadInput(f"out = {out}: {parent} is a file, must be a directory")


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file and a rename.

    Raises:
        Fault: the disk is full, read-only, ...
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb", opener=open_no_link) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise NotWritten(f"cannot write {path}: {error.strerror or error}") from error


def json_bytes(value: Any) -> bytes:
    """Readable JSON as bytes; raises Fault for NaN and infinities."""
    return (to_json(value, indent=1) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON (see `write_bytes` and `json_bytes`)."""
    write_bytes(path, json_bytes(value))


LARGEST_JSON, LARGEST_LINES = 2**24, 2**28
"""Largest size of a file that is read, in bytes; usual files have a few thousand."""
DEEPEST = 100
"""Most levels of nesting in JSON that is read; the record of a teacher's teacher has ten."""


def regular_file_size(path: Path) -> int:
    """The size of a regular file in bytes.

    Raises:
        Fault: missing, a pipe or a directory, or a link that leads out of its directory.
    """
    try:
        stats = path.stat()
        leads_out = path.is_symlink() and not path.resolve().is_relative_to(path.parent.resolve())
    except FileNotFoundError:
        raise Fault(f"{path} is missing") from None
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror or error}") from error
    except RuntimeError:  # how older versions of Python call a link to itself
        raise Fault(f"cannot read {path}: it is a link to itself") from None
    if leads_out:
        raise Fault(f"{path} is a link that leads out of its directory; copy what it points to in its place")
    if not stat.S_ISREG(stats.st_mode):
        kind = "a directory" if stat.S_ISDIR(stats.st_mode) else "a pipe or device"
        raise Fault(f"cannot read {path}: it is {kind}, must be a file")
    return stats.st_size


def _read(path: Path, parse: Callable[[bytes], Any], max_bytes: int) -> Any:
    size = regular_file_size(path)
    if size > max_bytes:
        raise Fault(f"{path} is damaged: it has {size:,} bytes, more than the {max_bytes:,} that are read")
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise Fault(f"{path} is damaged: {error}") from None


def parse_json(content: bytes | str) -> Any:
    """Parse JSON; raises ValueError also for infinite numbers, repeated fields and more than DEEPEST levels."""
    try:
        value = json.loads(
            content, parse_constant=_finite_number, parse_float=_finite_number, object_pairs_hook=_unique_fields
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    level = [value]
    for _ in range(DEEPEST):
        level = [x for part in level if isinstance(part, dict | list) for x in _children(part)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {DEEPEST} levels deep")


def _children(part: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return part.values() if isinstance(part, dict) else part


def _finite_number(text: str) -> float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:30]} is no number that is allowed, it must be finite")
    return float(text)


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has a field twice: {next(name for name in names if names.count(name) > 1)!r}")
    return fields


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        Fault: missing, damaged, too large, or not a regular file (see `regular_file_size`).
    """
    return _read(path, parse_json, LARGEST_JSON)


def read_lines(path: Path, keep: int | None = None) -> list[Any]:
    """Read a file of one JSON value per line.

    Args:
        keep: read only this many bytes from the beginning; they must end with a line.

    Raises:
        Fault: as `read_json`.
    """

    def lines(content: bytes) -> list[Any]:
        if keep and len(content) >= keep and content[keep - 1 : keep] != b"\n":
            raise ValueError(f"its first {keep} bytes, which the checkpoint counts on, end inside a line")
        return [parse_json(line) for line in content[:keep].splitlines()]

    return _read(path, lines, LARGEST_LINES)

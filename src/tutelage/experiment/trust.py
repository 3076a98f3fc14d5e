"""Which code is imported: a run may name code of its author, and opening the run would execute it.

Such code is imported only if the user named it on the command line or in a plan, or said that he trusts the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from tutelage.configs.term import named_code
from tutelage.errors import BadInput

Trust = bool | Collection[str]
"""Which `module:name`s of a run may be imported: True for all, False for none, or these."""


def user_code(names: Iterable[str | None]) -> frozenset[str]:
    """Those of the names (of methods, environments and teachers) that are a `module:name`, so not built in."""
    return frozenset(name for name in names if name and ":" in name)


def code_named_in(record: dict[str, Any]) -> frozenset[str]:
    """All `module:name`s in a config.json: of environment, method, teacher, the teacher's teacher, ..."""
    return user_code(_names(record))


def _names(record: dict[str, Any]) -> Iterator[str]:
    yield from (record["env"], record["method"], *named_code(record.get("config", {})))
    teacher = record["teacher"]
    if teacher and teacher["kind"] == "callable":
        yield teacher["name"]
    if teacher and teacher.get("record"):
        yield from _names(teacher["record"])


def check_trust(file: Path, names: Iterable[str], trust: Trust) -> None:
    """Raise BadInput where a file names code that is not trusted. This is checked before anything is imported."""
    unknown = [] if trust is True else sorted(set(names) - set(trust or ()))
    if unknown:
        raise BadInput(
            f"{file} names {', '.join(map(repr, unknown))}, which is not of tutelage: opening it runs that code. "
            "If you know whose it is, add --trust (in Python trust=True)"
        )


def command_for(folder: Path, names: Iterable[str], verb: str = "resume") -> str:
    """The command line that continues a run; with `--trust` where the run names code that is not built in."""
    return f"tutelage {verb} {folder}{' --trust' if user_code(names) else ''}"

"""Whose code a run may bring: what it names beyond the built-in names is imported only on the user's word.

His word is what he named himself, on the command line or in a plan that he runs, or that he trusts the run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from tutelage.errors import BadInput

Trust = bool | Collection[str]
"""Whether to import what a run names: all, nothing, or what the user named: `module:name`s."""


def user_code(names: Iterable[str | None]) -> frozenset[str]:
    """Those names of methods, environments and teachers' factories that are a `module:name` of somebody's own."""
    return frozenset(name for name in names if name and ":" in name)


def code_named_in(record: dict[str, Any]) -> frozenset[str]:
    """The code that config.json names: environment, method and teacher, the teacher's teacher, ..."""
    return user_code(_names(record))


def _names(record: dict[str, Any]) -> Iterator[str]:
    yield from (record["env"], record["method"])
    teacher = record["teacher"]
    if teacher and teacher["kind"] == "callable":
        yield teacher["name"]
    if teacher and teacher.get("record"):
        yield from _names(teacher["record"])


def check_trust(file: Path, names: Iterable[str], trust: Trust) -> None:
    """Refuse, as BadInput, a file that names code which nobody vouches for; nothing is imported before."""
    unknown = [] if trust is True else sorted(set(names) - set(trust or ()))
    if unknown:
        raise BadInput(
            f"{file} names {', '.join(map(repr, unknown))}, which is not of tutelage: opening it runs that code. "
            "If you know whose it is, add --trust (in Python trust=True)"
        )


def command_for(folder: Path, names: Iterable[str], verb: str = "resume") -> str:
    """The command that goes on with a run which names that code."""
    return f"tutelage {verb} {folder}{' --trust' if user_code(names) else ''}"

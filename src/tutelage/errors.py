"""What can go wrong, in two kinds: the user's input (exit 2) and faults of the run or the machine (exit 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """A value that cannot be accepted; the message names it and what is allowed. Exit code 2."""


class Fault(RuntimeError):
    """Something broke while running (damaged file, full disk, non-finite loss). Exit code 1."""


class NotWritten(Fault):
    """A file could not be written: the disk is full, read-only, ..."""


class NonFinite(Fault):
    """A loss term stopped being a number."""


class Interrupted(Exception):
    """Training was stopped between two chunks; everything is saved. Exit code 130."""


def unknown(kind: str, value: str, allowed: Iterable[str]) -> BadInput:
    """One line that names `value` and the nearest allowed names.

    Args:
        kind: what was named, e.g. `"method"`.
        value: the unknown name.
        allowed: all valid names.
    """
    names = sorted(allowed)
    if not names:
        return BadInput(f"unknown {kind} {value!r}; there are none")
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"allowed: {', '.join(names)}"
    return BadInput(f"unknown {kind} {value!r}; {hint}")

"""What can go wrong, in two kinds: the user's input (exit 2) and faults of the run or the machine (exit 1)."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class BadInput(ValueError):
    """A value that cannot be accepted; the message names it and what is allowed. Exit code 2.

    Attributes:
        frames: where the user's own code raised, as a traceback of his lines alone; empty where it did not.
    """

    frames = ""


class Fault(RuntimeError):
    """Something broke while running (damaged file, full disk, non-finite loss). Exit code 1."""


class NotWritten(Fault):
    """A file could not be written: the disk is full, read-only, ..."""


class NonFinite(Fault):
    """A loss term, or a value of a user's environment or teacher, is not what a number can be."""


class Interrupted(Exception):
    """Training was stopped between two chunks; everything is saved. Exit code 130."""


def short(value: Any, told_by: Callable[[Any], str] = repr) -> str:
    """A value in a message, however long it is."""
    told = told_by(value)
    return told if len(told) <= 100 else f"{told[:97]}..."


def unknown(kind: str, value: str, allowed: Iterable[str]) -> BadInput:
    """One line that names `value` and the nearest allowed names.

    Args:
        kind: what was named, e.g. `"method"`.
        value: the unknown name.
        allowed: all valid names.
    """
    names = sorted(allowed)
    value = short(value, str)
    if not names:
        return BadInput(f"unknown {kind} {value!r}; there are none")
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"allowed: {', '.join(names)}"
    return BadInput(f"unknown {kind} {value!r}; {hint}")


NOT_HIS = ("jax", "jaxlib", "flax", "optax", "jaxtyping", "tutelage")
"""Packages whose lines say nothing to a user about his own code."""

TRACED = ("Tracer", "Concretization")
"""How jax's errors begin about NumPy and Python on arrays whose values are not known yet."""


@contextmanager
def users(told: str) -> Iterator[None]:
    """A call of the user's own code: what it raises is told in a line that begins with `told`.

    What is a line already passes, and so do Ctrl-C and a full memory.

    Raises:
        BadInput: it raised, or would have ended Python; with his frames, chained to what it raised.
    """
    try:
        yield
    except (BadInput, Fault, Interrupted):
        raise
    except (Exception, SystemExit) as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise
        name, first = type(error).__name__, (str(error).splitlines() or [""])[0]
        hint = "; it is compiled: use jax.numpy, and jnp.where instead of if" if name.startswith(TRACED) else ""
        bad = BadInput(f"{told} raised {name}" + (f": {first.rstrip('.')}" if first else "") + hint)
        bad.frames = his_frames(error)
        raise bad from error


def his_frames(error: BaseException) -> str:
    """The traceback of an error without the lines of this package, of jax and of Python itself."""
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    ours = [Path(__file__).parent, Path(sysconfig.get_path("stdlib"))]

    def his(name: str) -> bool:
        path = Path(name)
        for folder in installed:  # it may lie below the standard library
            if folder in path.parents:
                return path.relative_to(folder).parts[0] not in NOT_HIS
        return not name.startswith("<frozen") and not any(folder in path.parents for folder in ours)

    stack = traceback.StackSummary.from_list([f for f in traceback.extract_tb(error.__traceback__) if his(f.filename)])
    last = traceback.format_exception_only(error)
    last = last if isinstance(error, SyntaxError) else [last[0].splitlines()[0]]
    return "".join(["Your code, most recent call last:\n", *stack.format(), *last]).rstrip()

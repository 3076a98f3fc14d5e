"""Exceptions: bad input by the user (exit code 2), and faults of a run or the machine (exit code 1)."""

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
        frames: traceback within the user's own code, where that raised; empty otherwise.
    """

    frames = ""


class Fault(RuntimeError):
    """Something broke while running (damaged file, full disk, non-finite loss). Exit code 1."""


class NotWritten(Fault):
    """A file could not be written: the disk is full, read-only, ..."""


class NonFinite(Fault):
    """A loss term, or a value returned by user code, is not finite or out of range."""


class Interrupted(Exception):
    """Training was stopped between two pieces; everything is saved. Exit code 130."""


def short(value: Any, text_of: Callable[[Any], str] = repr) -> str:
    """A value as text of at most 100 characters, for messages."""
    text = text_of(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def unknown(kind: str, value: str, allowed: Iterable[str]) -> BadInput:
    """An error that names an unknown value and the nearest allowed names.

    Args:
        kind: what was named, e.g. `"method"`.
        value: the unknown name.
        allowed: all valid names.
    """
    names = sorted(allowed)
    value = short(value, str)
    if not names:
        return BadInput(f"unknown {kind} {value!r}; there are none")
    similar = difflib.get_close_matches(value, names, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(map(repr, similar))}?" if similar else f"allowed: {', '.join(names)}"
    return BadInput(f"unknown {kind} {value!r}; {hint}")


NOT_USER_CODE = ("jax", "jaxlib", "flax", "optax", "jaxtyping", "tutelage")
"""Packages whose lines are left out of tracebacks of user code."""

TRACING_ERRORS = ("Tracer", "Concretization")
"""First words of the names of errors that jax raises where traced arrays are used as values."""


@contextmanager
def reports_user_error(label: str) -> Iterator[None]:
    """Wraps a call of user code: an exception becomes a BadInput of one line that begins with `label`.

    BadInput, Fault and Interrupted pass unchanged, and so do Ctrl-C and a full memory.

    Raises:
        BadInput: the code raised, or called for Python to exit; with `frames`, and chained to the original.
    """
    try:
        yield
    except (BadInput, Fault, Interrupted):
        raise
    except (Exception, SystemExit) as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise
        name, reason = type(error).__name__, (str(error).splitlines() or [""])[0]
        hint = "; it is compiled: use jax.numpy, and jnp.where instead of if" if name.startswith(TRACING_ERRORS) else ""
        wrapped = BadInput(f"{label} raised {name}" + (f": {reason.rstrip('.')}" if reason else "") + hint)
        wrapped.frames = user_frames(error)
        raise wrapped from error


def user_frames(error: BaseException) -> str:
    """The traceback of an error without the lines of this package, of jax and of Python itself."""
    installed = {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}
    own_folders = [Path(__file__).parent, Path(sysconfig.get_path("stdlib"))]

    def is_user_code(name: str) -> bool:
        path = Path(name)
        for folder in installed:  # it may lie below the standard library
            if folder in path.parents:
                return path.relative_to(folder).parts[0] not in NOT_USER_CODE
        return not name.startswith("<frozen") and not any(folder in path.parents for folder in own_folders)

    stack = traceback.StackSummary.from_list(
        [f for f in traceback.extract_tb(error.__traceback__) if is_user_code(f.filename)]
    )
    ending = traceback.format_exception_only(error)
    ending = ending if isinstance(error, SyntaxError) else [ending[0].splitlines()[0]]
    return "".join(["Your code, most recent call last:\n", *stack.format(), *ending]).rstrip()

"""Code that is named `module:name`: the package's own, from tables, and a user's."""

from __future__ import annotations

import importlib
import inspect
import sys
from functools import partial
from typing import Any

from tutelage.errors import BadInput, users


def resolve(dotted: str) -> Any:
    """Import `module:name`.

    Raises:
        BadInput: no such module, no such name in it, or the module raises.
    """
    module_name, _, name = dotted.partition(":")
    if not (module_name and name):
        raise BadInput(f"{dotted!r}: must be module:name")
    with users(f"{dotted}: importing {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if not f"{module_name}.".startswith(f"{error.name}."):  # what it imports is missing, not itself
                raise
            raise BadInput(f"cannot import {module_name!r} of {dotted!r}: {error}") from error
    if not hasattr(module, name):
        raise BadInput(f"{module_name!r} has no {name!r}; it has: {', '.join(n for n in dir(module) if n[0] != '_')}")
    return getattr(module, name)


BESIDE: list[str] = []
"""Folders in which a user's own modules are looked for last, and nothing else is: the command line's directory."""


def yours(dotted: str) -> Any:
    """A user's own `module:name`, which is going to be called: a function or class that is no part of Python.

    Raises:
        BadInput: it cannot be imported, or is something else; nothing is called.
    """
    top = dotted.partition(":")[0].partition(".")[0]
    if top in sys.stdlib_module_names:
        raise BadInput(f"{dotted!r}: {top} is a module of Python, must be one of your own")
    sys.path += [folder for folder in BESIDE if folder not in sys.path]
    found = resolve(dotted)
    if not callable(found):
        raise BadInput(f"{dotted!r}: is a {type(found).__name__}, must be a function or class")
    inner: Any = found
    while isinstance(inner, partial):
        inner = inner.func
    made: Any = inner if inspect.isroutine(inner) or inspect.isclass(inner) else type(inner)
    home = getattr(made, "__module__", None) or "builtins"
    if home.partition(".")[0] in sys.stdlib_module_names:
        raise BadInput(f"{dotted!r}: is {home}.{made.__qualname__}, a part of Python; must be your own")
    return found


def takes(told: str, factory: Any, *args: Any, **options: Any) -> None:
    """Refuse, as BadInput, a function that does not take these arguments; it is not called."""
    try:
        inspect.signature(factory).bind(*args, **options)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{told}: {error}") from None

"""Importing what is named `module:name`: the package's own code and a user's."""

from __future__ import annotations

import importlib
import inspect
import sys
from functools import partial
from typing import Any

from tutelage.errors import BadInput, reports_user_error


def resolve(dotted: str) -> Any:
    """Import `module:name`.

    Raises:
        BadInput: no such module, no such name in it, or the module raises.
    """
    module_name, _, name = dotted.partition(":")
    if not (module_name and name):
        raise BadInput(f"{dotted!r}: must be module:name")
    with reports_user_error(f"{dotted}: importing {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if not f"{module_name}.".startswith(f"{error.name}."):  # what it imports is missing, not itself
                raise
            raise BadInput(f"cannot import {module_name!r} of {dotted!r}: {error}") from error
    if not hasattr(module, name):
        raise BadInput(f"{module_name!r} has no {name!r}; it has: {', '.join(n for n in dir(module) if n[0] != '_')}")
    return getattr(module, name)


USER_FOLDERS: list[str] = []
"""Folders that are appended to the search path for a user's own modules: the directory of the command line."""


def import_user_code(dotted: str) -> Any:
    """Import a user's `module:name`, which must be a function or class that is not part of Python.

    Raises:
        BadInput: it cannot be imported, or is something else. Nothing is called.
    """
    top = dotted.partition(":")[0].partition(".")[0]
    if top in sys.stdlib_module_names:
        raise BadInput(f"{dotted!r}: {top} is a module of Python, must be one of your own")
    sys.path += [folder for folder in USER_FOLDERS if folder not in sys.path]
    value = resolve(dotted)
    if not callable(value):
        raise BadInput(f"{dotted!r}: is a {type(value).__name__}, must be a function or class")
    unwrapped: Any = value
    while isinstance(unwrapped, partial):
        unwrapped = unwrapped.func
    definition: Any = unwrapped if inspect.isroutine(unwrapped) or inspect.isclass(unwrapped) else type(unwrapped)
    module_name = getattr(definition, "__module__", None) or "builtins"
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise BadInput(f"{dotted!r}: is {module_name}.{definition.__qualname__}, a part of Python; must be your own")
    return value


def check_signature(label: str, factory: Any, *args: Any, **options: Any) -> None:
    """Raise BadInput where a function does not accept these arguments; it is not called."""
    try:
        inspect.signature(factory).bind(*args, **options)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{label}: {error}") from None

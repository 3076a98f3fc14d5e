"""JSON that every reader takes: NaN and Infinity, which JSON does not know, are never written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

from tutelage.errors import Fault


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON.

    Raises:
        Fault: a number in it is NaN or infinite; says which.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        named = next(endless(value, ""), None)
        if named is None:
            raise
        raise Fault(f"{named[0]} is {named[1]}, which is no number and not written as JSON") from None


def endless(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Name and value of every number that is none or has no end."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from endless(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from endless(item, f"{name}[{i}]")
    elif isinstance(value, float) and not isfinite(value):
        yield name, value

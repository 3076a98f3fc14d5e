"""Writing standard JSON: NaN and infinities, which JSON does not have, are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

from tutelage.errors import Fault


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON.

    Raises:
        Fault: a number in it is NaN or infinite; it is named.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        named = next(non_finite_numbers(value, ""), None)
        if named is None:
            raise
        raise Fault(f"{named[0]} is {named[1]}, which is no number and not written as JSON") from None


def non_finite_numbers(value: Any, name: str) -> Iterator[tuple[str, float]]:
    """Path and value of every NaN or infinity in a value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from non_finite_numbers(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from non_finite_numbers(item, f"{name}[{i}]")
    elif isinstance(value, float) and not isfinite(value):
        yield name, value

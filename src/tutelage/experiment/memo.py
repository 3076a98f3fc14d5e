"""Memoizing functions whose results take seconds to make, e.g. compiled programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

T = TypeVar("T")
MAX_RESULTS = 8
"""How many results of each function are kept."""
CACHES: list[Any] = []


class ArgumentKey:
    """A hashable key for any argument: numbers and strings compare by value, everything else by identity."""

    def __init__(self, argument: Any) -> None:
        self.argument, self.plain = argument, isinstance(argument, int | str)

    def __hash__(self) -> int:
        return hash(self.argument) if self.plain else id(self.argument)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArgumentKey) and (
            self.argument is other.argument or (self.plain and other.plain and self.argument == other.argument)
        )


def memoize(function: Callable[..., T]) -> Callable[..., T]:
    """`lru_cache` for arguments that may be unhashable: these are compared by identity."""
    cached = lru_cache(MAX_RESULTS)(lambda *keys: function(*(key.argument for key in keys)))
    CACHES.append(cached)

    @wraps(function)
    def wrapper(*arguments: Any) -> T:
        return cached(*map(ArgumentKey, arguments))

    return wrapper


def clear_caches() -> None:
    """Forget all memoized results."""
    for cached in CACHES:
        cached.cache_clear()

"""The last few results of what takes seconds to make and is wanted again in the same process."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

T = TypeVar("T")
KEPT = 8
"""How many results of each function."""
MEMORIES: list[Any] = []


class Same:
    """A key that equals one of the same argument: an equal number or word, or else the very same object."""

    def __init__(self, argument: Any) -> None:
        self.argument, self.plain = argument, isinstance(argument, int | str)

    def __hash__(self) -> int:
        return hash(self.argument) if self.plain else id(self.argument)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and (
            self.argument is other.argument or (self.plain and other.plain and self.argument == other.argument)
        )


def kept(function: Callable[..., T]) -> Callable[..., T]:
    """`lru_cache` for arguments that cannot be hashed: such count as the same where they are the same object."""
    recall = lru_cache(KEPT)(lambda *keys: function(*(key.argument for key in keys)))
    MEMORIES.append(recall)

    @wraps(function)
    def ask(*arguments: Any) -> T:
        return recall(*map(Same, arguments))

    return ask


def forget() -> None:
    """Make everything anew from now on."""
    for recall in MEMORIES:
        recall.cache_clear()

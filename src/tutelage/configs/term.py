"""Settings of a loss term of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tutelage.configs.checks import later


@dataclass(frozen=True)
class TermSettings:
    """A further term of the loss of the agents that act."""

    term: str = later("")
    """Your own further loss term, `module:function` of a tutelage.TermInput; none by default."""
    term_weight: float = later(1.0)
    """Its weight."""


def named_code(config: Mapping[str, object]) -> list[str]:
    """The `module:name`s in a config: what training by it imports."""
    return [value for key in CODE_FIELDS if isinstance(value := config.get(key), str) and ":" in value]


CODE_FIELDS = ("term", "core")
"""Fields of configs that may name a user's code."""

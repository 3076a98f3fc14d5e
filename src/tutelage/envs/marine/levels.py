"""The levels of MARINE, as data."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from tutelage.envs.marine.rules import Rules
from tutelage.envs.marine.sea import EASY, HARD


class Level(NamedTuple):
    """The rules of a level, and whether ships broadcast their positions (AIS) by default."""

    rules: Rules
    ais: bool


_OURS = {
    "easy": Rules(size=10, routing=3, logistics=2, shared=True, bounds=EASY),
    "medium": Rules(size=15, routing=4, logistics=3, shared=False, bounds=EASY),
    "hard": Rules(size=20, routing=6, logistics=4, shared=False, bounds=HARD),
}
_RAIDERS = {"easy": 1, "medium": 2, "hard": 3}

LEVELS: dict[str, Level] = {
    **{name: Level(rules, True) for name, rules in _OURS.items()},
    **{f"{name}_source": Level(replace(rules, shared=True, reward="source"), False) for name, rules in _OURS.items()},
    **{f"{name}_raid": Level(replace(rules, raiders=_RAIDERS[name]), True) for name, rules in _OURS.items()},
}
"""`*_source`: one destination, the public environment's reward, no AIS; `*_raid`: with raiders, which are ours."""

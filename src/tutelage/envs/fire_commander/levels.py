"""The levels of FireCommander, as data."""

from __future__ import annotations

from typing import NamedTuple

from tutelage.envs.fire_commander.rules import Rules


class Level(NamedTuple):
    """The rules of a level, and whether agents share what they have seen by default."""

    rules: Rules
    radio: bool


LEVELS: dict[str, Level] = {
    "easy": Level(Rules(size=10, perception=3, action=2, fires=1, vision=1, parts=3), True),
    "medium": Level(Rules(size=15, perception=4, action=3, fires=2, vision=1, parts=4), True),
    "hard": Level(Rules(size=20, perception=6, action=4, fires=3, vision=2, parts=4), True),
    "5x5": Level(Rules(size=5, perception=2, action=1, fires=1, vision=1, parts=2), False),
    "10x10": Level(Rules(size=10, perception=3, action=2, fires=2, vision=1, parts=3), False),
    "20x20": Level(Rules(size=20, perception=6, action=4, fires=3, vision=1, parts=4), False),
}
"""`easy`, `medium`, `hard` are ours; `NxN` has the source's sizes, without a radio."""

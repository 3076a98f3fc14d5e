"""The kinds of stress, and the levels of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tutelage.configs.disturb import Disturbance
from tutelage.configs.stress import StressLevels
from tutelage.envs.disturb import Amounts, check_disturbance
from tutelage.errors import BadInput
from tutelage.types import Spec


class Level(NamedTuple):
    """One level of a kind of stress.

    Attributes:
        label: for people. value: for JSON.
        amounts: of the disturbances. replaced: agents that the teacher's team plays.
    """

    label: str
    value: Any
    amounts: Amounts = Amounts()
    replaced: tuple[int, ...] = ()


Ladder = Callable[[StressLevels, Spec, int], list[Level]]
DELAYS = (1, 2, 4)
"""Delays of every team, unless others are asked for."""


def ladder(name: str) -> Ladder:
    """The levels of a disturbance that is one number."""
    return lambda levels, spec, length: [Level(f"{x:g}", x, Amounts(**{name: x})) for x in getattr(levels, name)]


def delay_ladder(levels: StressLevels, spec: Spec, length: int) -> list[Level]:
    """Delays that are shorter than an episode can be."""
    delays = [x for x in DELAYS if x < spec.max_steps] if levels.delay is None else levels.delay
    return [Level(str(x), x, Amounts(delay=x)) for x in delays]


def lost_ladder(levels: StressLevels, spec: Spec, length: int) -> list[Level]:
    """Each agent lost, from each of the steps on."""
    steps = (0, max(1, length // 3)) if levels.lost_from is None else levels.lost_from
    return [
        Level(f"agent {i} from step {t}", {"agent": i, "from": t}, Amounts(lost=i, lost_from=t))
        for t in steps
        for i in (range(spec.n_agents) if levels.lost is None else levels.lost)
    ]


def teammates_ladder(levels: StressLevels, spec: Spec, length: int) -> list[Level]:
    """Each agent replaced, then every second one."""
    agents = spec.n_agents
    each = range(agents) if levels.teammates is None else levels.teammates
    together = [tuple(range(1, agents, 2))] if levels.teammates is None and agents > 3 else []
    name = lambda team: f"agent{'s' if len(team) > 1 else ''} {', '.join(map(str, team))}"
    return [Level(name(team), list(team), replaced=team) for team in [*((i,) for i in each), *together]]


LADDERS: dict[str, Ladder] = {
    "noise": ladder("noise"),
    "dropout": ladder("dropout"),
    "delay": delay_ladder,
    "lost": lost_ladder,
    "lost_messages": ladder("lost_messages"),
    "teammates": teammates_ladder,
}
"""Kinds of stress: (levels, the environment's spec, usual length of an episode) -> the levels of the kind."""


def check_levels(levels: StressLevels, kinds: Sequence[str], env_id: str, spec: Spec) -> None:
    """Raise BadInput where a level of one of these kinds does not fit the environment."""
    tried = {"delay": [{"delay": x} for x in levels.delay or ()], "lost": [{"lost": i} for i in levels.lost or ()]}
    for kind in kinds:
        for options in tried.get(kind, ()):
            check_disturbance(env_id, spec, Disturbance(**options))
    for i in levels.teammates or ():
        if "teammates" in kinds and i >= spec.n_agents:
            raise BadInput(f"teammates = {i}: {env_id} has the agents 0 to {spec.n_agents - 1}")

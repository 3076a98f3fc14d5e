"""Restricted observations: `radius=R`, `nearest=K`, `drop=GROUP`, for all or some agents.

The environment's layout tells the columns apart: a block belongs to the group that its name begins with, and a block
with a `place` describes an entity at a position. An agent's own features, its moves and its action mask stay; so on
SMAX the mask still reveals the enemies in shooting range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tutelage.errors import BadInput, unknown
from tutelage.policies.columns import Columns, Entities, Slice, View, Zeros
from tutelage.types import Block, Spec

ALLOWED = "full, radius=R, nearest=K, drop=GROUP,GROUP, or several joined by +"
OWN = "own"
"""The group of an agent's own features, which cannot be dropped."""


@dataclass(frozen=True)
class Sight:
    """A restriction of an agent's observation.

    Attributes:
        radius: entities farther away than this are hidden, in the units of the observation's relative positions (on
            SMAX shares of the agent's own sight range). 0: every entity is.
        nearest: only the K nearest entities of each group are shown.
        drop: groups of columns that are hidden.
    """

    radius: float | None = None
    nearest: int | None = None
    drop: tuple[str, ...] = ()


FULL = Sight()


def parse_sight(rule: str, spec: Spec) -> Sight:
    """Parse one rule, `RULE` or several joined by `+`.

    Raises:
        BadInput: not a rule, or the environment has no such group.
    """
    sight = FULL
    for part in rule.split("+"):
        name, _, value = part.partition("=")
        try:
            if name == "radius" and 0 <= float(value) < float("inf"):
                sight = Sight(float(value), sight.nearest, sight.drop)
            elif name == "nearest" and int(value) >= 1:
                sight = Sight(sight.radius, int(value), sight.drop)
            elif name == "drop" and value:
                sight = Sight(sight.radius, sight.nearest, tuple(value.split(",")))
            elif part != "full":
                raise ValueError
        except ValueError:
            raise BadInput(f"sight = {rule!r}: allowed are {ALLOWED}; R at least 0, K at least 1") from None
    names = [name for name in blocks_by_group(spec) if name != OWN]
    for name in sight.drop:
        if name not in names:
            raise unknown("sight: group", name, names)
    if (sight.radius is not None or sight.nearest is not None) and not any(b.place is not None for b in spec.layout):
        raise BadInput(f"sight = {rule!r}: this environment's observations show no entities")
    return sight


def sights(text: str, spec: Spec) -> tuple[Sight, ...]:
    """One sight per agent, from `RULE` for all or `AGENTS:RULE;AGENTS:RULE` (agents as `0,1` or `2-4`).

    Raises:
        BadInput: not of that form, or an agent is named twice or not at all.
    """
    if ":" not in text:
        return (parse_sight(text, spec),) * spec.n_agents
    by_agent: dict[int, Sight] = {}
    agents_named = []
    for part in text.split(";"):
        agents, _, rule = part.partition(":")
        members = list(numbers(agents, f"sight = {text!r}"))
        agents_named += members
        by_agent |= dict.fromkeys(members, parse_sight(rule, spec))
    if sorted(agents_named) != list(range(spec.n_agents)):
        raise BadInput(
            f"sight = {text!r}: must name each of the agents 0..{spec.n_agents - 1} once, names {agents_named}"
        )
    return tuple(by_agent[i] for i in range(spec.n_agents))


def numbers(text: str, label: str) -> Iterator[int]:
    """Agents written as `0,1` or `2-4`.

    Raises:
        BadInput: anything else.
    """
    for piece in text.split(","):
        low, _, high = piece.partition("-")
        try:
            yield from range(int(low), int(high or low) + 1)
        except ValueError:
            raise BadInput(f"{label}: {text!r} does not name agents; write 0,1 or 2-4") from None


def blocks_by_group(spec: Spec) -> dict[str, list[Block]]:
    """Blocks by the first word of their names, in the layout's order."""
    blocks: dict[str, list[Block]] = {}
    for block in spec.layout:
        blocks.setdefault(block.name.split()[0], []).append(block)
    return blocks


def restrict(base: View, sight: Sight, spec: Spec, compact: bool) -> View:
    """A view whose observation part is restricted.

    Args:
        base: a view that begins with the observation's columns.
        compact: leave hidden columns out where it is known beforehand which these are (dropped groups, radius 0, and
            all but K slots, which are then sorted by distance and say by a one-hot which entity they show). Otherwise
            hidden columns are zero.
    """
    if sight == FULL:
        return base
    columns = [
        part
        for name, blocks in blocks_by_group(spec).items()
        for part in restricted_columns(name, blocks, sight, compact)
    ]
    return replace(base, columns=(*columns, *base.columns[1:]))


def restricted_columns(group: str, blocks: list[Block], sight: Sight, compact: bool) -> list[Columns]:
    """The columns of one group of an observation under a restriction."""
    places = [block.place - block.start for block in blocks if block.place is not None]
    entities = len(places) == len(blocks)
    if group in sight.drop or (entities and sight.radius == 0):
        return [] if compact else [Zeros(block.stop - block.start) for block in blocks]
    if not entities:
        return [Slice("obs", block.start, block.stop) for block in blocks]
    starts, width = tuple(block.start for block in blocks), blocks[0].stop - blocks[0].start
    return [Entities(starts, width, places[0], sight.radius, sight.nearest, compact)]

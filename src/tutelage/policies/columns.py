"""Views as data: the columns of a network's input, each with its source. This module does not import jax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Slice:
    """Columns of an agent's observation, of the world state, or of the message that the agent has read.

    Attributes:
        living: zeros for an agent that is dead.
    """

    source: Literal["obs", "state", "heard"]
    start: int
    stop: int
    living: bool = False
    kind: Literal["slice"] = "slice"

    @property
    def width(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class OneHot:
    """The agent's number, or its last action (zeros on a first step), as a one-hot."""

    source: Literal["agent", "action"]
    width: int
    kind: Literal["one-hot"] = "one-hot"


@dataclass(frozen=True)
class Zeros:
    """Columns in place of what a restricted sight hides."""

    width: int
    kind: Literal["zeros"] = "zeros"


@dataclass(frozen=True)
class Entities:
    """Entities of one group of the observation, as far as a restricted sight shows them.

    Attributes:
        starts: first column of every entity in the observation. columns: of each.
        place: which of an entity's columns is the first of the two with its relative position.
        radius: entities farther away are zeros; None: at any distance.
        nearest: only so many of the nearest are shown; None: all.
        compact: the nearest alone, sorted by distance, each with a one-hot of which entity it is; otherwise hidden ones
            are zeros in their own columns.
    """

    starts: tuple[int, ...]
    columns: int
    place: int
    radius: float | None
    nearest: int | None
    compact: bool
    kind: Literal["entities"] = "entities"

    @property
    def chosen(self) -> int | None:
        """How many are picked, where that is fewer than there are."""
        return self.nearest if self.nearest is not None and self.nearest < len(self.starts) else None

    @property
    def width(self) -> int:
        n = len(self.starts)
        return self.chosen * (self.columns + n) if self.compact and self.chosen else n * self.columns


@dataclass(frozen=True)
class PairGoals:
    """The features of all pairs of agent and goal and a 1, for the whole team; zeros where the goal is not valid."""

    agents: int
    goals: int
    features: int
    kind: Literal["goals"] = "goals"

    @property
    def width(self) -> int:
        return self.agents * self.goals * (self.features + 1)


Columns = Slice | OneHot | Zeros | Entities | PairGoals


@dataclass(frozen=True)
class View:
    """What a network reads of a timestep, column by column; `views.read_view` reads it.

    Attributes:
        name: for people.
        columns: in order.
        each: one row for each agent (B, N, width); otherwise one for the whole team (B, width).
    """

    name: str
    columns: tuple[Columns, ...]
    each: bool = True

    @property
    def width(self) -> int:
        return sum(columns.width for columns in self.columns)

    @property
    def decentralised(self) -> bool:
        """Whether an agent's row is made of what it observes itself."""
        return self.each and not any(
            isinstance(c, PairGoals) or (isinstance(c, Slice) and c.source == "state") for c in self.columns
        )

"""Options of the environments (`--env.KEY`); each has the disturbances as well."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_not_negative, check_positive, check_unit
from tutelage.configs.disturb import Disturbance
from tutelage.errors import BadInput


@dataclass(frozen=True)
class SmaxOptions(Disturbance):
    """Options of SMAX battles."""

    max_steps: int | None = None
    """Steps after which a battle counts as lost; the map's own (100, MMM2 180) unless given."""
    see_enemy_actions: bool = True
    """Whether observations show what visible enemies did last."""
    walls_cause_death: bool = True
    """Whether units that touch the border die."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps is not None:
            check_positive(self, "max_steps")


@dataclass(frozen=True)
class SpreadOptions(Disturbance):
    """Options of mpe/simple_spread."""

    n_agents: int = 3
    """Agents, and as many landmarks."""
    local_ratio: float = 0.5
    """Share of the own collision penalty in each agent's reward."""
    max_steps: int = 25
    """Steps after which an episode is cut off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "n_agents", "max_steps")
        check_unit(self, "local_ratio")


@dataclass(frozen=True)
class MpeOptions(Disturbance):
    """Options of mpe/simple_reference and mpe/simple_speaker_listener."""

    max_steps: int = 25
    """Steps after which an episode is cut off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_steps")


@dataclass(frozen=True)
class TagOptions(Disturbance):
    """Options of mpe/simple_tag."""

    prey: Literal["scripted", "learns"] = "scripted"
    """Whether the prey follows a script, or is one of the agents that learn."""
    max_steps: int = 25
    """Steps after which an episode is cut off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_steps")


@dataclass(frozen=True)
class PredatorPreyOptions(Disturbance):
    """Options of predator_prey."""

    size: int = 10
    """Cells per side of the board."""
    n_agents: int = 8
    """Hunters."""
    n_stags: int = 8
    """Prey that two must catch at once."""
    n_hares: int = 0
    """Prey that one can catch."""
    vision: int = 2
    """Cells that a hunter sees in each direction."""
    max_steps: int = 200
    """Steps after which an episode is cut off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "size", "n_agents", "n_stags", "vision", "max_steps")
        check_not_negative(self, "n_hares")
        if self.n_agents + self.n_stags + self.n_hares > self.size**2:
            units = self.n_agents + self.n_stags + self.n_hares
            raise BadInput(f"size = {self.size}: {units} hunters and prey do not fit on {self.size**2} cells")
        if self.vision > self.size:
            raise BadInput(
                f"vision = {self.vision}: must not be more than size = {self.size}, which shows the whole board"
            )


@dataclass(frozen=True)
class FireCommanderOptions(Disturbance):
    """Options of fire_commander."""

    radio: bool | None = None
    """Whether agents within half a map's side of each other share what they have seen; the level's own unless given."""
    knows: Literal["belief", "oracle"] = "belief"
    """What the world state says of fires: all that the agents together know, or the truth."""
    max_steps: int = 80
    """Steps after which an episode is cut off; 126 at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_steps")
        if self.max_steps > 126:
            raise BadInput(f"max_steps = {self.max_steps}: must not be greater than 126")


@dataclass(frozen=True)
class MarineOptions(Disturbance):
    """Options of marine."""

    ais: bool | None = None
    """Whether ships within a quarter of the map's side tell each other where they are; the level's own unless given."""
    reward: Literal["potential", "source"] | None = None
    """`potential` pays for distance gained and for arriving, `source` is the public environment's; the level's own
    unless given."""
    supply: bool = False
    """Whether logistics ships hold no more than size^2 fuel and serve the two emptiest ships only."""
    waves: str | None = None
    """File of wave heights (NetCDF or GRIB: time, latitude, longitude); a synthetic sea unless given."""
    max_steps: int = 100
    """Steps in which all must arrive."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_steps")
        if self.waves is not None:  # a run must find its file from wherever it is loaded
            object.__setattr__(self, "waves", os.path.abspath(self.waves))


@dataclass(frozen=True)
class ProbeOptions(Disturbance):
    """The probe environments have no options of their own."""


@dataclass(frozen=True)
class AnyOptions(Disturbance):
    """A user's `module:factory` takes its own options in its own code."""

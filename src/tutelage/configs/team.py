"""Settings of a team: the agents that act in the end, what each sees, and how large its network is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tutelage.configs.checks import later

KEY_WIDTH, MESSAGE_WIDTH = 16, 32
"""Width of the queries and keys of agents that talk, and of their messages."""
DEVIATION, LARGEST_INPUT = 0.3, 3.0
"""Standard deviation of a normalised input, and its largest magnitude. So large are inputs usually on the environments
of this package, with which learning rates were chosen; with a deviation of 1 QMIX learns less from the same numbers."""
STILL = 1e-5
"""A column whose deviation is no larger share of its mean has not varied: that much is rounding."""


@dataclass(frozen=True)
class NetworkSettings:
    """The agents' networks. All methods have these."""

    core: Literal["gru", "mlp"] | str = "gru"
    """Agent network: gru (recurrent), mlp (feed-forward), or module:factory of your own, see docs/extend.md."""
    size: str = "width=64"
    """Agent size: width=W, ratio=R (R times fewer FLOPs than a 128-GRU), flops=F or params=P per agent, or
    tiers=0,1:16;2-4:32."""
    normalise: bool = later(False)
    """Every network reads each column less its running mean, scaled by its running standard deviation; for environments
    whose numbers are far from 1."""


@dataclass(frozen=True)
class UniformTeamSettings(NetworkSettings):
    """Agents of one width that see all they observe."""

    capacity: ClassVar[str] = "equal"
    sight: ClassVar[str] = "full"
    hidden: ClassVar[Literal["compact"]] = "compact"


@dataclass(frozen=True)
class TeamSettings(NetworkSettings):
    """Agents that may differ in width and sight."""

    capacity: str = later("equal")
    """How wide agents are relative to each other: equal; inputs, in proportion to what each reads; or by agent type,
    stalker=2,zealot=1. Budgets hold for the team."""
    sight: str = later("full")
    """What agents see of their observation: full, radius=R, nearest=K, drop=GROUP,GROUP, joined by +; or for some,
    0-1:radius=0.5;2-4:full."""
    hidden: Literal["compact", "zero"] = later("compact")
    """Columns hidden by `sight` are left out where it is known beforehand which these are, or always zero."""


@dataclass(frozen=True)
class TalkingTeamSettings(TeamSettings):
    """The same of methods whose agents may talk."""

    messages: Literal["none", "tarmac", "hetgat"] = later("none")
    """What agents say to those in range: nothing, or words that all choose alike (tarmac) or each class its own way
    (hetgat). Agents that talk share weights by it: one network for all, or one per class, whatever `share` says."""

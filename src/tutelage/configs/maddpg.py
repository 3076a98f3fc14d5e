"""Settings of MADDPG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_not_negative, check_positive
from tutelage.configs.off_policy import OffPolicyConfig
from tutelage.configs.rewards import RewardSettings
from tutelage.configs.team import TalkingTeamSettings


@dataclass(frozen=True)
class MaddpgConfig(OffPolicyConfig, TalkingTeamSettings, RewardSettings):
    """Settings of deterministic policy gradients through central critics, one per agent."""

    share: Literal["team", "type", "agent"] = "type"
    """Who shares weights: every agent of one width, only those of one agent type as well, or nobody."""
    critic_width: int = 64
    """Width of the critics."""
    temperature: float = 1.0
    """Of the Gumbel-softmax through which an actor's action is differentiated."""
    decay: float = 1e-3
    """Weight of the squared logits of available actions in the actors' loss: keeps them from saturating."""
    target_every: int = 1
    """Gradient steps between copies of the target networks."""
    target_rate: float = 0.01
    """Share of the online networks in each copy; 1: a hard target."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "critic_width", "temperature")
        check_not_negative(self, "decay", "curiosity", "shaping")

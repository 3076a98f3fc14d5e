"""Settings of the methods that learn by PPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tutelage.configs.checks import check_not_negative, check_unit, later
from tutelage.configs.on_policy import OnPolicySettings
from tutelage.configs.team import TalkingTeamSettings, UniformTeamSettings
from tutelage.configs.term import TermSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class PpoSettings(OnPolicySettings):
    """Settings of PPO, whoever shares weights, and whatever is read."""

    size: str = "width=128"
    """Actor size: width=W, ratio=R (R times fewer FLOPs than a 128-GRU), flops=F or params=P per agent, or
    tiers=0,1:16;2-4:32."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Parts each pass is split into."""
    chunk: int = 16
    """Length of the sequences that are learned from (1 for `mlp` shuffles single steps); divides `rollout`."""
    clip: float = 0.2
    """Clip range of the probability ratio."""
    value_loss: Literal["mse", "huber"] = "mse"
    """Critic loss on normalised values; huber has delta 10."""
    value_clip: float = 0.0
    """Clip range of the value's change per update, in standard deviations of the returns; 0 = off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "value_clip")
        check_unit(self, "clip")
        if self.rollout % self.chunk:
            raise BadInput(f"chunk = {self.chunk}: must divide rollout = {self.rollout}")
        sequences = self.envs * self.rollout // self.chunk
        if sequences % self.minibatches:
            raise BadInput(f"minibatches = {self.minibatches}: must divide envs x rollout / chunk = {sequences}")


@dataclass(frozen=True)
class PpoConfig(PpoSettings, TalkingTeamSettings, TermSettings):
    """Settings of IPPO: PPO for a team."""

    share: Literal["team", "type", "agent"] = "team"
    """Who shares weights: every agent of one width, only those of one agent type as well, or nobody."""
    actor_view: Literal["local", "local-no-id", "local+state"] = "local"
    """What an agent reads: its observation and its number, the observation alone, or the world state as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.messages != "none" and self.chunk == 1:
            raise BadInput("chunk = 1: what is said is heard a step later; messages need sequences of 2 steps or more")


@dataclass(frozen=True)
class MappoConfig(PpoConfig):
    """Settings of MAPPO: those of PPO, and what the central critic reads."""

    critic: Literal["team", "per_agent", "goals"] = later("team")
    """One value for the team from the world state, the same from the environment's goals as well, or one per agent from
    its observation as well."""


@dataclass(frozen=True)
class TarmacConfig(MappoConfig):
    """Settings of TarMAC: those of MAPPO, for agents that talk."""

    messages: Literal["tarmac", "hetgat"] = "tarmac"
    """What agents say to those in range: words that all choose alike (tarmac) or each class its own way (hetgat)."""


@dataclass(frozen=True)
class HappoConfig(PpoSettings, UniformTeamSettings):
    """Settings of HAPPO: those of PPO, for agents with networks of their own."""

    share: ClassVar[Literal["agent"]] = "agent"

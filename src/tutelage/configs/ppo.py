"""Settings of IPPO and MAPPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import (
    check_fields,
    check_no_messages,
    check_not_negative,
    check_positive,
    check_unit,
    later,
)
from tutelage.configs.team import TeamSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class PpoConfig(TeamSettings):
    """Settings of PPO for teams."""

    steps: int = 3_000_000
    """Environment steps to train for."""
    size: str = "width=128"
    """Actor size: width=W, ratio=R (R times fewer FLOPs than a 128-GRU), flops=F or params=P per agent, or
    tiers=0,1:16;2-4:32."""
    share: Literal["team", "type", "agent"] = "team"
    """Who shares weights: every agent of one width, only those of one agent type as well, or nobody."""
    actor_view: Literal["local", "local-no-id", "local+state"] = "local"
    """What an agent reads: its observation and its number, the observation alone, or the world state as well."""
    critic: Literal["team", "per_agent", "goals"] = later("team")
    """MAPPO's critic: one value for the team from the world state, the same from the environment's goals as well, or
    one per agent from its observation as well."""
    critic_width: int = 128
    """Width of the critic's two layers."""
    envs: int = 128
    """Environments played side by side."""
    rollout: int = 32
    """Steps per environment between updates."""
    epochs: int = 4
    """Passes over each rollout."""
    minibatches: int = 4
    """Parts each pass is split into."""
    chunk: int = 16
    """Length of the sequences that are learned from (1 for `mlp` shuffles single steps); divides `rollout`."""
    lr: float = 2e-3
    """Learning rate of actor and critic."""
    anneal: bool = True
    """Let the learning rate fall to 0 over the budget."""
    gamma: float = 0.99
    """Discount."""
    lam: float = 0.95
    """Lambda of the generalised advantage estimate."""
    clip: float = 0.2
    """Clip range of the probability ratio."""
    shaping: float = later(0.0)
    """Reward for the mean agent's progress towards its most promising goal, per unit of that goal's potential."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    grad_clip: float = 0.5
    """Global-norm gradient clip, actor and critic each."""
    value_loss: Literal["mse", "huber"] = "mse"
    """Critic loss on normalised values; huber has delta 10."""
    value_clip: float = 0.0
    """Clip range of the value's change per update, in standard deviations of the returns; 0 = off."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(
            self, "steps", "critic_width", "envs", "rollout", "epochs", "minibatches", "chunk", "lr", "grad_clip"
        )
        check_not_negative(self, "shaping", "entropy", "value_clip")
        check_unit(self, "gamma", "lam", "clip")
        if self.rollout % self.chunk:
            raise BadInput(f"chunk = {self.chunk}: must divide rollout = {self.rollout}")
        if self.messages != "none" and self.chunk == 1:
            raise BadInput("chunk = 1: what is said is heard a step later; messages need sequences of 2 steps or more")
        sequences = self.envs * self.rollout // self.chunk
        if sequences % self.minibatches:
            raise BadInput(f"minibatches = {self.minibatches}: must divide envs x rollout / chunk = {sequences}")


@dataclass(frozen=True)
class TarmacConfig(PpoConfig):
    """Settings of TarMAC: those of PPO, for agents that talk."""

    messages: Literal["tarmac", "hetgat"] = "tarmac"
    """What agents say to those in range: words that all choose alike (tarmac) or each class its own way (hetgat)."""


@dataclass(frozen=True)
class HappoConfig(PpoConfig):
    """Settings of HAPPO: those of PPO, for agents with networks of their own."""

    share: Literal["team", "type", "agent"] = "agent"
    """Who shares weights: nobody, `agent`."""
    actor_view: Literal["local"] = "local"
    """What an agent reads: its observation; it needs no number, as its network is its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_no_messages(self)
        check_no_goals(self)
        if self.critic != "team":
            raise BadInput(f"critic = {self.critic!r}: happo's agents share one advantage, of the 'team'")


def check_no_goals(config: PpoConfig) -> None:
    """Raise BadInput for goals in the critic or the reward, in methods that do not support them."""
    if config.critic == "goals" or config.shaping:
        raise BadInput(f"critic = {config.critic!r}, shaping = {config.shaping}: only mappo and ippo know goals")

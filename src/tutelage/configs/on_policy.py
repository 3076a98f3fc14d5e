"""Settings that on-policy methods share."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.configs.checks import check_fields, check_not_negative, check_positive, check_unit, counts, later
from tutelage.configs.rewards import RewardSettings
from tutelage.configs.team import NetworkSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class OnPolicySettings(NetworkSettings, RewardSettings):
    """What is played between updates, a critic, and the gradient steps of both."""

    steps: int = 3_000_000
    """Environment steps to train for."""
    critic_width: int = 128
    """Width of the critic's two layers."""
    envs: int = 128
    """Environments played side by side."""
    rollout: int = 32
    """Steps per environment between updates."""
    lr: float = 2e-3
    """Learning rate of actor and critic."""
    anneal: bool = True
    """Let the learning rate fall to 0 over the budget."""
    gamma: float = 0.99
    """Discount."""
    lam: float = 0.95
    """Lambda of the returns that are estimated."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    grad_clip: float = 0.5
    """Global-norm gradient clip, actor and critic each."""
    critic_warm_up: int = later(0)
    """Environment steps at the beginning in which the critic alone learns, so that a new one does not mislead a trained
    actor. With --init 100,000, at most a fifth of the steps, unless given."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, *(name for name in counts(self) if name != "critic_warm_up"), "lr", "grad_clip")
        check_not_negative(self, "curiosity", "shaping", "entropy", "critic_warm_up")
        if self.critic_warm_up >= self.steps:
            message = f"critic_warm_up = {self.critic_warm_up}: must be less than steps = {self.steps}"
            raise BadInput(f"{message}, or the actor learns nothing")
        check_unit(self, "gamma", "lam")

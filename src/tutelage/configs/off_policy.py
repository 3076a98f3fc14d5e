"""Settings that off-policy methods share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_fields, check_not_negative, check_positive, check_unit, later
from tutelage.configs.team import NetworkSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class OffPolicyConfig(NetworkSettings):
    """Replay, and the gradient steps that learn from it."""

    steps: int = 2_000_000
    """Environment steps to train for."""
    replay: Literal["stream", "episode"] = "stream"
    """Stored sequences: `chunk` steps with the memory that entered them, or one whole episode from an empty memory."""
    envs: int = 16
    """Environments played side by side."""
    chunk: int = 64
    """Steps played between updates, and the length of a stored sequence (`stream`)."""
    burn_in: int = 8
    """First steps of a sequence that only warm its memory up (`stream`)."""
    capacity_steps: int = 200_000
    """Environment steps that replay holds (`stream`)."""
    capacity_episodes: int = 5_000
    """Episodes that replay holds (`episode`)."""
    memory_gb: float = 1.0
    """Refuse replay larger than this."""
    batch: int = 4
    """Sequences per gradient step."""
    updates: int = 16
    """Gradient steps per rollout."""
    warm_up: int = 5_000
    """Environment steps before the first gradient step (`episode`: as if every one lasted to the limit)."""
    lr: float = 1e-3
    """Learning rate."""
    anneal: bool = True
    """Let the learning rate fall to 0 over the budget."""
    grad_clip: float = 10.0
    """Global-norm gradient clip."""
    gamma: float = 0.99
    """Discount."""
    time_limit: Literal["env", "terminal"] = later("env")
    """Bootstrap at a time limit where the environment calls it a truncation (`env`), or never (`terminal`)."""
    target_every: int = 50
    """Gradient steps between copies of the target network."""
    target_rate: float = 1.0
    """Share of the online network in each copy; below 1 with target_every = 1: a soft target."""
    reward_scale: float | None = None
    """What rewards are multiplied by; None: what the environment suggests (SMAX 10, FireCommander 0.1, else 1)."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(
            self, "steps", "envs", "chunk", "capacity_steps", "capacity_episodes", "memory_gb", "batch", "updates",
            "lr", "grad_clip", "target_every", "target_rate",
        )  # fmt: skip
        if self.reward_scale is not None:
            check_positive(self, "reward_scale")
        check_unit(self, "gamma", "target_rate")
        if self.burn_in < 0 or (self.replay == "stream" and self.burn_in >= self.chunk):
            raise BadInput(f"burn_in = {self.burn_in}: must be at least 0 and less than chunk = {self.chunk}")
        capacity, least = {
            "stream": ("capacity_steps", self.envs * self.chunk),
            "episode": ("capacity_episodes", self.envs),
        }[self.replay]
        if getattr(self, capacity) < least:
            message = (
                f"{capacity} = {getattr(self, capacity)}: must be at least {least}, what is played between two updates"
            )
            raise BadInput(message)
        check_not_negative(self, "warm_up")
        if self.warm_up >= self.steps:
            raise BadInput(f"warm_up = {self.warm_up}: must be less than steps = {self.steps}, or nothing is learned")

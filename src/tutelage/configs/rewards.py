"""Settings of rewards that a method learns from beside the environment's."""

from __future__ import annotations

from dataclasses import dataclass

from tutelage.configs.checks import later


@dataclass(frozen=True)
class CuriositySettings:
    """A bonus for states that are new."""

    curiosity: float = later(0.0)
    """Bonus of a state whose novelty is one standard deviation, in scaled rewards; 0: none."""


@dataclass(frozen=True)
class ShapingSettings:
    """A reward for coming nearer to goals."""

    shaping: float = later(0.0)
    """Reward for the mean agent's progress towards its most promising goal, per unit of that goal's potential."""


@dataclass(frozen=True)
class RewardSettings(CuriositySettings, ShapingSettings):
    """Both."""

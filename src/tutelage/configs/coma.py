"""Settings of COMA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.on_policy import OnPolicySettings
from tutelage.configs.team import TeamSettings


@dataclass(frozen=True)
class ComaConfig(OnPolicySettings, TeamSettings):
    """Settings of policy gradients with a counterfactual baseline."""

    share: Literal["team", "type", "agent"] = "team"
    """Who shares weights: every agent of one width, only those of one agent type as well, or nobody."""
    envs: int = 32
    """Environments played side by side."""
    entropy: float = 0.02
    """Weight of the entropy bonus."""
    lam: float = 0.8
    """Lambda of the critic's TD(lambda) targets."""
    critic_steps: int = 32
    """Gradient steps of the critic per rollout; the actor takes one."""
    target_every: int = 20
    """Rollouts between copies of the critic to its target network."""

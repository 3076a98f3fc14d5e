"""Settings of the value-based family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_not_negative, check_positive, check_unit
from tutelage.configs.off_policy import OffPolicyConfig
from tutelage.configs.rewards import RewardSettings
from tutelage.configs.team import TalkingTeamSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class QSettings(OffPolicyConfig):
    """Settings of Q-learning for teams, whoever shares weights."""

    mixer: Literal["iql", "vdn", "qmix", "qplex"] = "qmix"
    """How agents' utilities make the value of a joint action; iql: not at all."""
    mixer_width: int = 32
    """Width of QMIX's mixing layer."""
    hyper_width: int = 64
    """Width of the networks that make a mixer's weights from the state."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """Direction of the gradient steps."""
    lam: float = 0.6
    """TD(lambda); 0 is one-step Q-learning."""
    double: bool = True
    """Choose the next action by the online network, value it by the target network."""
    epsilon_start: float = 1.0
    """Share of random actions at the start."""
    epsilon_end: float = 0.05
    """Share of random actions after `epsilon_steps`."""
    epsilon_steps: int = 100_000
    """Environment steps over which it falls, linearly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "mixer_width", "hyper_width", "epsilon_steps")
        check_unit(self, "lam", "epsilon_start", "epsilon_end")


@dataclass(frozen=True)
class QConfig(QSettings, TalkingTeamSettings, RewardSettings):
    """Settings of Q-learning for teams: IQL, VDN, QMIX, QPLEX and their weighted forms."""

    weighting: Literal["none", "cw", "ow"] = "none"
    """WQMIX: weigh down errors of joint actions that are not the best (cw), or of overestimates (ow)."""
    alpha: float = 0.1
    """That smaller weight."""
    share: Literal["team", "type"] = "team"
    """Who shares weights: every agent of one width, or only those of one agent type as well."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unit(self, "alpha")
        check_not_negative(self, "curiosity", "shaping")
        if self.weighting != "none" and self.mixer == "iql":
            raise BadInput(f"weighting = {self.weighting!r}: iql has no joint value to weigh")
        if self.weighting != "none" and not self.double:
            raise BadInput("double = False: with weights the online network always chooses, and Q* values the choice")

"""Settings of value-based teachers and their students: DDN, CTDS, IGM-DA, PTDE; and of PTDE on MAPPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from tutelage.configs.checks import check_fields, check_not_negative, check_positive, check_unit
from tutelage.configs.ppo import PpoSettings
from tutelage.configs.qlearning import QSettings
from tutelage.configs.rewards import RewardSettings, ShapingSettings
from tutelage.configs.team import TeamSettings, UniformTeamSettings
from tutelage.configs.term import TermSettings
from tutelage.errors import BadInput


@dataclass(frozen=True)
class DdnConfig(QSettings, TeamSettings, ShapingSettings, TermSettings):
    """Settings of Q-learning with a central teacher and local students that learn together.

    `size` and `sight` are the students'; the teacher has their width.
    """

    share: ClassVar[Literal["team"]] = "team"

    fusion: Literal["full", "film", "mlp", "raw", "raw+id", "local+state", "local"] = "full"
    """What the teacher reads: the state personalised by what the agent itself reads (full: linear in the state; film:
    scaled and shifted; mlp: non-linear), the bare state, the state and a number, observation and state, or no state."""
    fusion_width: int = 64
    """Width of the personalised state."""
    generator: int = 32
    """Hidden width of the network that personalises."""
    encoder: float = 1.0
    """Weight of the difference between the outputs of the first layers."""
    features: float = 1.0
    """Weight of the difference between the recurrent layers' outputs."""
    values: float = 1.0
    """Weight of the difference between action values, over available actions."""
    imitate: float = 0.0
    """Weight of the cross-entropy to the teacher's best action."""
    copied: bool = False
    """Students take all but their first layer from the teacher, instead of learning it."""
    acts: Literal["mix", "teacher", "student"] = "mix"
    """Who plays while learning; mix: half of the environments each."""
    chooses: Literal["teacher", "student"] = "teacher"
    """Whose best action the teacher's target values."""
    beta: float = 0.01
    """Curiosity: the bonus of a state whose novelty is one standard deviation, in scaled rewards; 0: none."""
    mu: float = 0.75
    """Curiosity's mask probability (or scale)."""
    mu_form: Literal["reward_mask", "scale", "predictor_mask"] = "reward_mask"
    """What mu does: the chance that a bonus is paid, a factor of all, or the chance that the predictor learns a
    state."""
    adaptive: bool = False
    """Let the bonus fall as success rises."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self)
        check_positive(self, "fusion_width", "generator")
        check_unit(self, "mu")
        if self.chooses == "student" and not self.double:
            raise BadInput("double = False: with chooses = student another network chooses, which is double Q-learning")
        check_not_negative(self, "encoder", "features", "values", "imitate", "beta", "shaping")
        if not (self.encoder or self.features or self.values or self.imitate):
            raise BadInput("all of encoder, features, values, imitate are 0: the students would learn nothing")
        if self.copied and (not self.encoder or self.features or self.values or self.imitate):
            raise BadInput("copied = True: students learn the first layer alone; features, values, imitate must be 0")


@dataclass(frozen=True)
class PtdeConfig(QSettings, UniformTeamSettings, RewardSettings):
    """Settings of Q-learning on personalised state that students then predict from what they see.

    `size` is the width of the teacher's network and of the students' predictor.
    """

    share: ClassVar[Literal["team"]] = "team"

    fusion_width: int = 64
    """Width of the personalised state."""
    generator: int = 32
    """Hidden width of the network that personalises."""
    predict: int = 8_000
    """Gradient steps of the second stage, on what replay holds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "fusion_width", "generator", "predict")
        check_not_negative(self, "curiosity", "shaping")


@dataclass(frozen=True)
class PtdeMappoConfig(PpoSettings, UniformTeamSettings):
    """Settings of MAPPO on personalised state that students then predict from what they see.

    `size` is the width of the teacher's network and of the students' predictor; epochs, minibatches and learning rate
    hold for both stages.
    """

    share: ClassVar[Literal["team"]] = "team"

    fusion_width: int = 64
    """Width of the personalised state."""
    generator: int = 32
    """Hidden width of the network that personalises."""
    predict: int = 200_000
    """Environment steps of the second stage, played by the students."""

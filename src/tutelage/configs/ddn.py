"""Settings of value-based teachers and their students: DDN, CTDS, IGM-DA, PTDE; and of PTDE on MAPPO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tutelage.configs.checks import check_fields, check_no_messages, check_not_negative, check_positive, check_unit
from tutelage.configs.ppo import PpoConfig, check_no_goals
from tutelage.configs.qlearning import QConfig
from tutelage.errors import BadInput


def _check_unweighted(config: QConfig) -> None:
    """Raise BadInput for the weights of WQMIX: the teacher reads the state, so they have no use."""
    if config.weighting != "none":
        raise BadInput(f"weighting = {config.weighting!r}: teachers that see the state learn with none")


@dataclass(frozen=True)
class DdnConfig(QConfig):
    """Settings of Q-learning with a central teacher and local students that learn together.

    `size`, `sight` and `share` are the students'; the teacher has their width.
    """

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
        check_no_messages(self)
        _check_unweighted(self)
        check_positive(self, "fusion_width", "generator")
        check_unit(self, "mu")
        if self.chooses == "student" and not self.double:
            raise BadInput("double = False: with chooses = student another network chooses, which is double Q-learning")
        check_not_negative(self, "encoder", "features", "values", "imitate", "beta")
        if not (self.encoder or self.features or self.values or self.imitate):
            raise BadInput("all of encoder, features, values, imitate are 0: the students would learn nothing")
        if self.copied and (not self.encoder or self.features or self.values or self.imitate):
            raise BadInput("copied = True: students learn the first layer alone; features, values, imitate must be 0")


@dataclass(frozen=True)
class PtdeConfig(QConfig):
    """Settings of Q-learning on personalised state that students then predict from what they see.

    `size` is the width of the teacher's network and of the students' predictor.
    """

    fusion_width: int = 64
    """Width of the personalised state."""
    generator: int = 32
    """Hidden width of the network that personalises."""
    predict: int = 8_000
    """Gradient steps of the second stage, on what replay holds."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_no_messages(self)
        _check_unweighted(self)
        check_positive(self, "fusion_width", "generator", "predict")


@dataclass(frozen=True)
class PtdeMappoConfig(PpoConfig):
    """Settings of MAPPO on personalised state that students then predict from what they see.

    `size` is the width of the teacher's network and of the students' predictor; epochs, minibatches and learning rate
    hold for both stages.
    """

    fusion_width: int = 64
    """Width of the personalised state."""
    generator: int = 32
    """Hidden width of the network that personalises."""
    predict: int = 200_000
    """Environment steps of the second stage, played by the students."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_no_messages(self)
        check_no_goals(self)
        check_positive(self, "fusion_width", "generator", "predict")

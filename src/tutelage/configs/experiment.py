"""Settings of evaluation and checkpoints, which are the same for every method."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from tutelage.configs.checks import check_fields, check_positive, later
from tutelage.errors import BadInput


@dataclass(frozen=True)
class FitConfig:
    """Evaluation and checkpointing of a run. None of these changes what is learned, only what is kept of it."""

    evaluations: int = 20
    """Evaluations during training, evenly spaced; the best one's parameters are kept."""
    eval_episodes: int = 32
    """Episodes per evaluation."""
    test_episodes: int = 320
    """Episodes of the final test of the best parameters, with a key of its own."""
    act: Literal["greedy", "sample"] = later("greedy")
    """Actions in evaluations and the test: greedy (the usual protocol), or sampled from the policy."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints."""
    tensorboard: bool = False
    """Also write TensorBoard files (needs the `track` extra)."""

    def __post_init__(self) -> None:
        if self.tensorboard and find_spec("tensorboardX") is None:
            raise BadInput("tensorboard = True needs the package tensorboardX: pip install 'tutelage[track]'")
        check_fields(self)
        check_positive(self, "evaluations", "eval_episodes", "test_episodes", "checkpoint_seconds")

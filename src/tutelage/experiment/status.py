"""The state of a training on the host, the interface through which `fit` reports, and what `fit` returns."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from tutelage.experiment.evaluate import Evaluation
from tutelage.experiment.stage_loop import LoopState
from tutelage.types import Measure, Params, Stage


class Best(NamedTuple):
    """The best evaluation so far and the parameters it belongs to."""

    success_rate: float
    return_mean: float
    params: Params


class Unlogged(NamedTuple):
    """Updates since the last line of metrics, which are not logged yet.

    The updates between two lines of metrics are run in several pieces.

    Attributes:
        metrics: by name, one entry per update.
        seconds: that these updates took.
        due_before: how many evaluations were due before the first of these updates.
    """

    metrics: dict[str, np.ndarray]
    seconds: float
    due_before: int


def counters(update: Any = 0, steps: Any = 0) -> LoopState:
    """A loop state without arrays: all that the host keeps of a seed's loop from piece to piece."""
    return LoopState((), {}, update, steps)


class Status(NamedTuple):
    """State of one seed's training on the host.

    Attributes:
        stage: index of the current stage.
        loop: state of the compiled loop over the stage's updates; between checkpoints its `counters` alone.
        steps: environment steps of earlier stages.
        best: None before the first evaluation.
        seconds: spent learning so far, without compilation and evaluation.
        unlogged: updates since the last line of metrics; None right after a line.
    """

    stage: int
    loop: LoopState
    steps: int
    best: Best | None
    seconds: float
    unlogged: Unlogged | None = None


@runtime_checkable
class Recorder(Protocol):
    """Receives the metrics, evaluations and checkpoints of one seed of `fit`."""

    def begin_stage(self, stage: Stage) -> None: ...
    def metrics(self, record: dict[str, Any]) -> None: ...
    def evaluation(self, record: dict[str, Any], measure: Measure) -> None: ...
    def compiled(self, stage: Stage, seconds: float) -> None: ...
    def progress(self, stage: Stage, done: int, steps_per_second: float) -> None: ...
    def save_due(self) -> bool:
        """Whether enough time has passed since the last checkpoint."""
        ...

    def checkpoint(self, status: Status, force: bool) -> None:
        """Save if `save_due`, or if `force`."""
        ...

    def keep_last(self, status: Status) -> None:
        """Keep the last train state of a training that has come to its end."""
        ...

    def training_failed(self, best: Best | None, steps: int, seconds: float, error: Exception) -> None:
        """Keep the best parameters of a training that failed after so many steps and seconds."""
        ...

    def interrupted(self) -> bool: ...


class FitResult(NamedTuple):
    """What `fit` returns: parameters by role of the best evaluation, and their final test."""

    params: Params
    test: Evaluation
    seconds: float
    steps: int

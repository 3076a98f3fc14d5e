"""Where a training stands: what `fit` hands on from piece to piece, tells its recorder, and ends with."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from tutelage.experiment.evaluate import Evaluation
from tutelage.experiment.stage_loop import LoopState
from tutelage.types import Params, Stage


class Best(NamedTuple):
    """The best evaluation so far and the parameters it belongs to."""

    success_rate: float
    return_mean: float
    params: Params


class Unlogged(NamedTuple):
    """What has been done since the last record: a long interval between two is run in pieces.

    Attributes:
        metrics: of the updates since the last record, one entry per update.
        seconds: that these updates took.
        due_before: how many evaluations were due before the first of these updates.
    """

    metrics: dict[str, np.ndarray]
    seconds: float
    due_before: int


class Status(NamedTuple):
    """Where training stands, on the host.

    Attributes:
        stage: index of the current stage.
        loop: its state.
        steps: environment steps of earlier stages.
        best: None before the first evaluation.
        seconds: spent learning so far, without compilation and evaluation.
        since: what no record tells of yet; None right after a record.
    """

    stage: int
    loop: LoopState
    steps: int
    best: Best | None
    seconds: float
    unlogged: Unlogged | None = None


@runtime_checkable
class Recorder(Protocol):
    """What `fit` tells about itself."""

    def begin_stage(self, stage: Stage) -> None: ...
    def metrics(self, record: dict[str, Any]) -> None: ...
    def evaluation(self, record: dict[str, Any]) -> None: ...
    def compiled(self, stage: Stage, seconds: float) -> None: ...
    def progress(self, stage: Stage, done: int, steps_per_second: float) -> None: ...
    def save_due(self) -> bool:
        """Whether it is time to save."""
        ...

    def checkpoint(self, status: Status, force: bool) -> None:
        """Save if it is time to, or `force`."""
        ...

    def training_failed(self, best: Best | None, steps: int, seconds: float, error: Exception) -> None:
        """Keep the best parameters so far, after so many steps and seconds: it cannot go on from here."""
        ...

    def interrupted(self) -> bool: ...


class FitResult(NamedTuple):
    """What `fit` ends with: parameters by role of the best evaluation, and its final test."""

    params: Params
    test: Evaluation
    seconds: float
    steps: int

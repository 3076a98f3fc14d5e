"""The pieces that a stage's updates are run in: how long they are, and what is logged and evaluated after them."""

from __future__ import annotations

import numpy as np

from tutelage.configs.experiment import FitConfig
from tutelage.data.watch import MARK
from tutelage.errors import NonFinite
from tutelage.experiment.nonfinite import first_bad_metric
from tutelage.experiment.stage_loop import SUMMED_METRICS, LoopState, StageLoop, nominal_updates
from tutelage.experiment.status import Recorder, Status, Unlogged
from tutelage.types import Stage


def cadence(stage: Stage, config: FitConfig) -> tuple[int, int]:
    """Updates between two lines of metrics, and between two evaluations."""
    total_updates = nominal_updates(stage)
    log_every = max(1, total_updates // 200)
    return log_every, log_every * max(1, round(total_updates / log_every / config.evaluations))


def count_due_evaluations(stage: Stage, loop: LoopState, every: int, evaluations: int) -> int:
    """How many evaluations should have been made by now: one per `every` updates.

    Where updates play whole episodes, whose number of steps varies, it follows the share of the budget that is spent.
    """
    if any(behaviour.once for behaviour in stage.behaviours.values()):
        return int(loop.steps) * evaluations // stage.budget
    return int(loop.update) // every


def evaluation_due(stage: Stage, status: Status, due: bool, finished: bool) -> bool:
    """Whether to evaluate now: right after a line of metrics, if an evaluation is due or the stage has finished."""
    return stage.evaluated and status.unlogged is None and (due or finished)


PIECE_SECONDS = 5.0
"""Seconds that a piece should take. A training can be saved or stopped between two pieces."""


class Pace:
    """Chooses how many updates a piece has, from the measured time per update."""

    def __init__(self) -> None:
        self.updates = 1

    def measured(self, updates: int, seconds: float) -> None:
        """Adjust to a piece of so many updates that took so many seconds; the size at most doubles."""
        affordable = int(updates * PIECE_SECONDS / max(seconds, 1e-9))
        self.updates = max(1, min(affordable, 2 * max(updates, self.updates)))

    def until(self, update: int, length: int) -> int:
        """Update at which the next piece ends: at the latest at the next multiple of `length`."""
        return min((update // length + 1) * length, update + self.updates)


def record_piece(
    runner: StageLoop,
    status: Status,
    loop: LoopState,
    metrics: dict[str, np.ndarray],
    seconds: float,
    length: int,
    due_before: int,
    recorder: Recorder,
) -> Status:
    """The status of a seed after a piece; at multiples of `length` updates, and at the end of the stage, it is logged.

    Args:
        loop: its counters after the piece.
        metrics: of the piece, (updates,) each. seconds: that it took.
        due_before: evaluations that were due before the first update that is not logged yet.

    Raises:
        NonFinite: a metric is not finite.
    """
    metrics = check_finite(runner.stage, loop, metrics)
    earlier = status.unlogged or Unlogged({k: x[:0] for k, x in metrics.items()}, 0.0, due_before)
    all_metrics = {k: np.concatenate([earlier.metrics[k], x]) for k, x in metrics.items()}
    unlogged = Unlogged(all_metrics, earlier.seconds + seconds, due_before)
    status = status._replace(loop=loop, seconds=status.seconds + seconds)
    if int(loop.update) % length and not runner.finished(loop):
        return status._replace(unlogged=unlogged)
    log(runner.stage, status, unlogged, recorder)
    return status._replace(unlogged=None)


def check_finite(stage: Stage, loop: LoopState, metrics: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The metrics without the fault codes of user code; raises NonFinite where one is not finite, or for a fault."""
    found = first_bad_metric(metrics)
    if found:
        index, message = found
        update = int(loop.update) - len(next(iter(metrics.values()))) + index + 1
        raise NonFinite(f"{message} in update {update} of stage {stage.name}")
    return {name: values for name, values in metrics.items() if not name.startswith(MARK)}


def log(stage: Stage, status: Status, unlogged: Unlogged, recorder: Recorder) -> None:
    """Write a line with the means (for counts: sums) of the metrics since the last line."""
    loop = status.loop
    means = {k: float(v.sum() if k in SUMMED_METRICS else v.mean()) for k, v in unlogged.metrics.items()}
    recorder.metrics(
        {
            "stage": stage.name,
            "update": int(loop.update),
            "total_steps": status.steps + int(loop.steps),
            "seconds": round(status.seconds, 3),
            **means,
        }
    )
    done = int(loop.steps if stage.unit == "steps" else loop.update)
    recorder.progress(stage, done, means.get("steps", 0.0) / max(unlogged.seconds, 1e-9))

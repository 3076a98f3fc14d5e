"""Writing metrics, checkpoints and progress of a run while it trains."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tutelage.configs.experiment import FitConfig
from tutelage.experiment.checkpoint import identity_of, save_best, save_last, save_status
from tutelage.experiment.listeners import Told
from tutelage.experiment.records import scores_text
from tutelage.experiment.sinks import Display, JsonLines, Sink, TensorBoard
from tutelage.experiment.status import Best, Status
from tutelage.types import Measure, Stage

WINDOW = 20
"""Lines of metrics (a stage has about 200) over which a metric is averaged before the user is warned that it is
unusual. The first window is ignored."""


class RunRecorder:
    """Writes into a run directory while `fit` runs; a `Recorder`."""

    def __init__(
        self,
        path: Path,
        config: FitConfig,
        display: Display,
        kept_bytes: int | None = None,
        status: Status | None = None,
    ) -> None:
        """Open the files.

        Args:
            kept_bytes: of a resumed run, how many bytes of metrics.jsonl stay.
            status: of a resumed run, the state from which it continues.
        """
        self.path, self.config, self.display = path, config, display
        self.lines = JsonLines(path / "metrics.jsonl", kept_bytes)
        self.sinks: list[Sink] = [self.lines, Told(display.listeners, path)]
        if config.tensorboard:
            next_step = status.steps + int(status.loop.steps) + 1 if status else None
            self.sinks.append(TensorBoard(path / "tensorboard", next_step))
        self.identity = identity_of(path)
        self.saved = time.monotonic()
        self.stopped = False
        self.stage_written = -1
        self.fixed: tuple[str, ...] = ()
        self.extensible = False
        self.usual_metrics: dict[str, tuple[tuple[float, float], list[float]]] = {}

    def begin_stage(self, stage: Stage) -> None:
        self.display.announce_later(f"{stage.name}: compiling, which is kept for the next start ...")
        self.fixed, self.extensible = stage.fixed, stage.unit == "steps"
        self.usual_metrics = {name: (span, []) for name, span in stage.usual.items()}

    def metrics(self, record: dict[str, Any]) -> None:
        for sink in self.sinks:
            sink.write("metrics", record)
        for name in [name for name in self.usual_metrics if name in record]:
            (low, high), seen = self.usual_metrics[name]
            seen.append(record[name])
            if len(seen) == WINDOW or len(seen) % WINDOW:
                continue
            mean = sum(seen[-WINDOW:]) / WINDOW
            if not low <= mean <= high:
                del self.usual_metrics[name]
                self.display.say(f"warning: {name} is {mean:.3g} on average; usual are {low:g} to {high:g}")

    def evaluation(self, record: dict[str, Any], measure: Measure) -> None:
        for sink in self.sinks:
            sink.write("evaluation", record)
        self.display.say(f"  {record['stage']}, {record['total_steps']:,} steps: {scores_text(record, measure)}")

    def compiled(self, stage: Stage, seconds: float) -> None:
        self.display.cancel_announcement()
        self.lines.write("compiled", {"stage": stage.name, "seconds": round(seconds, 2)})

    def progress(self, stage: Stage, done: int, steps_per_second: float) -> None:
        self.display.progress(stage.name, done, stage.budget, stage.unit, steps_per_second)

    def save_due(self) -> bool:
        return time.monotonic() - self.saved >= self.config.checkpoint_seconds

    def checkpoint(self, status: Status, force: bool) -> None:
        if force or self.save_due():
            fixed = self.fixed, self.stage_written != status.stage
            save_status(self.path, status, *fixed, self.lines.synced_size(), self.identity)
            self.stage_written = status.stage
            self.saved = time.monotonic()

    def keep_last(self, status: Status) -> None:
        """Write the last train state, where more steps could follow it."""
        if self.extensible:
            save_last(self.path, status, self.identity)

    def training_failed(self, best: Best | None, steps: int, seconds: float, error: Exception) -> None:
        """Write the best parameters so far, if there are any, and the error that ended the training."""
        if best:
            save_best(self.path, best, steps, seconds, str(error), self.identity)

    def interrupted(self) -> bool:
        return self.stopped

    def stop(self, *_: Any) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        self.display.say("stopping after this chunk ...")

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()
        self.display.close()

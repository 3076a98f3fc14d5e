"""Keeping a run while it goes on: metrics, checkpoints, progress."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tutelage.configs.checks import build
from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput, Fault
from tutelage.experiment.files import load_tree, read_meta, save_tree
from tutelage.experiment.fit import Best, Status
from tutelage.experiment.records import Mark, damage
from tutelage.experiment.sinks import Display, JsonLines, Sink, TensorBoard
from tutelage.experiment.stage_loop import Loop, StageLoop
from tutelage.types import Environment, Method, Stage

WINDOW = 20
"""Records (a stage has about 200) over which a metric is averaged before it is called unusual; the first window, in
which everything is new, does not count."""

LEARNED = {"params", "mu", "nu", "target", "frozen", "teacher", "returns", "errors"}
"""Fields of the states of methods and optimisers that hold weights, means of gradients or of returns."""


class RunRecorder:
    """Writes a run directory while `fit` goes on."""

    def __init__(self, path: Path, config: FitConfig, display: Display, keep: int | None = None) -> None:
        self.path, self.config, self.display = path, config, display
        self.lines = JsonLines(path / "metrics.jsonl", keep)
        self.sinks: list[Sink] = [self.lines]
        if config.tensorboard:
            self.sinks.append(TensorBoard(path / "tensorboard"))
        self.saved = time.monotonic()
        self.stopped = False
        self.stage_written = -1
        self.fixed: tuple[str, ...] = ()
        self.watched: dict[str, tuple[tuple[float, float], list[float]]] = {}

    def begin(self, stage: Stage) -> None:
        self.fixed = stage.fixed
        self.watched = {name: (span, []) for name, span in stage.usual.items()}

    def metrics(self, record: dict[str, Any]) -> None:
        for sink in self.sinks:
            sink.write("metrics", record)
        for name in [name for name in self.watched if name in record]:
            (low, high), seen = self.watched[name]
            seen.append(record[name])
            if len(seen) == WINDOW or len(seen) % WINDOW:
                continue
            mean = sum(seen[-WINDOW:]) / WINDOW
            if not low <= mean <= high:
                del self.watched[name]
                self.display.say(f"warning: {name} is {mean:.3g} on average; usual are {low:g} to {high:g}")

    def evaluation(self, record: dict[str, Any]) -> None:
        for sink in self.sinks:
            sink.write("evaluation", record)
        told = f"success {record['success_rate']:.2f}, return {record['return_mean']:.2f}"
        self.display.say(f"  {record['stage']}, {record['total_steps']:,} steps: {told}")

    def compiled(self, stage: Stage, seconds: float) -> None:
        self.lines.write("compiled", {"stage": stage.name, "seconds": round(seconds, 2)})

    def progress(self, stage: Stage, done: int, steps_per_second: float) -> None:
        self.display.progress(stage.name, done, stage.budget, stage.unit, steps_per_second)

    def due(self) -> bool:
        return time.monotonic() - self.saved >= self.config.checkpoint_seconds

    def checkpoint(self, status: Status, wanted: bool) -> None:
        if wanted or self.due():
            save_status(self.path, status, self.fixed, self.lines.settled(), self.stage_written != status.stage)
            self.stage_written = status.stage
            self.saved = time.monotonic()

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


def save_status(path: Path, status: Status, fixed: tuple[str, ...], offset: int, first: bool) -> None:
    """Write where training stands. State fields that the stage does not change go to a file of their own, once."""
    state = status.loop.train_state
    if fixed and first:
        save_tree(path / f"checkpoint-stage{status.stage}.safetensors", {k: getattr(state, k) for k in fixed})
    moving = state._replace(**dict.fromkeys(fixed, ())) if fixed else state
    best = status.best
    meta = {
        "stage": status.stage,
        "fixed": list(fixed),
        "steps": status.steps,
        "seconds": status.seconds,
        "offset": offset,
        "best": [best.success_rate, best.return_mean] if best else None,
    }
    tree = {"loop": status.loop._replace(train_state=moving), "best": best.params if best else ()}
    save_tree(path / "checkpoint.safetensors", tree, meta)


def load_status(path: Path, env: Environment, method: Method) -> tuple[Status, int]:
    """Read where training stood, and how much of metrics.jsonl belongs to it."""
    file = path / "checkpoint.safetensors"
    meta = read_meta(file)
    with damage(file):
        mark = build(Mark, meta, "field of its meta")
        if mark.stage >= len(method.stages):
            raise BadInput(f"stage = {mark.stage}: must be less than {len(method.stages)}")
    stage, fixed = method.stages[mark.stage], tuple(mark.fixed)
    key = jax.random.key(0)
    state = jax.eval_shape(method.init, key)
    if fixed != tuple(stage.fixed):
        raise Fault(f"{file} is damaged: fixed = {list(fixed)}, must be {list(stage.fixed)}")
    runner = StageLoop(env, stage, mark.stage, 1)
    zero: Any = jax.ShapeDtypeStruct((), jnp.int32)
    moving = state._replace(**dict.fromkeys(fixed, ())) if fixed else state
    loop = Loop(moving, jax.eval_shape(runner.begin, key), zero, zero)
    params = jax.eval_shape(method.params, state) if mark.best else ()
    tree, _ = load_tree(file, {"loop": loop, "best": params}, learned)
    loop = tree["loop"]
    if fixed:
        like = {k: getattr(state, k) for k in fixed}
        kept, _ = load_tree(path / f"checkpoint-stage{mark.stage}.safetensors", like, learned)
        loop = loop._replace(train_state=loop.train_state._replace(**kept))
    best = Best(*mark.best, tree["best"]) if mark.best else None
    return Status(mark.stage, loop, mark.steps, best, mark.seconds), mark.offset


def learned(name: str) -> bool:
    """Whether a leaf of a checkpoint is a weight or made of weights; worlds and records of them hold what they like."""
    return name.startswith("['best']") or any(part in LEARNED for part in re.findall(r"\w+", name))

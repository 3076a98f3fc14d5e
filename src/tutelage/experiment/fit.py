"""The training loop: stages of compiled updates, with logging, evaluation and checkpoints between pieces.

Every random number comes from (seed, stage, update), so the length of chunks, evaluations, interruptions and resumes
cannot change a number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from tutelage.configs.experiment import FitConfig
from tutelage.data.episodes import Episodes
from tutelage.data.watch import MARK
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment.evaluate import Evaluation, make_player, play_episodes, ranking, test_key
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.memo import memoize
from tutelage.experiment.nonfinite import first_bad_metric
from tutelage.experiment.stage_loop import SUMMED_METRICS, LoopState, StageLoop, copy_tree, nominal_updates, stage_loop
from tutelage.experiment.status import Best, FitResult, Recorder, Status, Unlogged
from tutelage.policies.acting import RULES
from tutelage.types import ActRule, Environment, Measure, Method, Params, Stage


def fit(
    env: Environment,
    method: Method,
    config: FitConfig,
    seed: int,
    recorder: Recorder,
    status: Status | None = None,
) -> FitResult:
    """Train a method.

    Args:
        env: one environment.
        method: from its factory.
        config: when to evaluate and save. This does not change what is learned.
        seed: of all random numbers.
        recorder: receives metrics, evaluations and checkpoints.
        status: state from which training continues; None: it starts from the beginning.

    Returns:
        The parameters, by role, with which the deployable role had its best evaluation, and their final test.

    Raises:
        NonFinite: a metric is not finite, or user code returned a bad value.
        Interrupted: the recorder asked to stop.
    """
    root = jax.random.key(seed)
    role = method.actor
    evaluator = Evaluator(env, method, role, config, seed)
    for index in range(status.stage if status else 0, len(method.stages)):
        stage = method.stages[index]
        log_every, eval_every = cadence(stage, config)
        runner = stage_loop(env, stage, index, log_every)
        recorder.begin_stage(stage)
        if status is None:
            state = jit_unoptimised(method.init)(jax.random.fold_in(root, 0x1417))
            status = Status(index, runner.init_state(state, root), 0, None, 0.0)
        elif status.stage < index:
            steps = status.steps + int(status.loop.steps)
            loop = runner.init_state(status.loop.train_state, root)
            status = status._replace(stage=index, loop=loop, steps=steps)
            recorder.checkpoint(status, force=False)
        recorder.compiled(stage, runner.compile(status.loop, root))
        due_by_now = partial(count_due_evaluations, stage, every=eval_every, evaluations=config.evaluations)
        pace = Pace()
        while not runner.finished(status.loop):
            due_before = status.unlogged.due_before if status.unlogged else due_by_now(status.loop)
            steps_before = status.steps + int(status.loop.steps)
            try:
                status = run_piece(runner, status, root, log_every, pace, due_before, recorder)
                if evaluation_due(stage, status, due_by_now(status.loop) > due_before, runner.finished(status.loop)):
                    status = evaluator(status, method, recorder)
            except NonFinite as error:
                recorder.training_failed(status.best, steps_before, status.seconds, error)
                raise
            recorder.checkpoint(status, force=False)
            if recorder.interrupted():
                recorder.checkpoint(status, force=True)
                raise Interrupted
    assert status is not None and status.best is not None
    steps = status.steps + int(status.loop.steps)
    test = evaluator.test(status.best.params)
    return FitResult(status.best.params, test, status.seconds, steps)


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


def run_piece(
    runner: StageLoop, status: Status, root: PRNGKeyArray, length: int, pace: Pace, due_before: int, recorder: Recorder
) -> Status:
    """Run one piece of updates; at multiples of `length` updates, and at the end of the stage, write a line of metrics.

    Args:
        due_before: evaluations that were due before the first update that is not logged yet.

    Raises:
        NonFinite: a metric is not finite.
    """
    update = int(status.loop.update)
    started = time.perf_counter()
    loop, metrics = runner.run(status.loop, root, pace.until(update, length))
    seconds = time.perf_counter() - started
    pace.measured(int(loop.update) - update, seconds)
    return record_piece(runner, status, loop, metrics, seconds, length, due_before, recorder)


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
    """The status after a piece (see `run_piece`) with these metrics, (updates,) each, which took so many seconds."""
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


def evaluation_key(seed_key: PRNGKeyArray, stage: int, update: Any) -> PRNGKeyArray:
    """The key of an evaluation's episodes: never used in training."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(seed_key, 0xE7A1), stage), update)


def record_evaluation(
    status: Status,
    method: Method,
    result: Evaluation,
    measure: Measure,
    params: Callable[[], Params],
    recorder: Recorder,
) -> Status:
    """Record an evaluation; where no earlier one was better, keep the parameters.

    Args:
        params: gives a copy of them; called only where they are kept.
    """
    recorder.evaluation(
        {
            "stage": method.stages[status.stage].name,
            "update": int(status.loop.update),
            "total_steps": status.steps + int(status.loop.steps),
            "seconds": round(status.seconds, 3),
            **result.as_dict(),
        }
    )
    scores = result.success_rate, result.return_mean
    if status.best and ranking(measure, *scores) < ranking(measure, *status.best[:2]):
        return status
    return status._replace(best=Best(*scores, params()))


@memoize
def compile_player(env: Environment, method: Method, role: str, n: int, act: ActRule) -> Future[Any]:
    """Compile the evaluation of a role in a thread, while the first stage compiles on another core."""
    shapes = jax.eval_shape(lambda key: method.params(method.init(key))[role], jax.random.key(0))
    play = make_player(env, method.roles[role], n, act)
    threads = ThreadPoolExecutor(1)
    compiled = threads.submit(lambda: play.lower(shapes, jax.random.key(0)).compile())
    threads.shutdown(wait=False)
    return compiled


class Evaluator:
    """Evaluates the acting role during training and keeps the best parameters."""

    def __init__(self, env: Environment, method: Method, role: str, config: FitConfig, seed: int) -> None:
        self.role, self.config, self.seed, self.measure = role, config, seed, env.spec.measure
        self._compiling = compile_player(env, method, role, config.eval_episodes, RULES[config.act])

    def play(self, params: Params, key: PRNGKeyArray) -> Episodes:
        return self._compiling.result()(params, key)

    def __call__(self, status: Status, method: Method, recorder: Recorder) -> Status:
        params = method.params(status.loop.train_state)
        key = evaluation_key(jax.random.key(self.seed), status.stage, status.loop.update)
        n = self.config.eval_episodes
        result = play_episodes(self.play, params[self.role], key, n, n)
        return record_evaluation(status, method, result, self.measure, lambda: copy_tree(params), recorder)

    def test(self, params: Params) -> Evaluation:
        """The final test: more episodes, with a key of its own."""
        n = self.config.eval_episodes
        return play_episodes(self.play, params[self.role], test_key(self.seed), self.config.test_episodes, n)

"""The training loop: stages of compiled updates, with logging, evaluation and checkpoints between pieces.

Every random number comes from (seed, stage, update), so the length of chunks, evaluations, interruptions and resumes
cannot change a number. It trains one seed, or several in one program, the seeds an axis of all its arrays: small
networks leave an accelerator idle, where ten seeds take little longer than one. On a CPU nothing is gained. A seed
draws the same random numbers together with others as alone, so the results differ by rounding only.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from tutelage.configs.experiment import FitConfig
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment.evaluate import summarise
from tutelage.experiment.evaluator import Evaluator, evaluation_key, record_evaluation
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.pieces import Pace, cadence, count_due_evaluations, evaluation_due, record_piece
from tutelage.experiment.seed_axis import SeedAxis
from tutelage.experiment.stage_loop import StageLoop, copy_tree, stage_loop, unshared
from tutelage.experiment.status import FitResult, Recorder, Status, counters
from tutelage.types import Environment, Method, Params, Stage, TrainState


def fit(
    env: Environment,
    method: Method,
    config: FitConfig,
    seed: int,
    recorder: Recorder,
    status: Status | None = None,
    given: Mapping[str, Params] | None = None,
) -> FitResult:
    """Train a method.

    Args:
        env: one environment.
        method: from its factory.
        config: when to evaluate and save. This does not change what is learned.
        seed: of all random numbers.
        recorder: receives metrics, evaluations and checkpoints.
        status: state from which training continues; None: it starts from the beginning.
        given: parameters by role with which it starts there, in place of new ones.

    Returns:
        The parameters, by role, with which the deployable role had its best evaluation, and their final test.

    Raises:
        NonFinite: a metric is not finite, or user code returned a bad value.
        Interrupted: the recorder asked to stop.
    """
    return fit_together(env, method, config, [seed], [recorder], status, None if given is None else [given])[0]


def fit_together(
    env: Environment,
    method: Method,
    config: FitConfig,
    seeds: Sequence[int],
    recorders: Sequence[Recorder],
    status: Status | None = None,
    given: Sequence[Mapping[str, Params]] | None = None,
) -> list[FitResult]:
    """`fit` for several seeds at once, each with a recorder of its own; only one seed can continue from a `status`.

    `given` holds the parameters that each seed starts with.

    When it stops, on request or because a metric of some seed is not finite, every other seed is saved and can be
    resumed alone.
    """
    training = Training(env, method, config, seeds, recorders, status, given)
    for index in range(training.statuses[0].stage, len(method.stages)):
        training.run_stage(index)
    training.keep_last()
    best = [own.best.params for own in training.statuses if own.best]
    tests = training.evaluator.test(best)
    return [
        FitResult(params, test, own.seconds, own.steps + int(own.loop.steps))
        for params, test, own in zip(best, tests, training.statuses, strict=True)
    ]


class Training:
    """A training in progress.

    Attributes:
        loop: state of the compiled loop of the current stage, with the seeds' axis; None before the first one.
        statuses: where each seed stands; their loops are counters alone.
        roots: the keys of all random numbers.
    """

    def __init__(
        self,
        env: Environment,
        method: Method,
        config: FitConfig,
        seeds: Sequence[int],
        recorders: Sequence[Recorder],
        status: Status | None,
        given: Sequence[Mapping[str, Params]] | None,
    ) -> None:
        self.given = given
        self.env, self.method, self.config, self.recorders = env, method, config, recorders
        self.axis = SeedAxis(len(seeds))
        self.loop: Any = status.loop if status else None
        self.roots = self.axis.join([jax.random.key(seed) for seed in seeds])
        begun = status or Status(0, counters(), 0, None, 0.0)
        begun = begun._replace(loop=counters(int(begun.loop.update), int(begun.loop.steps)))
        self.statuses = [begun] * self.axis.n
        self.evaluator = Evaluator(env, method, config, seeds)

    def run_stage(self, index: int) -> None:
        """Run a stage to its end.

        Raises:
            NonFinite, Interrupted: as `fit`.
        """
        stage = self.method.stages[index]
        length, every = cadence(stage, self.config)
        runner = stage_loop(self.env, stage, index, length, self.axis.n > 1)
        for recorder in self.recorders:
            recorder.begin_stage(stage)
        self.enter_stage(runner)
        seconds = runner.compile(self.loop, self.roots)
        for recorder in self.recorders:
            recorder.compiled(stage, seconds)
        due_by_now = partial(count_due_evaluations, stage, every=every, evaluations=self.config.evaluations)
        pace = Pace()
        self.evaluate_beginning(stage)
        while not runner.finished(self.loop):
            before = self.statuses
            due_before = [own.unlogged.due_before if own.unlogged else due_by_now(own.loop) for own in before]
            failed = self.run_piece(runner, length, pace, due_before)
            due = [
                evaluation_due(stage, own, due_by_now(own.loop) > due_before[i], runner.finished(own.loop))
                and int(own.loop.update) > int(before[i].loop.update)
                for i, own in enumerate(self.statuses)
            ]
            failed |= self.evaluate(due)
            self.save(bool(failed), failed)
            if failed:
                self.fail(before, failed)
            if any(recorder.interrupted() for recorder in self.recorders):
                self.save(True)
                raise Interrupted

    def enter_stage(self, runner: StageLoop) -> None:
        """Make the state at the beginning of a stage, unless the training continues within it."""
        if self.loop is None:
            seed_keys = self.axis.over(jax.random.fold_in, (0, None))(self.roots, 0x1417)
            train_state = self.init_state(seed_keys)
        elif self.statuses[0].stage < runner.index:
            train_state = self.loop.train_state
        else:
            return
        follows = self.loop is not None
        # Done before the compiler begins: beside it, small thread pools of a CPU have blocked each other for good.
        self.loop = jax.block_until_ready(runner.init_state(train_state, self.roots))
        self.statuses = [
            own._replace(stage=runner.index, steps=own.steps + int(own.loop.steps), loop=counters())
            for own in self.statuses
        ]
        if follows:
            self.save(False)

    def init_state(self, seed_keys: PRNGKeyArray) -> TrainState:
        """The train state in which training begins, with the given parameters where there are any."""
        method = self.method
        if self.given is None:
            return jit_unoptimised(self.axis.over(method.init))(seed_keys)
        assert method.with_params is not None
        put = method.with_params
        start = lambda key, given: method.copy_targets(put(method.init(key), given))
        return unshared(jit_unoptimised(self.axis.over(start))(seed_keys, self.axis.join(self.given)))

    def evaluate_beginning(self, stage: Stage) -> None:
        """Evaluate the parameters with which training was given to start: it may end no better, so they can be kept."""
        begins = self.given is not None and self.statuses[0].stage == 0 and not np.any(self.loop.update)
        if begins and stage.evaluated and (failed := self.evaluate([True] * self.axis.n)):
            self.fail(self.statuses, failed)

    def run_piece(self, runner: StageLoop, length: int, pace: Pace, due_before: Sequence[int]) -> dict[int, NonFinite]:
        """Run one piece of updates of every seed; returns the errors of the seeds that failed, by index."""
        first_update = max(int(own.loop.update) for own in self.statuses)
        started = time.perf_counter()
        self.loop, metrics = runner.run(self.loop, self.roots, pace.until(first_update, length))
        seconds = time.perf_counter() - started
        updates, steps = np.atleast_1d(self.loop.update), np.atleast_1d(self.loop.steps)
        pace.measured(int(updates.max()) - first_update, seconds)
        after, failed = list(self.statuses), dict[int, NonFinite]()
        for i, (own, recorder) in enumerate(zip(self.statuses, self.recorders, strict=True)):
            done = int(updates[i]) - int(own.loop.update)
            if not done:  # it has finished the stage
                continue
            loop = counters(int(updates[i]), int(steps[i]))
            own_metrics = {k: v.reshape(-1, self.axis.n)[:done, i] for k, v in metrics.items()}
            try:
                after[i] = record_piece(runner, own, loop, own_metrics, seconds, length, due_before[i], recorder)
            except NonFinite as error:
                failed[i] = error
        self.statuses = after
        return failed

    def evaluate(self, due: Sequence[bool]) -> dict[int, NonFinite]:
        """Evaluate the seeds that are due, and keep the best parameters; returns the errors of those that failed."""
        failed = dict[int, NonFinite]()
        if not any(due):
            return failed
        params = self.axis.over(self.method.params)(self.loop.train_state)
        key_of = lambda root, update: evaluation_key(root, self.statuses[0].stage, update)
        keys, n = self.axis.over(key_of)(self.roots, self.loop.update), self.config.eval_episodes
        played, after = self.evaluator.play(params, keys, n), list(self.statuses)
        for i in np.flatnonzero(due).tolist():
            own_params = lambda i=i: copy_tree(self.axis.part(params, i))
            try:
                result = summarise(played[i], n)
            except NonFinite as error:
                failed[i] = error
                continue
            measure, recorder = self.env.spec.measure, self.recorders[i]
            after[i] = record_evaluation(self.statuses[i], self.method, result, measure, own_params, recorder)
        self.statuses = after
        return failed

    def save(self, force: bool, failed: Collection[int] = ()) -> None:
        """Let every recorder whose seed has not failed save, if it is time or with `force`."""
        for i, (own, recorder) in enumerate(zip(self.statuses, self.recorders, strict=True)):
            # The part of one of several seeds is a copy: made only where it is written.
            if i not in failed and (self.axis.n == 1 or force or recorder.save_due()):
                recorder.checkpoint(own._replace(loop=self.axis.part(self.loop, i)), force)

    def keep_last(self) -> None:
        """Let every recorder keep the state in which training has ended."""
        for i, (own, recorder) in enumerate(zip(self.statuses, self.recorders, strict=True)):
            recorder.keep_last(own._replace(loop=self.axis.part(self.loop, i)))

    def fail(self, before: Sequence[Status], failed: dict[int, NonFinite]) -> None:
        """Let the best parameters of seeds that failed be kept, and raise their errors. `before`: the piece."""
        for i, error in failed.items():
            steps, own = before[i].steps + int(before[i].loop.steps), self.statuses[i]
            self.recorders[i].training_failed(own.best, steps, own.seconds, error)
        if self.axis.n == 1:
            raise failed[0]
        raise NonFinite("; ".join(f"seed {i + 1} of {self.axis.n}: {error}" for i, error in failed.items()))

"""Several seeds of one method trained together: one program, the seeds an axis of all its arrays.

Small networks leave an accelerator idle: ten seeds take little longer than one. On a CPU nothing is gained. A seed
draws the same random numbers as when it is trained alone, so the results differ by rounding only.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from tutelage.configs.experiment import FitConfig
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment.evaluate import Evaluation, make_player, play_episodes_together, test_key
from tutelage.experiment.fit import (
    Pace,
    cadence,
    count_due_evaluations,
    evaluation_due,
    evaluation_key,
    record_evaluation,
    record_piece,
)
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.stage_loop import LoopState, StageLoop, stage_loop
from tutelage.experiment.status import FitResult, Recorder, Status
from tutelage.policies.acting import RULES
from tutelage.types import ActRule, Environment, Method, Params, Policy


def stack_trees(trees: Sequence[Any]) -> Any:
    """Stack trees of one shape along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def seed_part(tree: Any, index: int) -> Any:
    """A copy of the part of one seed (an index of the first axis)."""
    return jax.tree.map(lambda x: x[index], tree)


def fit_together(
    env: Environment, method: Method, config: FitConfig, seeds: Sequence[int], recorders: Sequence[Recorder]
) -> list[FitResult]:
    """`fit` for several seeds at once, each with a recorder of its own.

    When it stops, on request or because a metric of some seed is not finite, every seed is saved and can be resumed
    alone.

    Raises:
        NonFinite: a metric of a seed is not finite.
        Interrupted: a recorder asked to stop.
    """
    roots = stack_trees([jax.random.key(seed) for seed in seeds])
    play = make_player(env, method.roles[method.actor], config.eval_episodes, RULES[config.act], True)
    state = jit_unoptimised(jax.vmap(lambda root: method.init(jax.random.fold_in(root, 0x1417))))(roots)
    statuses = [Status(0, zero_loop_state(), 0, None, 0.0) for _ in seeds]
    for index, stage in enumerate(method.stages):
        log_every, eval_every = cadence(stage, config)
        runner = stage_loop(env, stage, index, log_every, True)
        for recorder in recorders:
            recorder.begin_stage(stage)
        # Done before the compiler begins: beside it, small thread pools of a CPU have blocked each other for good.
        loop = jax.block_until_ready(runner.init_state(state, roots))
        statuses = [
            status._replace(stage=index, steps=status.steps + int(status.loop.steps), loop=zero_loop_state())
            for status in statuses
        ]
        seconds = runner.compile(loop, roots)
        for recorder in recorders:
            recorder.compiled(stage, seconds)
        due_by_now = partial(count_due_evaluations, stage, every=eval_every, evaluations=config.evaluations)
        pace = Pace()
        while not runner.finished(loop):
            previous = statuses
            due_before = [s.unlogged.due_before if s.unlogged else due_by_now(s.loop) for s in statuses]
            loop, statuses, failed = run_piece_together(
                runner, loop, roots, statuses, log_every, pace, due_before, recorders
            )
            to_evaluate = [
                evaluation_due(stage, status, due_by_now(status.loop) > due_before[i], runner.finished(status.loop))
                and int(status.loop.update) > int(earlier.loop.update)
                for i, (earlier, status) in enumerate(zip(previous, statuses, strict=True))
            ]
            statuses = evaluate_seeds(env, method, config, play, roots, loop, statuses, to_evaluate, recorders)
            stopping = any(recorder.interrupted() for recorder in recorders)
            save_seeds(loop, statuses, recorders, stopping or bool(failed), failed)
            for i, error in failed.items():
                recorders[i].training_failed(
                    statuses[i].best, statuses[i].steps + int(statuses[i].loop.steps), statuses[i].seconds, error
                )
            if failed:
                raise NonFinite("; ".join(f"seed {i + 1} of {len(statuses)}: {error}" for i, error in failed.items()))
            if stopping:
                raise Interrupted
        state = loop.train_state
    return final_tests(method, config, play, seeds, statuses)


def final_tests(
    method: Method, config: FitConfig, play: Any, seeds: Sequence[int], statuses: Sequence[Status]
) -> list[FitResult]:
    """The final test of every seed's best parameters."""
    best = [status.best.params for status in statuses if status.best]
    stacked, n = stack_trees([params[method.actor] for params in best]), config.eval_episodes
    tests = play_episodes_together(play, stacked, test_keys(seeds), config.test_episodes, n)
    return [
        FitResult(params, test, status.seconds, status.steps + int(status.loop.steps))
        for params, test, status in zip(best, tests, statuses, strict=True)
    ]


def test_keys(seeds: Sequence[int]) -> PRNGKeyArray:
    """The keys of final tests."""
    return jax.vmap(test_key)(jnp.asarray(seeds))


def zero_loop_state() -> LoopState:
    """A loop state with zero counters and no arrays: all that the host keeps of one seed's loop."""
    return LoopState((), {}, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def run_piece_together(
    runner: StageLoop,
    loop: LoopState,
    roots: PRNGKeyArray,
    statuses: Sequence[Status],
    length: int,
    pace: Pace,
    due_before: Sequence[int],
    recorders: Sequence[Recorder],
) -> tuple[LoopState, list[Status], dict[int, NonFinite]]:
    """`run_piece` of `fit` for all seeds; also returns the errors of the seeds that failed, by index."""
    first_update = max(int(status.loop.update) for status in statuses)
    started = time.perf_counter()
    loop, metrics = runner.run(loop, roots, pace.until(first_update, length))
    seconds = time.perf_counter() - started
    updates, steps = np.asarray(loop.update), np.asarray(loop.steps)
    pace.measured(int(updates.max()) - first_update, seconds)
    updated, failed = list(statuses), dict[int, NonFinite]()
    for i, (status, recorder) in enumerate(zip(statuses, recorders, strict=True)):
        done = int(updates[i]) - int(status.loop.update)
        if not done:
            continue
        loop_now = zero_loop_state()._replace(update=updates[i], steps=steps[i])
        metrics_now = {k: v[:done, i] for k, v in metrics.items()}
        try:
            updated[i] = record_piece(runner, status, loop_now, metrics_now, seconds, length, due_before[i], recorder)
        except NonFinite as error:
            failed[i] = error
    return loop, updated, failed


def evaluate_seeds(
    env: Environment,
    method: Method,
    config: FitConfig,
    play: Any,
    roots: PRNGKeyArray,
    loop: LoopState,
    statuses: Sequence[Status],
    to_evaluate: Sequence[bool],
    recorders: Sequence[Recorder],
) -> list[Status]:
    """Evaluate the seeds of which `to_evaluate` is true, and keep the best parameters of each."""
    if not any(to_evaluate):
        return list(statuses)
    params, stage, n = jax.vmap(method.params)(loop.train_state), statuses[0].stage, config.eval_episodes
    keys = jax.vmap(lambda root, update: evaluation_key(root, stage, update))(roots, loop.update)
    results = play_episodes_together(play, params[method.actor], keys, n, n)
    return [
        record_evaluation(status, method, result, env.spec.measure, partial(seed_part, params, i), recorder)
        if evaluated
        else status
        for i, (status, result, evaluated, recorder) in enumerate(
            zip(statuses, results, to_evaluate, recorders, strict=True)
        )
    ]


def save_seeds(
    loop: LoopState, statuses: Sequence[Status], recorders: Sequence[Recorder], force: bool, failed: Collection[int]
) -> None:
    """Checkpoint every seed for which it is time, or with `force` all, except those that failed."""
    for i, (status, recorder) in enumerate(zip(statuses, recorders, strict=True)):
        if i not in failed and (force or recorder.save_due()):
            recorder.checkpoint(status._replace(loop=seed_part(loop, i)), force)


def evaluate_together(
    env: Environment, policy: Policy, params: Sequence[Params], episodes: int, seeds: Sequence[int], act: ActRule
) -> list[Evaluation]:
    """`evaluate` for one policy with several parameters, each with a seed of its own."""
    n = min(episodes, 32)
    return play_episodes_together(
        make_player(env, policy, n, act, True), stack_trees(params), test_keys(seeds), episodes, n
    )

"""Several seeds of one method trained together: one program, the seeds an axis of all its arrays.

Small networks leave an accelerator idle: ten seeds take it little longer than one. On a CPU nothing is gained. A seed
draws the numbers that it draws alone, so its training differs from that by rounding only.
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
from tutelage.experiment.evaluate import Evaluation, play_together, player, test_key
from tutelage.experiment.fit import (
    Pace,
    asks,
    cadence,
    due,
    evaluation_key,
    weighed,
    went_on,
)
from tutelage.experiment.jit import jit_once
from tutelage.experiment.stage_loop import Loop, StageLoop, stage_loop
from tutelage.experiment.status import Recorder, Result, Status
from tutelage.policies.acting import RULES
from tutelage.types import ActRule, Environment, Method, Params, Policy


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one shape as one, with a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def of_seed(tree: Any, index: int) -> Any:
    """One seed's part of it, a copy."""
    return jax.tree.map(lambda x: x[index], tree)


def fit_together(
    env: Environment, method: Method, config: FitConfig, seeds: Sequence[int], recorders: Sequence[Recorder]
) -> list[Result]:
    """`fit` for several seeds at once, each with a recorder of its own.

    Where it stops, by request or because a loss of some seed is no number, every seed is saved and can be resumed
    alone.

    Raises:
        NonFinite: a loss term of a seed stopped being a number.
        Interrupted: a recorder asked to stop.
    """
    roots = stacked([jax.random.key(seed) for seed in seeds])
    play = player(env, method.roles[method.actor], config.eval_episodes, RULES[config.act], True)
    state = jit_once(jax.vmap(lambda root: method.init(jax.random.fold_in(root, 0x1417))))(roots)
    each = [Status(0, nothing(), 0, None, 0.0) for _ in seeds]
    for index, stage in enumerate(method.stages):
        log_every, eval_every = cadence(stage, config)
        runner = stage_loop(env, stage, index, log_every, True)
        for recorder in recorders:
            recorder.begin(stage)
        # Done before the compiler begins: beside it, small thread pools of a CPU have blocked each other for good.
        loop = jax.block_until_ready(runner.start(state, roots))
        each = [s._replace(stage=index, steps=s.steps + int(s.loop.steps), loop=nothing()) for s in each]
        seconds = runner.compile(loop, roots)
        for recorder in recorders:
            recorder.compiled(stage, seconds)
        count = partial(due, stage, every=eval_every, evaluations=config.evaluations)
        pace = Pace()
        while not runner.over(loop):
            were, before = each, [s.since.due if s.since else count(s.loop) for s in each]
            loop, each, broken = advance(runner, loop, roots, each, log_every, pace, before, recorders)
            asked = [
                asks(stage, now, count(now.loop) > before[i], runner.over(now.loop))
                and int(now.loop.update) > int(was.loop.update)
                for i, (was, now) in enumerate(zip(were, each, strict=True))
            ]
            each = judge(env, method, config, play, roots, loop, each, asked, recorders)
            wanted = any(recorder.interrupted() for recorder in recorders)
            save(loop, each, recorders, wanted or bool(broken), broken)
            for i, error in broken.items():
                recorders[i].broke(each[i].best, each[i].steps + int(each[i].loop.steps), each[i].seconds, error)
            if broken:
                raise NonFinite("; ".join(f"seed {i + 1} of {len(each)}: {error}" for i, error in broken.items()))
            if wanted:
                raise Interrupted
        state = loop.train_state
    return tested(method, config, play, seeds, each)


def tested(method: Method, config: FitConfig, play: Any, seeds: Sequence[int], each: Sequence[Status]) -> list[Result]:
    """The final test of every seed's best parameters."""
    best = [s.best.params for s in each if s.best]
    acting, n = stacked([params[method.actor] for params in best]), config.eval_episodes
    tests = play_together(play, acting, test_keys(seeds), config.test_episodes, n)
    return [
        Result(params, test, s.seconds, s.steps + int(s.loop.steps))
        for params, test, s in zip(best, tests, each, strict=True)
    ]


def test_keys(seeds: Sequence[int]) -> PRNGKeyArray:
    """The keys of final tests."""
    return jax.vmap(test_key)(jnp.asarray(seeds))


def nothing() -> Loop:
    """A stage's counters at its beginning: what is kept of a seed's loop on the host."""
    return Loop((), {}, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))


def advance(
    runner: StageLoop,
    loop: Loop,
    roots: PRNGKeyArray,
    each: Sequence[Status],
    length: int,
    pace: Pace,
    due: Sequence[int],
    recorders: Sequence[Recorder],
) -> tuple[Loop, list[Status], dict[int, NonFinite]]:
    """`advance` of `fit` for all seeds; also says which broke."""
    lead = max(int(s.loop.update) for s in each)
    began = time.perf_counter()
    loop, rows = runner.run(loop, roots, pace.until(lead, length))
    seconds = time.perf_counter() - began
    updates, steps = np.asarray(loop.update), np.asarray(loop.steps)
    pace.took(int(updates.max()) - lead, seconds)
    following, broken = list(each), dict[int, NonFinite]()
    for i, (status, recorder) in enumerate(zip(each, recorders, strict=True)):
        made = int(updates[i]) - int(status.loop.update)
        if not made:
            continue
        now, own = nothing()._replace(update=updates[i], steps=steps[i]), {k: v[:made, i] for k, v in rows.items()}
        try:
            following[i] = went_on(runner, status, now, own, seconds, length, due[i], recorder)
        except NonFinite as error:
            broken[i] = error
    return loop, following, broken


def judge(
    env: Environment,
    method: Method,
    config: FitConfig,
    play: Any,
    roots: PRNGKeyArray,
    loop: Loop,
    each: Sequence[Status],
    asked: Sequence[bool],
    recorders: Sequence[Recorder],
) -> list[Status]:
    """Evaluate the seeds that are asked for, and keep the best parameters of each."""
    if not any(asked):
        return list(each)
    params, stage, n = jax.vmap(method.params)(loop.train_state), each[0].stage, config.eval_episodes
    keys = jax.vmap(lambda root, update: evaluation_key(root, stage, update))(roots, loop.update)
    results = play_together(play, params[method.actor], keys, n, n)
    return [
        weighed(status, method, result, env.spec.measure, partial(of_seed, params, i), recorder) if wanted else status
        for i, (status, result, wanted, recorder) in enumerate(zip(each, results, asked, recorders, strict=True))
    ]


def save(loop: Loop, each: Sequence[Status], recorders: Sequence[Recorder], wanted: bool, but: Collection[int]) -> None:
    """Offer every seed's state to its recorder, but for those whose numbers broke."""
    for i, (status, recorder) in enumerate(zip(each, recorders, strict=True)):
        if i not in but and (wanted or recorder.due()):
            recorder.checkpoint(status._replace(loop=of_seed(loop, i)), wanted)


def evaluate_together(
    env: Environment, policy: Policy, params: Sequence[Params], episodes: int, seeds: Sequence[int], act: ActRule
) -> list[Evaluation]:
    """`evaluate` for one policy with several parameters, each with a seed of its own."""
    n = min(episodes, 32)
    return play_together(player(env, policy, n, act, True), stacked(params), test_keys(seeds), episodes, n)

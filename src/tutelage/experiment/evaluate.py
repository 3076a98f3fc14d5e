"""Evaluation: playing whole episodes and computing success rate, return and length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.checks import MAX_COUNT, check_seeds
from tutelage.data.collect import init_collector
from tutelage.data.episodes import Episodes, play_on
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import raise_first_fault
from tutelage.envs.host.pool import raise_broken
from tutelage.errors import BadInput
from tutelage.experiment.jit import jit_unoptimised
from tutelage.experiment.memo import memoize
from tutelage.experiment.records import Evaluation
from tutelage.experiment.seed_axis import SeedAxis
from tutelage.experiment.stats import mean_interval, wilson
from tutelage.policies.acting import greedy
from tutelage.types import ActRule, Environment, Measure, Params, Policy

BATCH = 32
"""Episodes of a test that are played side by side."""


def ranking(measure: Measure, success_rate: float, return_mean: float) -> tuple[float, float]:
    """Sort key of an evaluation, greater is better: first the measure of the environment, then the other score."""
    return (success_rate, return_mean) if measure == "success" else (return_mean, success_rate)


@memoize
def make_player(env: Environment, policy: Policy, n: int, act: ActRule = greedy, together: bool = False) -> Any:
    """A jitted function (params, key) -> Episodes that plays `n` whole episodes side by side.

    Args:
        together: for several seeds at once; every leaf of params and key then has the seeds as its first axis.
    """
    play = play_whole(env, policy, n, act)
    return jit_unoptimised(jax.vmap(play) if together else play)


def play_whole(env: Environment, policy: Policy, n: int, act: ActRule) -> Callable[[Params, PRNGKeyArray], Episodes]:
    """The function that `make_player` compiles."""
    vector = make_vector_env(env, n, policy.goals)

    def play(params: Params, key: PRNGKeyArray) -> Episodes:
        key_begin, key = jax.random.split(key)
        return play_on(vector, policy, params, act, init_collector(vector, policy, key_begin), jnp.zeros(n, bool), key)

    return play


def play_episodes(
    play: Callable[[Params, PRNGKeyArray], Episodes],
    params: Params,
    keys: PRNGKeyArray,
    episodes: int,
    n: int,
    axis: SeedAxis,
) -> list[list[Episodes]]:
    """For every seed at least `episodes` episodes, in batches of `n`; `play` is a `make_player` of that `n`."""
    rounds, fold_in = -(-episodes // n), axis.over(jax.random.fold_in, (0, None))
    batches = [jax.device_get(play(params, fold_in(keys, i))) for i in range(rounds)]
    raise_broken()
    return [[axis.part(played, index) for played in batches] for index in range(axis.n)]


def summarise(batches: Sequence[Episodes], episodes: int) -> Evaluation:
    """The evaluation of the first `episodes` episodes; raises NonFinite where user code returned bad values in them."""
    for played in batches:
        raise_first_fault(played.wrong)
    success, returns, length = (
        np.concatenate(arrays)[:episodes] for arrays in zip(*(played[:3] for played in batches), strict=True)
    )
    own = [dict(played.info) for played in batches]
    info = {name: float(np.concatenate([each[name] for each in own])[:episodes].mean()) for name in own[0]}
    return evaluation_of(success, returns, length, info)


def evaluation_of(
    success: np.ndarray, returns: np.ndarray, length: np.ndarray, info: Mapping[str, float] = MappingProxyType({})
) -> Evaluation:
    """The evaluation of episodes from their outcomes (episodes,), and the means of the environment's own quantities."""
    return Evaluation(
        episodes=len(success),
        success_rate=float(success.mean()),
        ci95=wilson(int(success.sum()), len(success)),
        return_mean=float(returns.mean()),
        return_ci95=mean_interval(returns),
        length_mean=float(length.mean()),
        info=dict(info),
    )


def evaluate(
    env: Environment,
    policy: Policy,
    params: Params = (),
    episodes: int = 320,
    seed: int = 0,
    act: ActRule = greedy,
) -> Evaluation:
    """Evaluate a policy on whole episodes.

    Args:
        env: from `make`.
        policy, params: e.g. `run.policy("student")`, `run.params("student")`, or `env.scripted()` with no params.
        episodes: how many.
        seed: of the episodes.
        act: how actions follow from scores; `greedy` by default.

    Raises:
        BadInput: fewer than one episode, or an invalid seed. NonFinite: your own environment or policy returned a
            value that is not finite or out of range.
    """
    check_episodes(episodes)
    check_seeds(seed)
    return evaluate_together(env, policy, [params], episodes, [seed], act)[0]


def check_episodes(episodes: int, least: int = 1) -> None:
    """Raise BadInput for fewer episodes than `least`, or too many to count."""
    if not least <= episodes < MAX_COUNT:
        raise BadInput(f"episodes = {episodes}: must be at least {least} and less than {MAX_COUNT}")


def evaluate_together(
    env: Environment, policy: Policy, params: Sequence[Params], episodes: int, seeds: Sequence[int], act: ActRule
) -> list[Evaluation]:
    """`evaluate` for one policy with several parameters, each with a seed of its own."""
    n, axis = min(episodes, BATCH), SeedAxis(len(seeds))
    play, keys = make_player(env, policy, n, act, axis.n > 1), axis.join([test_key(seed) for seed in seeds])
    return [summarise(played, episodes) for played in play_episodes(play, axis.join(params), keys, episodes, n, axis)]


def test_key(seed: int | Array) -> PRNGKeyArray:
    """The key of final tests: never used in training."""
    return jax.random.fold_in(jax.random.key(seed), 0x7E57)

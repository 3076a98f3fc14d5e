"""Playing whole episodes and summing them up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.data.collect import Here, begin, enter
from tutelage.data.vector import batch
from tutelage.errors import BadInput
from tutelage.experiment.once import jit_once
from tutelage.experiment.stats import mean_interval, wilson
from tutelage.policies.acting import greedy
from tutelage.types import ActRule, Environment, Params, Policy, VectorEnv


class Episodes(NamedTuple):
    """Outcomes, one entry per episode."""

    success: Any
    returns: Any
    length: Any


@dataclass(frozen=True)
class Evaluation:
    """Greedy episodes of one policy.

    Attributes:
        episodes: how many.
        success_rate, ci95: share of successes with its Wilson interval.
        return_mean, return_ci95: undiscounted team return.
        length_mean: steps per episode.
    """

    episodes: int
    success_rate: float
    ci95: tuple[float, float]
    return_mean: float
    return_ci95: tuple[float, float]
    length_mean: float

    def as_dict(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def player(env: Environment, policy: Policy, n: int, act: ActRule = greedy) -> Any:
    """A jitted function (params, key) -> Episodes that plays `n` whole episodes side by side."""
    vector = batch(env, n, policy.goals)

    def play(params: Params, key: PRNGKeyArray) -> Episodes:
        key_begin, key = jax.random.split(key)
        return play_on(vector, policy, params, act, begin(vector, policy, key_begin), jnp.zeros(n, bool), key)

    return jit_once(play)


def play_on(
    vector: VectorEnv,
    policy: Policy,
    params: Params,
    act: ActRule,
    here: Here,
    over: Bool[Array, " B"],
    key: PRNGKeyArray,
) -> Episodes:
    """Play from here to the end of every episode; what is earned and how long it takes from here on.

    Args:
        over: episodes that have ended already; nothing of them counts.
    """
    nothing = Episodes(jnp.zeros(vector.n, bool), jnp.zeros(vector.n), jnp.zeros(vector.n, jnp.int32))

    def going(loop: tuple[Any, Episodes, Array, Array]) -> Array:
        return ~loop[2].all()

    def step(loop: tuple[Any, Episodes, Array, Array]) -> tuple[Any, Episodes, Array, Array]:
        here, sums, over, t = loop
        key_policy, key_act, key_env = jax.random.split(jax.random.fold_in(key, t), 3)
        carry, out = policy.step(params, enter(policy, here.timestep.first, here.carry), here.timestep, key_policy)
        action, _ = act(key_act, out, here.timestep)
        env_state, ts = vector.step(key_env, here.env_state, here.timestep, action)
        sums = Episodes(
            sums.success | (~over & ts.last & ts.success),
            sums.returns + jnp.where(over, 0.0, ts.reward),
            sums.length + ~over,
        )
        return here._replace(env_state=env_state, timestep=ts, carry=carry), sums, over | ts.last, t + 1

    return jax.lax.while_loop(going, step, (here, nothing, over, jnp.zeros((), jnp.int32)))[1]


def play_episodes(
    play: Callable[[Params, PRNGKeyArray], Episodes], params: Params, key: PRNGKeyArray, episodes: int, n: int
) -> Evaluation:
    """Play `episodes` episodes, `n` at a time (what `play` was built for), and sum them up."""
    rounds = -(-episodes // n)
    parts = [jax.device_get(play(params, jax.random.fold_in(key, i))) for i in range(rounds)]
    success, returns, length = (np.concatenate(x)[:episodes] for x in zip(*parts, strict=True))
    return Evaluation(
        episodes=episodes,
        success_rate=float(success.mean()),
        ci95=wilson(int(success.sum()), episodes),
        return_mean=float(returns.mean()),
        return_ci95=mean_interval(returns),
        length_mean=float(length.mean()),
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
        act: `greedy` unless told otherwise.

    Raises:
        BadInput: fewer than one episode.
    """
    if episodes < 1:
        raise BadInput(f"episodes = {episodes}: must be at least 1")
    n = min(episodes, 32)
    return play_episodes(player(env, policy, n, act), params, test_key(seed), episodes, n)


def test_key(seed: int) -> PRNGKeyArray:
    """The key of final tests: never used in training."""
    return jax.random.fold_in(jax.random.key(seed), 0x7E57)

"""Playing episodes to their end, and their outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.data.collect import CollectorState, enter
from tutelage.data.watch import fault_codes
from tutelage.types import ActRule, Params, Policy, VectorEnv


class Episodes(NamedTuple):
    """Outcomes, one entry per episode.

    Attributes:
        success, returns, length: whether it succeeded, its undiscounted return, its number of steps.
        wrong: by name, the code of the first fault in the values of a user's environment or policy
            (`data/watch.py`), 0 without one; empty for those of the package.
        info: sums of the environment's own quantities over the episode, by name.
    """

    success: Any
    returns: Any
    length: Any
    wrong: Any = ()
    info: Any = ()


def play_on(
    vector: VectorEnv,
    policy: Policy,
    params: Params,
    act: ActRule,
    collector: CollectorState,
    ended: Bool[Array, " B"],
    key: PRNGKeyArray,
) -> Episodes:
    """Play every environment to the end of its episode; returns and lengths count from where `collector` stands.

    An episode in which a fault is found stops there.

    Args:
        ended: episodes that have ended already; nothing of them counts.
    """
    no_faults = {name: jnp.zeros(vector.n) for name in policy.watched} | fault_codes(collector.timestep.watch)
    none = jnp.zeros(vector.n)
    no_info = jax.tree.map(lambda _: none, collector.timestep.info)
    start = Episodes(jnp.zeros(vector.n, bool), none, jnp.zeros(vector.n, jnp.int32), no_faults, no_info)

    def unfinished(loop: tuple[Any, Episodes, Array, Array]) -> Array:
        return ~loop[2].all()

    def step(loop: tuple[Any, Episodes, Array, Array]) -> tuple[Any, Episodes, Array, Array]:
        collector, episodes, ended, t = loop
        key_policy, key_act, key_env = jax.random.split(jax.random.fold_in(key, t), 3)
        carry, out = policy.step(
            params, enter(policy, collector.timestep.first, collector.carry), collector.timestep, key_policy
        )
        action, _ = act(key_act, out, collector.timestep)
        env_state, ts = vector.step(key_env, collector.env_state, collector.timestep, action)
        faults = fault_codes(out.watch) | fault_codes(ts.watch)
        episodes = Episodes(
            episodes.success | (~ended & ts.last & ts.success),
            episodes.returns + jnp.where(ended, 0.0, ts.reward),
            episodes.length + ~ended,
            {name: jnp.where(ended | (fault > 0), fault, faults[name]) for name, fault in episodes.wrong.items()},
            jax.tree.map(lambda total, x: total + jnp.where(ended, 0.0, x), episodes.info, ts.info),
        )
        ended = ended | ts.last
        for fault in episodes.wrong.values():
            ended |= fault > 0
        return collector._replace(env_state=env_state, timestep=ts, carry=carry), episodes, ended, t + 1

    return jax.lax.while_loop(unfinished, step, (collector, start, ended, jnp.zeros((), jnp.int32)))[1]


def play_on_each(
    vector: VectorEnv,
    teams: Sequence[tuple[Policy, Params]],
    act: ActRule,
    collector: CollectorState,
    ended: Bool[Array, " B"],
    key: PRNGKeyArray,
) -> list[Episodes]:
    """From the same states, with the same random numbers, each of several policies plays on alone: a fork.

    Args:
        teams: policies with their parameters. collector: its memory has one entry for each of them.
    """
    return [
        play_on(vector, policy, params, act, collector._replace(carry=own), ended, key)
        for (policy, params), own in zip(teams, collector.carry, strict=True)
    ]

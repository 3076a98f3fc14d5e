"""Playing on to the end of episodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.data.collect import Here, enter
from tutelage.data.watch import codes
from tutelage.types import ActRule, Params, Policy, VectorEnv


class Episodes(NamedTuple):
    """Outcomes, one entry per episode.

    Attributes:
        wrong: faults of what is watched, one number each (`data/watch.py`); of environments and policies of the
            package none.
    """

    success: Any
    returns: Any
    length: Any
    wrong: Any = ()


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

    An episode in which something is wrong is played no further.

    Args:
        over: episodes that have ended already; nothing of them counts.
    """
    begun = {name: jnp.zeros(vector.n) for name in policy.watched} | codes(here.timestep.watch)
    none = Episodes(jnp.zeros(vector.n, bool), jnp.zeros(vector.n), jnp.zeros(vector.n, jnp.int32), begun)

    def going(loop: tuple[Any, Episodes, Array, Array]) -> Array:
        return ~loop[2].all()

    def step(loop: tuple[Any, Episodes, Array, Array]) -> tuple[Any, Episodes, Array, Array]:
        here, sums, over, t = loop
        key_policy, key_act, key_env = jax.random.split(jax.random.fold_in(key, t), 3)
        carry, out = policy.step(params, enter(policy, here.timestep.first, here.carry), here.timestep, key_policy)
        action, _ = act(key_act, out, here.timestep)
        env_state, ts = vector.step(key_env, here.env_state, here.timestep, action)
        now = codes(out.watch) | codes(ts.watch)
        sums = Episodes(
            sums.success | (~over & ts.last & ts.success),
            sums.returns + jnp.where(over, 0.0, ts.reward),
            sums.length + ~over,
            {name: jnp.where(over | (seen > 0), seen, now[name]) for name, seen in sums.wrong.items()},
        )
        over = over | ts.last
        for seen in sums.wrong.values():
            over |= seen > 0
        return here._replace(env_state=env_state, timestep=ts, carry=carry), sums, over, t + 1

    return jax.lax.while_loop(going, step, (here, none, over, jnp.zeros((), jnp.int32)))[1]

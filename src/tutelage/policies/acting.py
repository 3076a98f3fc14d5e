"""From scores to actions."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.types import ActRule, Carry, Out, Params, Policy, TimeStep


def greedy(key: PRNGKeyArray, out: Out, timestep: TimeStep) -> tuple[Int[Array, "B N"], Float[Array, "B N"]]:
    """The action with the highest score; log-probability 0."""
    assert out.scores is not None
    action = out.scores.argmax(-1)
    return action, jnp.zeros(action.shape)


def tempered(temperature: Float[Array, "*B"] | float) -> ActRule:
    """Sample from softmax(logits / temperature), one temperature for all or one per environment."""

    def act(key: PRNGKeyArray, out: Out, timestep: TimeStep) -> tuple[Array, Array]:
        assert out.scores is not None
        heat = jnp.asarray(temperature)
        heat = heat.reshape(heat.shape + (1,) * (out.scores.ndim - heat.ndim))
        log_p = jax.nn.log_softmax(jnp.where(timestep.avail, out.scores / heat, -1e9))
        # Inverse distribution function: one uniform number per agent instead of one Gumbel number per action.
        total = jnp.cumsum(jnp.exp(log_p), -1)
        u = jax.random.uniform(key, total.shape[:-1])[..., None] * total[..., -1:]
        action = (total <= u).sum(-1)
        # Rounding can step past the last likely action.
        taken = jnp.take_along_axis(timestep.avail, jnp.minimum(action, total.shape[-1] - 1)[..., None], -1)[..., 0]
        action = jnp.where(taken, action, log_p.argmax(-1))
        return action, jnp.take_along_axis(log_p, action[..., None], -1)[..., 0]

    return act


sample: ActRule = tempered(1.0)
"""Sample from softmax(logits)."""


def random_policy() -> Policy:
    """Uniform over available actions: the floor of every table. Act with `sample`."""

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        return carry, Out(jnp.where(timestep.avail, jax.random.gumbel(key, timestep.avail.shape), -1e9))

    return Policy(init=lambda key: (), carry=lambda n: (), step=step)

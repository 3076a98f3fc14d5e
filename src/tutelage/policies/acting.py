"""Acting rules: from a policy's scores to actions; and the policy whose scores are random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.networks.cores import emittable, mask_logits
from tutelage.types import ActRule, Carry, Out, Params, Policy, TimeStep


def greedy(key: PRNGKeyArray, out: Out, timestep: TimeStep) -> tuple[Int[Array, "B N"], Float[Array, "B N"]]:
    """The available action with the highest score, with log-probability 0."""
    assert out.scores is not None
    action = out.scores.argmax(-1)
    return action, jnp.zeros(action.shape)


def tempered(temperature: Float[Array, "*B"] | float) -> ActRule:
    """Sample from softmax(logits / temperature), one temperature for all or one per environment."""

    def act(key: PRNGKeyArray, out: Out, timestep: TimeStep) -> tuple[Array, Array]:
        assert out.scores is not None
        heat = jnp.asarray(temperature)
        heat = heat.reshape(heat.shape + (1,) * (out.scores.ndim - heat.ndim))
        log_p = jax.nn.log_softmax(mask_logits(out.scores / heat, timestep.avail))
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


RULES: dict[str, ActRule] = {"greedy": greedy, "sample": sample}
"""Acting rules of evaluations, by name."""


def epsilon_greedy(epsilon: Float[Array, "*B"] | float) -> ActRule:
    """The best action, or with probability epsilon a random available one, for each agent independently.

    `epsilon` is one for all or one per environment (B,). The log-probability is that of this rule.
    """

    def act(key: PRNGKeyArray, out: Out, timestep: TimeStep) -> tuple[Array, Array]:
        assert out.scores is not None
        best = out.scores.argmax(-1)
        chance = jnp.asarray(epsilon)
        chance = chance.reshape(chance.shape + (1,) * (best.ndim - chance.ndim))
        available = emittable(timestep.avail)
        count = available.sum(-1)
        # One uniform number decides both whether to explore and where to.
        u = jax.random.uniform(key, best.shape)
        number = jnp.floor(u / jnp.maximum(chance, 1e-8) * count).astype(jnp.int32) + 1
        explored = (available.cumsum(-1) < jnp.minimum(number, count)[..., None]).sum(-1)
        action = jnp.where(u < chance, explored, best)
        probability = chance / count + jnp.where(action == best, 1 - chance, 0.0)
        return action, jnp.log(jnp.maximum(probability, 1e-8))

    return act


def random_policy() -> Policy:
    """Uniformly random available actions, when acted with `sample`: the lower bound in every table."""

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        return carry, Out(mask_logits(jax.random.gumbel(key, timestep.avail.shape), timestep.avail))

    return Policy(init=lambda key: (), carry=lambda n: (), step=step)

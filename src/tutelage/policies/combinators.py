"""Policies made of other policies."""

from __future__ import annotations

import jax
from jaxtyping import PRNGKeyArray

from tutelage.networks.cores import mask_logits
from tutelage.policies.blueprint import DeterministicTeam
from tutelage.types import Carry, Out, Params, Policy, TimeStep

LOGIT_GAP = 8.0
"""Logit of the best action over the others in `as_deterministic`: each other has a probability of about 1/3,000, and
1/200 at temperature 1.5."""


def as_deterministic(policy: Policy) -> Policy:
    """Make nearly deterministic logits of a policy whose scores are no logits (action values, a controller's choice).

    The action with the highest score gets almost all of the probability.
    """

    if isinstance(policy.blueprint, DeterministicTeam):
        return policy

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        carry, out = policy.step(params, carry, timestep, key)
        assert out.scores is not None
        best = jax.nn.one_hot(out.scores.argmax(-1), out.scores.shape[-1])
        return carry, out._replace(scores=mask_logits(LOGIT_GAP * (best - 1), timestep.avail))

    blueprint = None if policy.blueprint is None else DeterministicTeam(policy.blueprint)
    return policy._replace(step=step, replay=None, blueprint=blueprint)


def with_shadow(policy: Policy, shadow: Policy) -> Policy:
    """A policy that acts as `policy` does and runs `shadow` on the same timesteps, so that its memory is recorded too.

    Parameters and memories are pairs (policy's, shadow's).
    """

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        own, out = policy.step(params[0], carry[0], timestep, key)
        other, _ = shadow.step(params[1], carry[1], timestep, key)
        return (own, other), out

    init = lambda key: (policy.init(key), shadow.init(key))
    carry = lambda n: (policy.carry(n), shadow.carry(n))
    return Policy(init, carry, step, goals=policy.goals or shadow.goals)

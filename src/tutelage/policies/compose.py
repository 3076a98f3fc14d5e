"""Policies made of other policies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

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


def with_teammates(policy: Policy, mates: Policy) -> Policy:
    """A team some of whose agents are played by another team; both teams are made of agents.

    Both run on the same timesteps and remember, and an agent's scores are those of the team that plays it. Neither team
    hears messages of agents that the other one plays. Parameters are (which agents `mates` play (N,), the policy's,
    the mates'), memories are pairs.
    """

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        other, ours, theirs = params
        own, out = policy.step(ours, carry[0], heard_from(~other, timestep), key)
        mate, played = mates.step(theirs, carry[1], heard_from(other, timestep), key)
        assert out.scores is not None and played.scores is not None
        return (own, mate), Out(jnp.where(other[:, None], played.scores, out.scores), watch=out.watch)

    n = sum(len(group.agents) for group in policy.groups)
    init = lambda key: (jnp.zeros(n, bool), policy.init(key), mates.init(key))
    carry = lambda b: (policy.carry(b), mates.carry(b))
    return Policy(init, carry, step, goals=policy.goals or mates.goals, watched=policy.watched)


def heard_from(speakers: Bool[Array, " N"], timestep: TimeStep) -> TimeStep:
    """A timestep in which only these agents are heard."""
    return timestep if isinstance(timestep.links, tuple) else timestep._replace(links=timestep.links & speakers)

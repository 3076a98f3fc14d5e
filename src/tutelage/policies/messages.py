"""Agents that talk: each says something after it has thought, and hears what those in range said a step before.

What is heard is an attention over the links: agent i asks (query), agent j is known for (key) and says (value),
`c_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j` over the j that i hears. It is a part of the next step's input.

`tarmac`: all agents speak alike. `hetgat`: every class has words of its own.
Reference: Das et al. 2019 (TarMAC); Seraj et al. 2022 (HetNet) for classes and range. That words arrive a step later,
in both, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from tutelage.networks.cores import core
from tutelage.networks.talk import KEY, WORDS, attention, speech
from tutelage.policies.agent import Agent, Group, merge, team
from tutelage.policies.views import View
from tutelage.types import Carry, Out, Params, Policy, Spec, TimeStep


class Heard(NamedTuple):
    """What each agent took in of what each said in a step (it hears it in the next): (B, N, N), rows sum to 1 or 0."""

    weight: Float[Array, "B N N"]


def talker(kind: str, inputs: int, width: int, n_actions: int, gain: float, others: int) -> Agent:
    """An agent that reads its row and what it heard from at most so many others, and also has something to say."""
    mind, (say, _) = core(kind, inputs + WORDS, width, n_actions, gain), speech(width)

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key)
        return {**mind.init(keys[0]), **say(keys[1])}

    says, hears = ("linear", width, 2 * KEY + WORDS, 0), ("attention", others, KEY + WORDS, 0)
    layers = ((kind, inputs + WORDS, width, n_actions), says, hears)
    name, thinks = f"{kind} that talks", (mind.carry, mind.encode, mind.think, mind.head)
    return Agent(name, inputs + WORDS, width, n_actions, init, *thinks, layers=layers)


def hearing(seen: View, spec: Spec) -> View:
    """What is seen and, after the observation's columns, what was heard."""
    own = spec.obs_width

    def read(timestep: TimeStep) -> Array:
        row = seen.read(timestep._replace(obs=timestep.obs[..., :own]))
        return jnp.concatenate([row, timestep.obs[..., own:]], -1)

    return View(f"{seen.name} + heard", lambda s: seen.width(s) + WORDS, read, seen.decentralised)


def talking(groups: Sequence[Group]) -> Policy:
    """A team of talkers of one width, whose views are `hearing`. Carry: their own, and what each heard (B, N, V)."""
    silent, parts = team(tuple(groups)), tuple(groups)
    n = sum(len(group.agents) for group in parts)
    _, says = speech(parts[0].agent.width)

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        own, heard = carry
        listening = timestep._replace(obs=jnp.concatenate([timestep.obs, heard], -1))
        own, out = silent.step(params, own, listening, key)
        said = [says(p, h) for p, h in zip(params, out.features, strict=True)]
        query, keys, words = (merge(parts, list(x)) for x in zip(*said, strict=True))
        weight = attention(query, keys, timestep.links)
        return (own, jnp.einsum("bij,bjv->biv", weight, words)), out._replace(extra=Heard(weight))

    return Policy(silent.init, lambda b: (silent.carry(b), jnp.zeros((b, n, WORDS))), step, parts)

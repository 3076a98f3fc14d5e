"""Agents that communicate: each sends a message after every step and reads the messages of the step before.

An agent reads by attention over the links: agent i sends a query q_i, agent j a key k_j and a message v_j, and
`c_i = sum_j softmax_j(q_i . k_j / sqrt(K)) v_j` over the j that i hears. c_i is a part of i's next input.

`tarmac`: all agents share the network of messages. `hetgat`: every class of agents has its own.
Reference: Das et al. 2019 (TarMAC); Seraj et al. 2022 (HetNet) for classes and range. That messages arrive a step
later, in both, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from tutelage.configs.team import MESSAGE_WIDTH
from tutelage.networks.cores import make_core
from tutelage.networks.talk import message_attention, message_net
from tutelage.policies.agent import Agent, Group, in_agent_order, make_team
from tutelage.policies.blueprint import Network
from tutelage.policies.columns import Slice, View
from tutelage.policies.cost import network_layers
from tutelage.policies.normalising import with_normaliser
from tutelage.types import Carry, Out, Params, Policy, Spec, TimeStep


class MessageWeights(NamedTuple):
    """Attention of agent i to agent j's message of this step, which it reads in the next; rows sum to 1 or 0."""

    weight: Float[Array, "B N N"]


def make_talking_agent(network: Network) -> Agent:
    """An agent that also reads and sends messages; the message that it has read is the end of its input."""
    core, inputs, width, n_actions = network.core, network.inputs, network.width, network.outputs
    functions, (init_messages, _) = make_core(core, inputs, width, n_actions, network.gain), message_net(width)

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key)
        return {**functions.init(keys[0]), **init_messages(keys[1])}

    others = (functions.carry, functions.encode, functions.think, functions.head)
    layers = network_layers(network)
    return with_normaliser(
        Agent(network.label, inputs, width, n_actions, init, *others, layers=layers, network=network)
    )


def with_messages(view: View, spec: Spec) -> View:
    """A view with MESSAGE_WIDTH more columns, the message that was read; it stands behind the observation in `obs`."""
    heard = Slice("heard", spec.obs_width, spec.obs_width + MESSAGE_WIDTH)
    return View(f"{view.name} + heard", (*view.columns, heard), view.each)


def make_talking_team(groups: Sequence[Group]) -> Policy:
    """A team of agents of `make_talking_agent`, of one width, with views of `with_messages`.

    Its memory is (the agents', what each has read (B, N, MESSAGE_WIDTH)).
    """
    inner, members = make_team(tuple(groups)), tuple(groups)
    n = sum(len(group.agents) for group in members)
    _, speak = message_net(members[0].agent.width)

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        memory, read = carry
        listening = timestep._replace(obs=jnp.concatenate([timestep.obs, read], -1))
        memory, out = inner.step(params, memory, listening, key)
        sent = [speak(p, h) for p, h in zip(params, out.features, strict=True)]
        query, keys, words = (in_agent_order(members, list(x)) for x in zip(*sent, strict=True))
        weight = message_attention(query, keys, timestep.links)
        return (memory, jnp.einsum("bij,bjv->biv", weight, words)), out._replace(extra=MessageWeights(weight))

    carry = lambda b: (inner.carry(b), jnp.zeros((b, n, MESSAGE_WIDTH)))
    return Policy(inner.init, carry, step, members, blueprint=inner.blueprint)

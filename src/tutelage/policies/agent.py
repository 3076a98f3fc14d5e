"""Agents and teams of agents. An Agent is a function of its own row only, so a team of Agents is decentralised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.networks.cores import Unroll, make_core
from tutelage.policies.blueprint import Members, Network, Team
from tutelage.policies.columns import View
from tutelage.policies.normalising import Rows, labelled, with_normaliser
from tutelage.policies.views import read_view
from tutelage.types import Carry, Out, Params, Policy, TimeStep


class Agent(NamedTuple):
    """One agent's network as pure functions over one input row: the unit that is sized, timed and deployed.

    Attributes:
        kind, inputs, width, n_actions: which network, D, H and A.
        init, carry, encode, think, head, unroll: as in `networks.cores.Core`; without `unroll` sequences are computed
            step by step.
        layers: the (kind, inputs, width, outputs) of the networks inside, where it is more than one.
        network: the same as data; None for a network of a user's own.
    """

    kind: str
    inputs: int
    width: int
    n_actions: int
    init: Callable[[PRNGKeyArray], Params]
    carry: Callable[[], Carry]
    encode: Callable[[Params, Float[Array, " D"]], Float[Array, " H"]]
    think: Callable[[Params, Carry, Float[Array, " D"]], tuple[Carry, Float[Array, " H"]]]
    head: Callable[[Params, Float[Array, " H"], Bool[Array, " A"]], Float[Array, " A"]]
    unroll: Unroll | None = None
    layers: tuple[tuple[str, int, int, int], ...] = ()
    network: Network | None = None


class Group(NamedTuple):
    """Agents that share a network and its weights.

    Attributes:
        agents: their numbers in the team.
        agent: the network.
        view: what of a timestep they read.
    """

    agents: tuple[int, ...]
    agent: Agent
    view: View


def make_agent(network: Network) -> Agent:
    """An agent with a `gru` or `mlp` network and nothing else but a normaliser of its input, where it has one."""
    core, inputs, width, outputs = network.core, network.inputs, network.width, network.outputs
    functions = make_core(core, inputs, width, outputs, network.gain)
    return with_normaliser(Agent(core, inputs, width, outputs, *functions, network=network))


def in_agent_order(groups: tuple[Group, ...], per_group: Any) -> Array:
    """Concatenate arrays (..., n_g, C), one per group, in the order of the agents: (..., N, C)."""
    if len(groups) == 1:
        return per_group[0]
    order = np.argsort([i for group in groups for i in group.agents])
    concatenated = jnp.concatenate(per_group, -2)
    return concatenated if (order == np.arange(len(order))).all() else concatenated[..., order, :]


def make_team(groups: tuple[Group, ...]) -> Policy:
    """Make a Policy over (B, N, ...) of groups of agents.

    The carry is a tuple of one entry (B, n_g, ...) per group, or `()` where no agent has memory.
    """
    index = [np.array(group.agents) for group in groups]
    recurrent = any(jax.tree.leaves(group.agent.carry()) for group in groups)

    def lift(function: Callable[..., Any], params: Params, *arrays: Any) -> Any:
        """Apply a function of one row to (B, n_g, ...) arrays, over one flat axis: nested vmaps cost twice as much."""
        lead = jax.tree.leaves(arrays)[0].shape[:2]
        flat = jax.tree.map(lambda x: x.reshape(lead[0] * lead[1], *x.shape[2:]), arrays)
        out = jax.vmap(lambda *row: function(params, *row))(*flat)
        return jax.tree.map(lambda x: x.reshape(*lead, *x.shape[1:]), out)

    def members(i: int, x: Array) -> Array:
        low, n = groups[i].agents[0], len(groups[i].agents)
        if groups[i].agents == tuple(range(low, low + n)):  # neighbours: a slice costs less than an index
            return x[:, low : low + n]
        return x[:, index[i]]

    def init(key: PRNGKeyArray) -> Params:
        rows = [Rows(g.view, g.agents if len(groups) > 1 else None) for g in groups]
        keys = jax.random.split(key, len(groups))
        return tuple(labelled(g.agent.init(k), r) for g, k, r in zip(groups, keys, rows, strict=True))

    def group_carry(group: Group, n: int) -> Carry:
        shape = (n, len(group.agents))
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (*shape, *x.shape)), group.agent.carry())

    def carry(n: int) -> Carry:
        return tuple(group_carry(g, n) for g in groups) if recurrent else ()

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        memories, features, scores = [], [], []
        for i, group in enumerate(groups):
            rows = members(i, read_view(group.view, timestep))
            memory = carry[i] if recurrent else ()
            memory, h = lift(group.agent.think, params[i], memory, rows)
            memories.append(memory)
            features.append(h)
            scores.append(lift(group.agent.head, params[i], h, members(i, timestep.avail)))
        return tuple(memories) if recurrent else (), Out(in_agent_order(groups, scores), tuple(features))

    unrolls = [group.agent.unroll for group in groups if group.agent.unroll]

    def replay(params: Params, carry: Carry, inputs: TimeStep, first: Bool[Array, "T B"]) -> Out:
        t, b = first.shape
        flat = jax.tree.map(lambda x: x.reshape(t * b, *x.shape[2:]), inputs)
        features, scores = [], []
        for i, group in enumerate(groups):
            n = len(group.agents)
            rows = lift(group.agent.encode, params[i], members(i, read_view(group.view, flat)))
            memory = carry[i].reshape(b * n, -1)
            h = unrolls[i](params[i], memory, rows.reshape(t, b * n, -1), jnp.repeat(first, n, 1)).reshape(rows.shape)
            features.append(h.reshape(t, b, n, -1))
            scores.append(lift(group.agent.head, params[i], h, members(i, flat.avail)).reshape(t, b, n, -1))
        return Out(in_agent_order(groups, scores), tuple(features))

    made = Policy(init, carry, step, groups, blueprint=team_blueprint(groups))
    return made._replace(replay=replay) if len(unrolls) == len(groups) else made


def team_blueprint(groups: Sequence[Group]) -> Team | None:
    """Groups as data; None where a network is a user's own."""
    members = [Members(g.agents, g.agent.network, g.view) for g in groups if g.agent.network]
    return Team(tuple(members)) if len(members) == len(groups) else None

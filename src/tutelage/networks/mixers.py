"""Mixing networks: from agents' utilities to the value of the joint action."""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tutelage.errors import unknown
from tutelage.networks.cores import Net, dense, named_layers
from tutelage.types import Params


class Utilities(NamedTuple):
    """Agents' utilities for one joint action.

    Attributes:
        taken: Q_i of the action of each agent.
        best: max of Q_i over its available actions.
        action: the action of each agent.
    """

    taken: Float[Array, "... N"]
    best: Float[Array, "... N"]
    action: Int[Array, "... N"]


def mixing_net(kind: str, n_agents: int, n_actions: int, state_width: int, width: int = 32, hyper: int = 64) -> Net:
    """`apply(params, Utilities, state (..., S))` -> joint value (...); (..., N) for `iql`, which mixes nothing.

    Args:
        kind: `iql`, `vdn`, `qmix` or `qplex`.
        width: of the mixing layer. hyper: of the hypernetworks that generate its weights from the state.

    Raises:
        BadInput: unknown kind.

    Reference:
        Sunehag et al. 2018 (VDN); Rashid et al. 2018 (QMIX, figure 2); Wang et al. 2021 (QPLEX, section 3.2).
    """
    if kind == "iql":
        return Net(lambda key: (), lambda params, u, state: u.taken)
    if kind == "vdn":
        return Net(lambda key: (), lambda params, u, state: u.taken.sum(-1))
    if kind == "qmix":
        return _qmix(n_agents, state_width, width, hyper)
    if kind == "qplex":
        return _qplex(n_agents, n_actions, state_width, hyper)
    raise unknown("mixer", kind, ("iql", "vdn", "qmix", "qplex"))


class _Hyper(nn.Module):
    """Dense ReLU, Dense; one layer where `width` is 0."""

    outputs: int
    width: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.width:
            x = nn.relu(dense(self.width)(x))
        return dense(self.outputs, 1.0)(x)


def _qmix(n_agents: int, state_width: int, width: int, hyper: int) -> Net:
    networks = {
        "first": _Hyper(n_agents * width, hyper),
        "first_bias": _Hyper(width, 0),
        "second": _Hyper(width, hyper),
        "value": _Hyper(1, width),
    }
    init, run = named_layers({name: (network, state_width) for name, network in networks.items()})

    def apply(params: Params, u: Utilities, state: Array) -> Array:
        weight = jnp.abs(run(params, "first", state)).reshape(*state.shape[:-1], n_agents, width)
        # A sum over few agents, term by term: tiny batched products are slow.
        mixed = sum((u.taken[..., i, None] * weight[..., i, :] for i in range(n_agents)), jnp.zeros(()))
        hidden = nn.elu(mixed + run(params, "first_bias", state))
        return (hidden * jnp.abs(run(params, "second", state))).sum(-1) + run(params, "value", state)[..., 0]

    return Net(init, apply)


HEADS = 4
"""Attention heads of QPLEX."""


def _qplex(n_agents: int, n_actions: int, state_width: int, hyper: int) -> Net:
    with_actions = state_width + n_agents * n_actions
    networks = {
        "weight": _Hyper(n_agents, hyper),
        "bias": _Hyper(n_agents, hyper),
        "keys": _Hyper(HEADS, hyper),
        "agents": _Hyper(HEADS * n_agents, hyper),
        "actions": _Hyper(HEADS * n_agents, hyper),
    }
    inputs = dict.fromkeys(networks, state_width) | {"actions": with_actions}
    init, run = named_layers({name: (network, inputs[name]) for name, network in networks.items()})

    def apply(params: Params, u: Utilities, state: Array) -> Array:
        weight = jnp.abs(run(params, "weight", state)) + 1e-10
        bias = run(params, "bias", state)
        advantage = jax.lax.stop_gradient(weight * (u.taken - u.best))
        joint = (u.action[..., None] == jnp.arange(n_actions)).astype(state.dtype)
        state_and_action = jnp.concatenate([state, joint.reshape(*state.shape[:-1], -1)], -1)
        heads = lambda x: x.reshape(*state.shape[:-1], HEADS, n_agents)
        key = jnp.abs(run(params, "keys", state))[..., None] + 1e-10
        importance = (
            key
            * jax.nn.sigmoid(heads(run(params, "agents", state)))
            * jax.nn.sigmoid(heads(run(params, "actions", state_and_action)))
        ).sum(-2)
        utilities = weight * u.taken + bias
        return utilities.sum(-1) + (advantage * (importance - 1)).sum(-1)

    return Net(init, apply)


def unrestricted_mixing_net(n_agents: int, state_width: int, width: int = 256) -> Net:
    """WQMIX's Q*: three layers over utilities and state, plus a value of the state. Not monotone.

    Reference:
        Rashid et al. 2020, section 5.
    """
    body = nn.Sequential([x for _ in range(3) for x in (dense(width), nn.relu)] + [dense(1, 1.0)])
    value = _Hyper(1, 32)
    init, run = named_layers({"body": (body, n_agents + state_width), "value": (value, state_width)})

    def apply(params: Params, u: Utilities, state: Array) -> Array:
        x = jnp.concatenate([u.taken, state], -1)
        return (run(params, "body", x) + run(params, "value", state))[..., 0]

    return Net(init, apply)

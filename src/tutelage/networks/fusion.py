"""Networks that make a personalised state for each agent from the world state."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from tutelage.errors import unknown
from tutelage.networks.cores import Net, dense, named_layers
from tutelage.types import Params

KINDS = ("full", "film", "mlp", "raw", "raw+id")


def fusion_net(kind: str, own: int, state: int, n_agents: int, width: int = 64, generator: int = 32) -> tuple[Net, int]:
    """`apply(params, l (..., N, L), s (..., S))` -> (..., N, width'), and that width'.

    Args:
        kind: `full`: s_i = s W_i + B_i with W_i and B_i generated from l_i = what the agent itself reads. `film`: a
            diagonal W_i, then a shared layer. `mlp`: a layer over both, non-linear in s. `raw`: s for everybody.
            `raw+id`: s and the agent's number.
        own, state: L and S. width, generator: of s_i, and of the hidden layer that generates.

    Raises:
        BadInput: unknown kind.

    Reference:
        DDN (arXiv 2502.03125) for the linear form, as reported second-hand; the generator is our reconstruction.
    """
    if kind not in KINDS:
        raise unknown("fusion", kind, KINDS)
    if kind == "raw":
        broadcast = lambda params, l, s: jnp.broadcast_to(s[..., None, :], (*l.shape[:-1], state))
        return Net(lambda key: (), broadcast), state
    if kind == "raw+id":
        return Net(lambda key: (), _with_number(n_agents)), state + n_agents
    make_kind = {"full": _full, "film": _film, "mlp": _mlp}[kind]
    return make_kind(own, state, width, generator), width


def _with_number(n: int) -> Any:
    def apply(params: Params, l: Array, s: Array) -> Array:
        number = jnp.broadcast_to(jnp.eye(n), (*l.shape[:-2], n, n))
        return jnp.concatenate([jnp.broadcast_to(s[..., None, :], (*l.shape[:-1], s.shape[-1])), number], -1)

    return apply


def _full(own: int, state: int, width: int, generator: int) -> Net:
    """s_i = z_i . (s T) + s T0 + B_i: no agent's matrix is ever formed, s T is computed once for the team."""
    outputs = generator * width
    # Entries of T begin at the size 1 / sqrt(G), and s T is scaled down: so an entry of s_i is about as large as one of
    # s, and a step of Adam, which changes every entry of T by the same, does not change s_i G times as fast as it
    # changes what an ordinary layer makes of s.
    gain, scale = (max(state, outputs) / generator) ** 0.5, state**-0.5
    init, run = named_layers(
        {
            "generator": (dense(generator), own),
            "matrices": (dense(outputs, gain), state),
            "matrix": (dense(width, 1.0), state),
            "offset": (dense(width, 1.0), generator),
        }
    )

    def apply(params: Params, l: Array, s: Array) -> Array:
        z = nn.relu(run(params, "generator", l))
        shared = scale * run(params, "matrices", s).reshape(*s.shape[:-1], generator, width)
        each = jnp.einsum("...ng,...gw->...nw", z, shared)
        return each + run(params, "matrix", s)[..., None, :] + run(params, "offset", z)

    return Net(init, apply)


def _film(own: int, state: int, width: int, generator: int) -> Net:
    init, run = named_layers(
        {
            "generator": (dense(generator), own),
            "scale": (dense(2 * state, 0.1), generator),
            "out": (dense(width), state),
        }
    )

    def apply(params: Params, l: Array, s: Array) -> Array:
        scale, shift = jnp.split(run(params, "scale", nn.relu(run(params, "generator", l))), 2, -1)
        return run(params, "out", s[..., None, :] * (1 + scale) + shift)

    return Net(init, apply)


def _mlp(own: int, state: int, width: int, generator: int) -> Net:
    init, run = named_layers({"hidden": (dense(width), own + state), "out": (dense(width), width)})

    def apply(params: Params, l: Array, s: Array) -> Array:
        both = jnp.concatenate([l, jnp.broadcast_to(s[..., None, :], (*l.shape[:-1], s.shape[-1]))], -1)
        return run(params, "out", nn.relu(run(params, "hidden", both)))

    return Net(init, apply)

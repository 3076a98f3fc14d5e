"""A GRU over whole sequences, with a faster gradient; outputs equal those of its cell step by step.

In an ordinary backward pass every weight's gradient takes a small matrix product per step. Here the backward pass only
computes the gradients at the gates step by step. A weight's gradient is then one product over all steps, and so is the
product with the inputs. This helps most with few sequences at a time.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.types import Params

Residuals = tuple[Any, ...]
"""What the forward pass keeps for the backward pass."""


def gru_unroll(
    params: Params, memory: Float[Array, "R H"], x: Float[Array, "T R D"], first: Bool[Array, "T R"]
) -> Float[Array, "T R H"]:
    """The GRU's memory after every step of R sequences.

    Args:
        params: of a `flax.linen.GRUCell`.
        memory: entering step 0.
        first: steps before which memory is reset, to zeros.
    """
    concatenated = lambda part, gates: jnp.concatenate([params[gate][part] for gate in gates], -1)
    inputs = x @ concatenated("kernel", ("ir", "iz", "in")) + concatenated("bias", ("ir", "iz", "in"))
    keep = 1.0 - first[..., None].astype(x.dtype)
    return recur(concatenated("kernel", ("hr", "hz", "hn")), params["hn"]["bias"], memory, inputs, keep)


@jax.custom_vjp
def recur(
    kernel: Float[Array, "H 3*H"],
    bias: Float[Array, " H"],
    memory: Float[Array, "R H"],
    inputs: Float[Array, "T R 3*H"],
    keep: Float[Array, "T R 1"],
) -> Float[Array, "T R H"]:
    """`r, z = sigmoid(x + m W)`, `n = tanh(x + r (m W + b))`, `h = n + z (m - n)`, m = keep times the h before.

    Args:
        kernel, bias: W of r, z and n, concatenated, and b of n.
        inputs: x, what reaches the three gates from outside.
    """
    return forward(kernel, bias, memory, inputs, keep)[0]


def forward(kernel: Array, bias: Array, memory: Array, inputs: Array, keep: Array) -> tuple[Array, Residuals]:
    width = len(bias)

    def body(h: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[Array, ...]]:
        x, keep = step
        m = h * keep
        recurrent = m @ kernel
        rz = jax.nn.sigmoid(x[:, : 2 * width] + recurrent[:, : 2 * width])
        candidate = recurrent[:, 2 * width :] + bias
        n = jnp.tanh(x[:, 2 * width :] + rz[:, :width] * candidate)
        h = n + rz[:, width:] * (m - n)
        return h, (h, rz, n, candidate)

    hs, *gates = jax.lax.scan(body, memory, (inputs, keep))[1]
    return hs, (kernel, memory, hs, *gates, keep)


def backward(residuals: Residuals, d_hs: Float[Array, "T R H"]) -> tuple[Array | None, ...]:
    """Gradients of `recur`'s arguments; `d_`: of the loss with respect to."""
    kernel, memory, hs, rz, n, candidate, keep = residuals
    width, transposed = hs.shape[-1], kernel.T
    ms = jnp.concatenate([memory[None], hs[:-1]]) * keep

    def body(d_later: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        d_output, m, rz, n, candidate, keep = step
        r, z = rz[:, :width], rz[:, width:]
        d_h = d_later + d_output
        d_n = d_h * (1 - z) * (1 - n * n)
        d_inputs = jnp.concatenate([d_n * candidate * r * (1 - r), d_h * (m - n) * z * (1 - z), d_n], -1)
        d_m = d_h * z + d_inputs[:, : 2 * width] @ transposed[: 2 * width] + (d_n * r) @ transposed[2 * width :]
        return d_m * keep, d_inputs

    steps = (d_hs, ms, rz, n, candidate, keep)
    d_memory, d_inputs = jax.lax.scan(body, jnp.zeros_like(memory), steps, reverse=True)
    flat = lambda x: x.reshape(-1, x.shape[-1])
    # What memory sends to n passes through r, what the inputs send does not.
    d_rz, d_n = flat(d_inputs[..., : 2 * width]), flat(d_inputs[..., 2 * width :] * rz[..., :width])
    entering = flat(ms).T
    return jnp.concatenate([entering @ d_rz, entering @ d_n], -1), d_n.sum(0), d_memory, d_inputs, None


recur.defvjp(forward, backward)

"""A GRU over whole sequences: what its cell computes step by step, with a gradient that takes fewer products.

Differentiated step by step, every weight's gradient is a small product and a sum per step. Here the way back only hands
what reaches the gates from step to step, and a weight's gradient is one product over all steps; so is the product with
the inputs. That is worth most where few sequences are learned from at a time.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.types import Params

Left = tuple[Any, ...]
"""What the way there leaves for the way back."""


def gru_over(
    params: Params, memory: Float[Array, "R H"], x: Float[Array, "T R D"], first: Bool[Array, "T R"]
) -> Float[Array, "T R H"]:
    """The memory after every step.

    Args:
        params: of a `flax.linen.GRUCell`.
        memory: entering step 0.
        first: steps before which memory is reset, to zeros.
    """
    side_by_side = lambda part, gates: jnp.concatenate([params[gate][part] for gate in gates], -1)
    told = x @ side_by_side("kernel", ("ir", "iz", "in")) + side_by_side("bias", ("ir", "iz", "in"))
    keep = 1.0 - first[..., None].astype(x.dtype)
    return recur(side_by_side("kernel", ("hr", "hz", "hn")), params["hn"]["bias"], memory, told, keep)


@jax.custom_vjp
def recur(
    kernel: Float[Array, "H 3H"],
    bias: Float[Array, " H"],
    memory: Float[Array, "R H"],
    told: Float[Array, "T R 3H"],
    keep: Float[Array, "T R 1"],
) -> Float[Array, "T R H"]:
    """`r, z = sigmoid(told + m W)`, `n = tanh(told + r (m W + b))`, `h = n + z (m - n)`, m = keep times the last h.

    Args:
        kernel, bias: W of r, z and n side by side, and b of n.
        told: what the inputs send to the gates.
    """
    return there(kernel, bias, memory, told, keep)[0]


def there(kernel: Array, bias: Array, memory: Array, told: Array, keep: Array) -> tuple[Array, Left]:
    width = len(bias)

    def body(h: Array, step: tuple[Array, Array]) -> tuple[Array, tuple[Array, ...]]:
        told, keep = step
        m = h * keep
        back = m @ kernel
        rz = jax.nn.sigmoid(told[:, : 2 * width] + back[:, : 2 * width])
        candidate = back[:, 2 * width :] + bias
        n = jnp.tanh(told[:, 2 * width :] + rz[:, :width] * candidate)
        h = n + rz[:, width:] * (m - n)
        return h, (h, rz, n, candidate)

    hs, *gates = jax.lax.scan(body, memory, (told, keep))[1]
    return hs, (kernel, memory, hs, *gates, keep)


def back(left: Left, wanted: Float[Array, "T R H"]) -> tuple[Array | None, ...]:
    """Gradients of `recur`'s arguments, from that of what it returned."""
    kernel, memory, hs, rz, n, candidate, keep = left
    width, over = hs.shape[-1], kernel.T
    ms = jnp.concatenate([memory[None], hs[:-1]]) * keep

    def body(after: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        wanted, m, rz, n, candidate, keep = step
        r, z = rz[:, :width], rz[:, width:]
        h = after + wanted
        to_n = h * (1 - z) * (1 - n * n)
        to_gates = jnp.concatenate([to_n * candidate * r * (1 - r), h * (m - n) * z * (1 - z), to_n], -1)
        before = h * z + to_gates[:, : 2 * width] @ over[: 2 * width] + (to_n * r) @ over[2 * width :]
        return before * keep, to_gates

    to_memory, to_gates = jax.lax.scan(body, jnp.zeros_like(memory), (wanted, ms, rz, n, candidate, keep), reverse=True)
    flat = lambda x: x.reshape(-1, x.shape[-1])
    # What memory sends to n passes through r, what the inputs send does not.
    to_n = flat(to_gates[..., 2 * width :] * rz[..., :width])
    entering = flat(ms).T
    to_kernel = jnp.concatenate([entering @ flat(to_gates[..., : 2 * width]), entering @ to_n], -1)
    return to_kernel, to_n.sum(0), to_memory, to_gates, None


recur.defvjp(there, back)

"""Passes over recorded rows that fit a network to its 8-bit integers: distillation with rounding in the forward pass.

The network learns to give, rounded, what it gives in floats: scores, memory, and what it sends. Every step begins
with a recorded memory. Rounding has no gradient, so that of its input is passed on (Bengio et al. 2013). What is
computed is otherwise what `quantise.py` does, but for the tables of the gates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from tutelage.deploy.layers import SCALE, Dense, Gru, Join, Program, Scale, Weights
from tutelage.deploy.quantise import LARGEST, largest_values, steps_of

EPOCHS, BATCH, LEARNING_RATE = 30, 256, 5e-4

Outputs = dict[str, Array]


def fit_to_integers(program: Program, weights: Weights, rows: np.ndarray, memory: np.ndarray, seed: int = 0) -> Weights:
    """Weights whose integers give what the given ones give in floats, as far as that is possible.

    Args:
        rows, memory: recorded inputs (R, D) and the memories (R, H) that entered.
    """
    largest = largest_values(program, weights, rows, memory)
    steps = {name: jnp.asarray(steps_of(x, 1.0 if name == "row" else None)) for name, x in largest.items()}
    exact = lambda x, step, low=-LARGEST: x
    targets = jax.jit(lambda: forward(program, weights, jnp.asarray(rows), jnp.asarray(memory), steps, exact))()
    scale = {name: jnp.maximum(x.var(), 1e-12) for name, x in targets.items()}
    size = min(BATCH, len(rows))
    count = len(rows) // size
    optimiser = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, EPOCHS * count))

    def loss(weights: Any, batch: Any) -> Array:
        row, entering, wanted = batch
        outputs = forward(program, weights, row, entering, steps, rounded)
        return sum(((outputs[name] - wanted[name]) ** 2).mean() / scale[name] for name in wanted)  # type: ignore[return-value]

    def step(carry: Any, batch: Any) -> Any:
        weights, state = carry
        updates, state = optimiser.update(jax.grad(loss)(weights, batch), state)
        return (optax.apply_updates(weights, updates), state), ()

    @jax.jit
    def epoch(carry: Any, key: Array) -> Any:
        order = jax.random.permutation(key, len(rows))[: count * size]
        batches = jax.tree.map(lambda x: x[order].reshape(count, size, *x.shape[1:]), data)
        return jax.lax.scan(step, carry, batches)[0]

    data = (jnp.asarray(rows), jnp.asarray(memory), targets)
    begin = {name: jnp.asarray(x) for name, x in weights.items()}
    carry = (begin, optimiser.init(begin))
    for i in range(EPOCHS):
        carry = epoch(carry, jax.random.fold_in(jax.random.key(seed), i))
    return {name: np.asarray(x) for name, x in carry[0].items()}


def rounded(x: Array, step: Any, low: int = -LARGEST) -> Array:
    """x in whole steps of 8 bits; its gradient is that of x, and none beyond the 8 bits."""
    inside = jnp.clip(x, low * step, LARGEST * step)
    return inside + jax.lax.stop_gradient(jnp.round(inside / step) * step - inside)


def rounded_kernel(kernel: Array, inputs: Any, round_to: Callable[..., Array]) -> Array:
    """A kernel as its integers stand for it: rounded with the steps of its inputs folded in, a step per output."""
    folded = kernel * jnp.asarray(inputs)[:, None]
    largest = jax.lax.stop_gradient(jnp.abs(folded).max(0))
    return round_to(folded, jnp.where(largest > 0, largest, 1.0) / LARGEST) / jnp.asarray(inputs)[:, None]


def forward(
    program: Program, weights: Any, rows: Array, memory: Array, steps: dict[str, Any], round_to: Callable[..., Array]
) -> Outputs:
    """What a network gives (R, ...): `scores`, `memory` where there is any, and what is sent.

    Args:
        steps: of the units of each value. round_to: `rounded`, or a function that leaves numbers as they are.
    """
    values, following = {"row": round_to(rows, steps["row"])}, []
    scales = dict(steps)
    for layer in program.layers:
        if isinstance(layer, Scale):
            mean, factor, limit = (jax.lax.stop_gradient(weights[f"{layer.name}.{part}"]) for part in SCALE)
            values[layer.target] = round_to(jnp.clip((rows - mean) * factor, -limit, limit), steps[layer.target])
        elif isinstance(layer, Join):
            values[layer.target] = jnp.concatenate([values[name] for name in layer.sources], -1)
            scales[layer.target] = jnp.concatenate([scales[name] for name in layer.sources])
        elif isinstance(layer, Gru):
            h = memory[:, layer.start : layer.start + layer.width]
            h = gru(layer, weights, values[layer.source], h, scales[layer.source], round_to)
            following.append(h)
            scales[layer.target] = jnp.full(layer.width, 1 / 128)
            values[layer.target] = round_to(h, 1 / 128)
        else:
            values[layer.target] = dense(layer, weights, values[layer.source], scales, round_to)
    finals = ("scores", *(name for name, _ in program.sends))
    kept = {"memory": jnp.concatenate(following, -1)} if following else {}
    return {**{name: values[name] for name in finals}, **kept}


def dense(layer: Dense, weights: Any, x: Array, scales: dict[str, Any], round_to: Callable[..., Array]) -> Array:
    """A dense layer; scores and what is sent are not rounded, and what cannot be negative is not."""
    kernel = rounded_kernel(weights[f"{layer.name}.kernel"], scales[layer.source], round_to)
    out = x @ kernel + weights[f"{layer.name}.bias"]
    if layer.relu:
        return round_to(jax.nn.relu(out), scales[layer.target], 0)
    return out if layer.target in ("scores", "query", "key", "words") else round_to(out, scales[layer.target])


def gru(layer: Gru, weights: Any, x: Array, h: Array, inputs: Any, round_to: Callable[..., Array]) -> Array:
    """r, z = sigmoid(x + h), n = tanh(x + r (h + b)), h' = n + z (h - n)."""
    name, width = layer.name, layer.width
    kernel_x = rounded_kernel(weights[f"{name}.kernel_x"], inputs, round_to)
    kernel_h = rounded_kernel(weights[f"{name}.kernel_h"], jnp.full(width, 1 / 128), round_to)
    from_x, from_h = x @ kernel_x + weights[f"{name}.bias_x"], round_to(h, 1 / 128) @ kernel_h
    gates = jax.nn.sigmoid(from_x[:, : 2 * width] + from_h[:, : 2 * width])
    n = jnp.tanh(from_x[:, 2 * width :] + gates[:, :width] * (from_h[:, 2 * width :] + weights[f"{name}.bias_n"]))
    return n + gates[:, width:] * (h - n)

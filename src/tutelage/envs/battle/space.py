"""Distances between units, and pushing overlapping units apart, with the batch axis last."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tutelage.envs.battle.rules import Rules


def distances(x: Array, y: Array, rows: slice, columns: slice) -> tuple[Array, Array, Array]:
    """Differences x and y from rows to columns, and distances."""
    dx, dy = x[columns][None] - x[rows][:, None], y[columns][None] - y[rows][:, None]
    return dx, dy, jnp.sqrt(dx * dx + dy * dy)


def sum_terms(pairs: Array, axis: int) -> Array:
    """The sum over a short axis, term by term.

    On a CPU this is several times faster than `sum`, for which the compiler computes the pairs again in each sum.
    """
    pairs = jax.lax.optimization_barrier(pairs)
    return functools.reduce(jnp.add, [pairs[(slice(None),) * axis + (i,)] for i in range(pairs.shape[axis])])


def move_dead_away(x: Array, alive: Array) -> Array:
    """(U, B) x with dead units moved far outside, each to another place, so that pairs need no mask."""
    away = 1e6 * (1 + np.arange(x.shape[0], dtype=np.float32))[:, None]
    return jnp.where(alive, x, away)


def push_apart(rules: Rules, x: Array, y: Array, alive: Array, radius: Array) -> tuple[Array, Array]:
    """Push overlapping living units apart, once."""
    dx, dy, distance = distances(move_dead_away(x, alive), y, slice(None), slice(None))
    apart = distance + jnp.eye(x.shape[0])[..., None] + 1e-6
    weight = jax.nn.relu((radius[:, None] + radius[None]) / apart - 1.0) * rules.push
    return x - sum_terms(dx * weight, 1), y - sum_terms(dy * weight, 1)

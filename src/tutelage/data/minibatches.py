"""Cutting rollouts into minibatches, and epochs of updates on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.types import Metrics


def take_sequences(tree: Any, index: Any, axis: int = 1) -> Any:
    """Take sequences (or environments) out of time-major arrays: how minibatches are made."""
    return jax.tree.map(lambda x: jnp.take(x, index, axis=axis), tree)


def sequences(tree: Any, length: int) -> Any:
    """Cut time-major (T, B, ...) leaves into (length, T/length * B, ...) sequences."""

    def leaf(x: Array) -> Array:
        t, b = x.shape[:2]
        cut = x.reshape((t // length, length, b, *x.shape[2:])).swapaxes(0, 1)
        return cut.reshape((length, t // length * b, *x.shape[2:]))

    return jax.tree.map(leaf, tree)


def shuffles(key: PRNGKeyArray, times: int, n: int) -> Int[Array, "times n"]:
    """Random orders of `range(n)`, by sorting random numbers (several times faster than `permutation`)."""
    return jax.random.uniform(key, (times, n)).argsort(-1)


def epochs(
    step: Callable[[Any, Any], tuple[Any, Metrics]],
    start: Any,
    data: Any,
    key: PRNGKeyArray,
    times: int,
    minibatches: int,
) -> tuple[Any, Metrics]:
    """Several epochs of updates, each over all sequences in shuffled minibatches.

    Args:
        step: (train state, minibatch with leaves (T, sequences / minibatches, ...)) -> (train state, metrics).
        start: train state.
        data: leaves (T, sequences, ...).
        times: number of epochs. minibatches: number per epoch.

    Returns:
        The train state after the last update, and the means of the metrics.
    """
    index = shuffles(key, times, jax.tree.leaves(data)[0].shape[1]).reshape(times * minibatches, -1)
    end, metrics = jax.lax.scan(lambda state, i: step(state, take_sequences(data, i)), start, index)
    return end, jax.tree.map(jnp.mean, metrics)

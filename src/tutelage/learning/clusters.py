"""k-means on directions, for role prototypes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.learning.losses import unit

SAMPLE = 4096
"""Most rows that the clustering uses."""


def kmeans(
    x: Float[Array, "n H"], where: Bool[Array, " n"], k: int, key: PRNGKeyArray, rounds: int = 20
) -> Float[Array, "k H"]:
    """Spherical k-means (Lloyd's algorithm on unit vectors, started far apart).

    Args:
        x: rows; at most `SAMPLE` of those picked by `where` are drawn.
        k: how many centres.

    Returns:
        Centres of length 1. With fewer different rows than `k`, some coincide.

    Reference:
        Dhillon and Modha 2001; started as in Gonzalez 1985, each centre the row farthest from those before.
    """
    chance = jnp.where(where, jax.random.uniform(key, where.shape), -1.0)
    chance, rows = jax.lax.top_k(chance, min(SAMPLE, x.shape[0]))
    picked, counts = unit(x[rows]), chance >= 0

    def add_farthest(closest: Array, _: None) -> tuple[Array, Array]:
        centre = picked[jnp.where(counts, closest, jnp.inf).argmin()]
        return jnp.maximum(closest, picked @ centre), centre

    centres = jax.lax.scan(add_farthest, jnp.full(counts.shape, -1.0), None, k)[1]

    def update(centres: Array, _: None) -> tuple[Array, None]:
        own = jax.nn.one_hot((picked @ centres.T).argmax(-1), k) * counts[:, None]
        total = own.T @ picked
        return jnp.where(own.sum(0)[:, None] > 0, unit(total), centres), None

    return jax.lax.scan(update, centres, None, rounds)[0]

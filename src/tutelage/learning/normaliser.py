"""Running mean and deviation of returns, so that critics learn targets of unit size."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.learning.losses import masked_mean


class Normaliser(NamedTuple):
    """Debiased exponential moments of what was seen."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    batches: Float[Array, ""]

    @property
    def deviation(self) -> Float[Array, ""]:
        return jnp.sqrt(jnp.maximum(self.square - jnp.square(self.mean), 1e-4))


def normaliser() -> Normaliser:
    """Mean 0, deviation 1, nothing seen."""
    return Normaliser(jnp.zeros(()), jnp.ones(()), jnp.zeros(()))


def observe(seen: Normaliser, x: Float[Array, ...], where: Bool[Array, ...], rate: float = 0.1) -> Normaliser:
    """Take in a batch. The first 1/rate batches are averaged evenly (which is the debiasing), then exponentially."""
    step = jnp.maximum(rate, 1 / (seen.batches + 1))
    mean, square = masked_mean(x, where), masked_mean(jnp.square(x), where)
    return Normaliser(
        seen.mean + step * (mean - seen.mean), seen.square + step * (square - seen.square), seen.batches + 1
    )

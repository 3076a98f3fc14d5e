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
        """Of returns: at least 0.01, so that a critic is not torn apart where all of them are the same."""
        return self.deviation_above(0.01)

    def deviation_above(self, floor: Float[Array, ""] | float) -> Float[Array, ""]:
        """The standard deviation, but at least `floor`."""
        return jnp.sqrt(jnp.maximum(self.square - jnp.square(self.mean), jnp.square(floor)))


def normaliser() -> Normaliser:
    """Mean 0, deviation 1, nothing seen."""
    return Normaliser(jnp.zeros(()), jnp.ones(()), jnp.zeros(()))


def observe(seen: Normaliser, x: Float[Array, ...], where: Bool[Array, ...], rate: float = 0.1) -> Normaliser:
    """Take in a batch. The first 1/rate batches are averaged evenly (which is the debiasing), then exponentially."""
    step = jnp.maximum(rate, 1 / (seen.batches + 1))
    mean, square = masked_mean(x, where), masked_mean(jnp.square(x), where)
    # Not `old + step * (new - old)`: where the new is tiny, its digits would be lost in the start of 1.
    mix = lambda old, new: (1 - step) * old + step * new
    return Normaliser(mix(seen.mean, mean), mix(seen.square, square), seen.batches + 1)

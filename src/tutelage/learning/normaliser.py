"""Running mean and deviation of returns, so that critics learn targets of unit size."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.learning.losses import masked_mean


class Normaliser(NamedTuple):
    """Debiased exponential moving averages of x and x^2 over batches."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    batches: Float[Array, ""]

    @property
    def deviation(self) -> Float[Array, ""]:
        """Standard deviation, at least 0.01: normalised targets stay finite where all returns are the same."""
        return self.deviation_above(0.01)

    def deviation_above(self, floor: Float[Array, ""] | float) -> Float[Array, ""]:
        """The standard deviation, but at least `floor`."""
        return jnp.sqrt(jnp.maximum(self.square - jnp.square(self.mean), jnp.square(floor)))


def init_normaliser() -> Normaliser:
    """Mean 0, deviation 1, no batches so far."""
    return Normaliser(jnp.zeros(()), jnp.ones(()), jnp.zeros(()))


def update_normaliser(
    state: Normaliser, x: Float[Array, ...], where: Bool[Array, ...], rate: float = 0.1
) -> Normaliser:
    """Moments after one more batch. The first 1/rate batches are averaged evenly (debiasing), then exponentially."""
    step = jnp.maximum(rate, 1 / (state.batches + 1))
    mean, square = masked_mean(x, where), masked_mean(jnp.square(x), where)
    # Not `old + step * (new - old)`: where the new is tiny, its digits would be lost in the start of 1.
    mix = lambda old, new: (1 - step) * old + step * new
    return Normaliser(mix(state.mean, mean), mix(state.square, square), state.batches + 1)

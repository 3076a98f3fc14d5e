"""Running mean and deviation of every column of a network's input, so that networks read numbers of unit size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tutelage.configs.team import DEVIATION, LARGEST_INPUT, STILL


@partial(jax.tree_util.register_dataclass, data_fields=["mean", "deviation", "count"], meta_fields=["rows"])
@dataclass(frozen=True)
class InputNormaliser:
    """Moments of the columns of a network's input; they are among the network's parameters, where no gradient changes
    them.

    A column that was never counted is read as it is.

    Attributes:
        mean, deviation, count: (D,) of each column; with more axes in front where several networks are stacked.
        rows: what it normalises, as data (`policies/normalising.py`).
    """

    mean: Any
    deviation: Any
    count: Any
    rows: Any = None

    def __call__(self, x: Float[Array, "... D"]) -> Float[Array, "... D"]:
        """`DEVIATION (x - mean) / deviation`, held between -LARGEST_INPUT and LARGEST_INPUT.

        A column that has not varied so far is shifted alone.
        """
        mean, deviation, count = map(jax.lax.stop_gradient, (self.mean, self.deviation, self.count))
        still = deviation <= STILL * jnp.abs(mean)
        factor = jnp.where(still | (count == 0), 1.0, DEVIATION / jnp.where(still, 1.0, deviation))
        limit = jnp.where(count > 0, LARGEST_INPUT, np.finfo(np.float32).max)
        return jnp.clip((x - mean) * factor, -limit, limit)

    def observe(self, x: Float[Array, "... D"], where: Bool[Array, "... D"]) -> InputNormaliser:
        """The moments of what was counted before and of the entries of x that `where` picks, all alike.

        Old samples do not fade: what networks read then moves less and less, and what they learned stays valid.
        Reference: Chan et al. 1979, the merging of moments, and the corrected two-pass sum of squares.
        """
        axes = tuple(range(x.ndim - self.mean.ndim))
        where = jnp.broadcast_to(where, x.shape)
        count = where.sum(axes).astype(jnp.float32)
        average = lambda y: jnp.where(where, y, 0.0).sum(axes) / jnp.maximum(count, 1.0)
        rough = average(x)
        rounding = average(x - rough)  # of large numbers with a small spread it is not 0
        mean, variance = rough + rounding, average(jnp.square(x - rough)) - jnp.square(rounding)
        share = count / jnp.maximum(self.count + count, 1.0)
        apart = mean - self.mean
        merged = (1 - share) * (jnp.square(self.deviation) + share * jnp.square(apart)) + share * variance
        return replace(
            self,
            mean=self.mean + share * apart,
            deviation=jnp.sqrt(jnp.maximum(merged, 0.0)),
            count=self.count + count,
        )


def init_input_normaliser(width: int, rows: Any = None) -> InputNormaliser:
    """One that has counted nothing, and leaves its input as it is."""
    return InputNormaliser(jnp.zeros(width), jnp.ones(width), jnp.zeros(width), rows)

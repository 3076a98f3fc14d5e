"""One seed, or several in one program, whose arrays then have the seeds (S) as their first axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class SeedAxis(NamedTuple):
    """The axis of `n` seeds. One seed has none: its program is the one without a batch of seeds, bit for bit."""

    n: int

    def join(self, trees: Sequence[Any]) -> Any:
        """Trees of one shape, one per seed, as one tree."""
        return trees[0] if self.n == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def part(self, tree: Any, index: int) -> Any:
        """The part of one seed: of several a copy."""
        return tree if self.n == 1 else jax.tree.map(lambda x: x[index], tree)

    def over(self, function: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
        """A function of one seed's arrays, for those of all."""
        return function if self.n == 1 else jax.vmap(function, in_axes)

"""Selecting inside pytrees of arrays."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

Tree = TypeVar("Tree")


def choose(which: Bool[Array, "*B"], a: Tree, b: Tree) -> Tree:
    """Select between two trees along their first axes: `a` where `which`, else `b`; leaves (*B, ...)."""

    def leaf(x: Any, y: Any) -> Any:
        return jnp.where(which.reshape(which.shape + (1,) * (x.ndim - which.ndim)), x, y)

    return jax.tree.map(leaf, a, b)


def before(steps: Tree) -> Tree:
    """Of T + 1 steps the T at which the transitions' actions were chosen; leaves (T + 1, ...)."""
    return jax.tree.map(lambda x: x[:-1], steps)

"""What agents say to each other, and how those who hear it attend."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.networks.cores import dense, named_layers
from tutelage.types import Params

KEY, WORDS = 16, 32
"""Width of queries and keys, and of what is said."""


def speech(width: int) -> tuple[Callable[..., Params], Callable[[Params, Array], tuple[Array, Array, Array]]]:
    """`init(key)` and `say(params, features (..., H))` -> query, key (..., KEY) and words (..., WORDS)."""
    names = {"query": KEY, "key": KEY, "words": WORDS}
    init, run = named_layers({name: (dense(size, 1.0), width) for name, size in names.items()})

    def say(params: Params, features: Array) -> tuple[Array, Array, Array]:
        query, key, words = (run(params, name, features) for name in names)
        return query, key, words

    return init, say


def attention(
    query: Float[Array, "B N K"], key: Float[Array, "B N K"], links: Bool[Array, "B N N"]
) -> Float[Array, "B N N"]:
    """How much of what j says agent i takes in: rows sum to 1, or to 0 where i hears nobody."""
    score = jnp.einsum("bik,bjk->bij", query, key) / KEY**0.5
    return jnp.where(links, jax.nn.softmax(jnp.where(links, score, -1e9), -1), 0.0)

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


def attended(
    query: Float[Array, "B N K"], key: Float[Array, "B N K"], words: Float[Array, "B N V"], links: Bool[Array, "B N N"]
) -> Float[Array, "B N V"]:
    """What each agent makes of the words of those it hears; 0 where it hears nobody."""
    score = jnp.einsum("bik,bjk->bij", query, key) / KEY**0.5
    weight = jax.nn.softmax(jnp.where(links, score, -1e9), -1)
    return jnp.einsum("bij,bjv->biv", jnp.where(links, weight, 0.0), words)

"""Networks of agents' messages, and the attention with which they are read."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.configs.team import KEY_WIDTH, MESSAGE_WIDTH
from tutelage.networks.cores import dense, named_layers
from tutelage.types import Params


def message_net(width: int) -> tuple[Callable[..., Params], Callable[[Params, Array], tuple[Array, Array, Array]]]:
    """`init(key)` and `speak(params, features (..., H))` -> query and key (..., KEY_WIDTH), message
    (..., MESSAGE_WIDTH)."""
    names = {"query": KEY_WIDTH, "key": KEY_WIDTH, "words": MESSAGE_WIDTH}
    init, run = named_layers({name: (dense(size, 1.0), width) for name, size in names.items()})

    def speak(params: Params, features: Array) -> tuple[Array, Array, Array]:
        query, key, words = (run(params, name, features) for name in names)
        return query, key, words

    return init, speak


def message_attention(
    query: Float[Array, "B N K"], key: Float[Array, "B N K"], links: Bool[Array, "B N N"]
) -> Float[Array, "B N N"]:
    """Weight of agent j's message for agent i: rows sum to 1, or to 0 where i hears no other agent."""
    score = jnp.einsum("bik,bjk->bij", query, key) / KEY_WIDTH**0.5
    return jnp.where(links, jax.nn.softmax(jnp.where(links, score, -1e9), -1), 0.0)

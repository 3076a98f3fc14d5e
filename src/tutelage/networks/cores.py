"""One agent's network (`gru`, `mlp`) and critics' networks, as records of pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.errors import unknown
from tutelage.networks.recurrent import gru_unroll
from tutelage.types import Carry, Params

Unroll = Callable[[Params, Float[Array, "R H"], Float[Array, "T R H"], Bool[Array, "T R"]], Float[Array, "T R H"]]


class Core(NamedTuple):
    """One agent's network.

    Attributes:
        init: key -> parameters `{encode, core, head}`.
        carry: () -> the memory an episode starts with; `()` without memory.
        encode: (parameters, input row (D,)) -> output of the first layer (H,).
        think: (parameters, memory, input row (D,)) -> (memory, features (H,)).
        head: (parameters, features, available actions (A,)) -> masked logits (A,).
        unroll: (parameters, memory (R, H), outputs of the first layer (T, R, H), resets (T, R)) -> features (T, R, H)
            of R sequences at once; None without memory.
    """

    init: Callable[[PRNGKeyArray], Params]
    carry: Callable[[], Carry]
    encode: Callable[[Params, Float[Array, " D"]], Float[Array, " H"]]
    think: Callable[[Params, Carry, Float[Array, " D"]], tuple[Carry, Float[Array, " H"]]]
    head: Callable[[Params, Float[Array, " H"], Bool[Array, " A"]], Float[Array, " A"]]
    unroll: Unroll | None


class Net(NamedTuple):
    """A network that is not a policy: `apply(params, *inputs)`."""

    init: Callable[[PRNGKeyArray], Params]
    apply: Callable[..., Array]


def dense(width: int, gain: float = 2**0.5) -> nn.Dense:
    """A linear layer with orthogonal weights of the given gain and zero bias."""
    return nn.Dense(width, kernel_init=nn.initializers.orthogonal(gain))


def emittable(avail: Bool[Array, "... A"]) -> Bool[Array, "... A"]:
    """Actions that an agent may emit: the available ones; action 0 for an agent without any, which does nothing."""
    nothing = ~avail.any(-1, keepdims=True)
    return avail | (nothing & (jnp.arange(avail.shape[-1]) == 0))


def mask_logits(logits: Float[Array, "... A"], avail: Bool[Array, "... A"]) -> Float[Array, "... A"]:
    """Give unavailable actions a large negative logit: the one place where action masks meet a network.

    An agent without any available action gets 0 for action 0, whatever the network says: it emits action 0 with
    certainty, its utility is 0, and no gradient flows.
    """
    return jnp.where(avail, logits, jnp.where(emittable(avail), 0.0, -1e9))


def make_core(kind: str, inputs: int, width: int, n_actions: int, gain: float = 0.01) -> Core:
    """Make an agent's network.

    Args:
        kind: `gru` = Dense ReLU, GRU, Dense; `mlp` = Dense ReLU, Dense ReLU, Dense.
        inputs: D. width: H. n_actions: A.
        gain: of the head's initial weights; small for logits, 1 for action values.

    Raises:
        BadInput: unknown kind.

    Reference:
        Yu et al. 2022 (MAPPO) for both shapes and the small gain of the policy head.
    """
    if kind not in ("gru", "mlp"):
        raise unknown("core", kind, ("gru", "mlp"))
    recurrent = kind == "gru"
    encoder: Any = dense(width)
    middle: Any = nn.GRUCell(width) if recurrent else dense(width)
    head: Any = dense(n_actions, gain)

    def init(key: PRNGKeyArray) -> Params:
        k_encode, k_middle, k_head = jax.random.split(key, 3)
        h = jnp.zeros(width)
        return {
            "encode": encoder.init(k_encode, jnp.zeros(inputs))["params"],
            "core": (middle.init(k_middle, h, h) if recurrent else middle.init(k_middle, h))["params"],
            "head": head.init(k_head, h)["params"],
        }

    def encode(params: Params, x: Array) -> Array:
        return nn.relu(encoder.apply({"params": params["encode"]}, x))

    def think(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        x = encode(params, x)
        if recurrent:
            return middle.apply({"params": params["core"]}, carry, x)
        return carry, nn.relu(middle.apply({"params": params["core"]}, x))

    def logits(params: Params, features: Array, avail: Array) -> Array:
        return mask_logits(head.apply({"params": params["head"]}, features), avail)

    unroll = (lambda params, memory, x, first: gru_unroll(params["core"], memory, x, first)) if recurrent else None
    return Core(init, lambda: jnp.zeros(width) if recurrent else (), encode, think, logits, unroll)


def named_layers(layers: dict[str, tuple[Any, int]]) -> tuple[Callable[..., Params], Callable[..., Array]]:
    """`init(key)` and `run(params, name, x)` of named modules, given with their input widths."""

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key, len(layers))
        return {
            name: layer.init(k, jnp.zeros(inputs))["params"]
            for (name, (layer, inputs)), k in zip(layers.items(), keys, strict=True)
        }

    return init, lambda params, name, x: layers[name][0].apply({"params": params[name]}, x)


def value_net(inputs: int, width: int) -> Net:
    """Dense ReLU, Dense ReLU, Dense(1): (..., D) -> (...)."""
    layers: list[Any] = [dense(width), dense(width), dense(1, 1.0)]

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key, 3)
        widths = (inputs, width, width)
        return [f.init(k, jnp.zeros(w))["params"] for f, k, w in zip(layers, keys, widths, strict=True)]

    def apply(params: Params, x: Array) -> Array:
        x = nn.relu(layers[0].apply({"params": params[0]}, x))
        x = nn.relu(layers[1].apply({"params": params[1]}, x))
        return layers[2].apply({"params": params[2]}, x)[..., 0]

    return Net(init, apply)


def projector(inputs: int, outputs: int) -> Callable[[PRNGKeyArray], Params]:
    """Parameters `{kernel (H, K), bias (K,)}` of an affine map."""
    layer: Any = dense(outputs, 1.0)
    return lambda key: layer.init(key, jnp.zeros(inputs))["params"]

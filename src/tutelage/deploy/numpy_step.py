"""One agent's step in plain NumPy: the smallest deployment there is. Imports nothing but NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tutelage.errors import unknown

Arrays = Mapping[str, Any]
NumpyStep = Callable[[Any, np.ndarray, np.ndarray], tuple[Any, int, np.ndarray]]


def numpy_step(kind: str, params: Arrays) -> NumpyStep:
    """The greedy step of one agent.

    Args:
        kind: `gru` or `mlp`.
        params: of that agent, `{encode, core, head}` as in `networks.cores`.

    Returns:
        A function (carry, x (D,), avail (A,)) -> (carry, action, masked logits (A,)), float32. Start with
        `numpy_carry(kind, params)`.

    Raises:
        BadInput: a kind without a NumPy step.
    """
    if kind not in NUMPY_KINDS:
        raise unknown("core", kind, NUMPY_KINDS)
    encode, head = _linear(params["encode"]), _linear(params["head"])
    core = NUMPY_KINDS[kind](params["core"])
    blocked = np.float32(-1e9)

    def step(carry: Any, x: np.ndarray, avail: np.ndarray) -> tuple[Any, int, np.ndarray]:
        carry, h = core(carry, np.maximum(encode(x), 0))
        logits = np.where(avail, head(h), blocked)
        action = int(logits.argmax())
        if not avail[action]:  # there is no action at all: nothing is done, see `mask_logits`
            logits[0] = 0.0
        return carry, action, logits

    return step


def numpy_carry(kind: str, params: Arrays) -> Any:
    """The memory an episode starts with: zeros (H,) for `gru`, nothing for `mlp`."""
    return np.zeros_like(_array(params["core"]["hn"]["bias"])) if kind == "gru" else ()


def _array(x: Any) -> np.ndarray:
    return np.ascontiguousarray(x, np.float32)


def _linear(params: Arrays) -> Callable[[np.ndarray], np.ndarray]:
    kernel, bias = _array(params["kernel"]), _array(params["bias"])
    return lambda x: x @ kernel + bias


def _gru(params: Arrays) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Flax's GRUCell: input biases on all three gates, a recurrent one on the candidate `n` alone.

    The three products of each input are one product with the concatenated kernels: NumPy's overhead is per call.
    """
    kernel_x = _array(np.concatenate([params[gate]["kernel"] for gate in ("ir", "iz", "in")], -1))
    kernel_h = _array(np.concatenate([params[gate]["kernel"] for gate in ("hr", "hz", "hn")], -1))
    bias_x = _array(np.concatenate([params[gate]["bias"] for gate in ("ir", "iz", "in")]))
    bias_n = _array(params["hn"]["bias"])
    width = bias_n.shape[0]

    def step(h: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from_x, from_h = x @ kernel_x + bias_x, h @ kernel_h
        # sigmoid(x) as a tanh: exp(-x) overflows
        gates = np.float32(0.5) * (np.tanh(np.float32(0.5) * (from_x + from_h)[: 2 * width]) + np.float32(1))
        r, z = gates[:width], gates[width:]
        n = np.tanh(from_x[2 * width :] + r * (from_h[2 * width :] + bias_n))
        h = n + z * (h - n)
        return h, h

    return step


def _mlp(params: Arrays) -> Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]:
    linear = _linear(params)
    return lambda carry, x: (carry, np.maximum(linear(x), 0))


NUMPY_KINDS: dict[str, Callable[[Arrays], Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]]] = {
    "gru": _gru,
    "mlp": _mlp,
}
"""Cores with a NumPy step."""

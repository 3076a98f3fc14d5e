"""Networks in 8-bit integers: weights rounded per output, activations in steps found on recorded rows.

Every value of a network (see `layers.py`) becomes 8-bit integers times a step of its own for each unit. The steps of a
layer's inputs are folded into its kernel before that is rounded, and the steps of its outputs into the number with
which its sums are rescaled, so that no unit shares its steps with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from tutelage.deploy import standalone
from tutelage.deploy.layers import NORMALISED, SCALE, Dense, Gru, Join, Program, Scale, Weights
from tutelage.deploy.standalone_int8 import POINT
from tutelage.errors import BadInput

LARGEST = 127
SCORE_BITS = 22
"""Scores are integers of about so many bits."""


class IntNetwork(NamedTuple):
    """A network in integers.

    Attributes:
        layers: as in team.json: `final` where sums are not rounded to 8 bits.
        scales: what a unit of `scores`, and of what is sent, stands for.
        weights: by name; all integers but `row.inverse`, the numbers that inputs are multiplied by before rounding, and
            those of the network's `Scale`, through which they go before that (`row.mean`, ...).
    """

    layers: list[dict[str, Any]]
    scales: dict[str, float]
    weights: Weights


def quantise(program: Program, weights: Weights, rows: np.ndarray, memory: np.ndarray) -> IntNetwork:
    """A network in integers.

    Args:
        weights: floats, see `layers.read_weights`.
        rows, memory: recorded inputs (R, D) and the memories (R, H) that entered.
    """
    largest = largest_values(program, weights, rows, memory)
    finals = {"scores", *(name for name, _ in program.sends)}
    begin = NORMALISED if NORMALISED in largest else "row"
    steps: dict[str, np.ndarray] = {begin: steps_of(largest[begin], 1.0)}
    entries: list[dict[str, Any]] = []
    ints: Weights = {"row.inverse": (256 / steps[begin]).astype(np.float32)}
    scales = {}
    for layer in program.layers:
        if isinstance(layer, Scale):
            ints |= {f"row.{part}": weights[f"{layer.name}.{part}"] for part in SCALE}
        elif isinstance(layer, Join):
            steps[layer.target] = np.concatenate([steps[source] for source in layer.sources])
            entries.append(asdict(layer))
        elif isinstance(layer, Gru):
            steps[layer.target] = np.full(layer.width, 1 / 128)
            ints |= quantise_gru(layer, weights, steps[layer.source])
            entries.append(asdict(layer))
        else:
            final = layer.target in finals
            if final:
                scales[layer.target] = float(np.abs(largest[layer.target]).max() or 1.0) / 2**SCORE_BITS
                outputs = np.full(layer.outputs, scales[layer.target])
            else:
                outputs = steps[layer.target] = steps_of(largest[layer.target], None)
            ints |= quantise_dense(layer, weights, steps[layer.source], outputs)
            entries.append({**asdict(layer), "final": final})
    return IntNetwork(entries, scales, ints)


def largest_values(program: Program, weights: Weights, rows: np.ndarray, memory: np.ndarray) -> dict[str, np.ndarray]:
    """The largest magnitude of every unit of every value on recorded rows, computed in floats."""
    run = standalone.compile_network({"layers": [asdict(layer) for layer in program.layers]}, weights)
    largest: dict[str, np.ndarray] = {}
    for row, entering in zip(rows, memory, strict=True):
        for name, value in run(row, entering)[2].items():
            size = np.abs(value)
            largest[name] = np.maximum(largest[name], size) if name in largest else size.copy()
    return largest


def steps_of(largest: np.ndarray, unseen: float | None) -> np.ndarray:
    """Steps of 8 bits that reach the largest magnitudes; a unit that was always 0 gets `unseen`, or the widest."""
    fallback = (largest.max() or 1.0) if unseen is None else unseen
    return np.where(largest > 0, largest, fallback).astype(np.float64) / LARGEST


def rounded_kernel(kernel: np.ndarray, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel with the steps of its inputs folded in, as 8-bit integers, and the step of each output."""
    folded = kernel.astype(np.float64) * inputs[:, None]
    largest = np.abs(folded).max(0)
    step = np.where(largest > 0, largest, 1.0) / LARGEST
    return np.rint(folded / step).astype(np.int8), step


def factors(factor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers m (31 bits) and s with m / 2^s nearest to each factor."""
    mantissa, exponent = np.frexp(factor)
    multiplier = np.rint(mantissa * 2**31).astype(np.int64)
    shift = 31 - exponent
    too_wide = multiplier == 2**31
    multiplier, shift = np.where(too_wide, 2**30, multiplier), np.where(too_wide, shift - 1, shift)
    if (shift < 1).any() or (shift > 62).any():
        raise BadInput("int8: the weights of this team span too many magnitudes for 8 bits")
    return multiplier.astype(np.int32), shift.astype(np.uint8)


def quantise_dense(layer: Dense, weights: Weights, inputs: np.ndarray, outputs: np.ndarray) -> Weights:
    """A dense layer in integers; `inputs` and `outputs` are steps of its units."""
    name = layer.name
    kernel, step = rounded_kernel(weights[f"{name}.kernel"], inputs)
    multiplier, shift = factors(step / outputs)
    bias = np.rint(np.clip(weights[f"{name}.bias"] / step, -(2**31) + 1, 2**31 - 1)).astype(np.int32)
    return {f"{name}.kernel": kernel, f"{name}.bias": bias, f"{name}.multiplier": multiplier, f"{name}.shift": shift}


def quantise_gru(layer: Gru, weights: Weights, inputs: np.ndarray) -> Weights:
    """A GRU in integers: sums come at POINT bits behind the point, where its tables begin."""
    name, point = layer.name, 2.0**-POINT
    kernel_x, step_x = rounded_kernel(weights[f"{name}.kernel_x"], inputs)
    kernel_h, step_h = rounded_kernel(weights[f"{name}.kernel_h"], np.full(layer.width, 1 / 128))
    multiplier_x, shift_x = factors(step_x / point)
    multiplier_h, shift_h = factors(step_h / point)
    parts = {
        "kernel_x": kernel_x,
        "bias_x": np.rint(weights[f"{name}.bias_x"] / step_x).astype(np.int32),
        "multiplier_x": multiplier_x,
        "shift_x": shift_x,
        "kernel_h": kernel_h,
        "multiplier_h": multiplier_h,
        "shift_h": shift_h,
        "bias_n": np.rint(weights[f"{name}.bias_n"] / point).astype(np.int32),
    }
    return {f"{name}.{part}": array for part, array in parts.items()}


def sizes(networks: Sequence[IntNetwork], floats: Sequence[Weights]) -> dict[str, float]:
    """Bytes of the integer networks, and as shares of those of floats: of the weight matrices, and of everything."""
    matrices = lambda arrays: sum(x.nbytes for w in arrays for name, x in w.items() if ".kernel" in name)
    everything = lambda arrays: sum(x.nbytes for w in arrays for x in w.values())
    ints = [network.weights for network in networks]
    return {
        "bytes": everything(ints),
        "matrices_share": matrices(ints) / matrices(floats),
        "share": everything(ints) / everything(floats),
    }

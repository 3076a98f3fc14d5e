"""An agent's network as a list of layers, and its weights by name: what every exported format is written from.

Four kinds of layers are enough for all agents: `Scale`, `Dense`, `Gru` and `Join`. A layer reads named values and
writes one. The values are `row` (what goes in), `scores` (what comes out) and what lies between. This module does not
import jax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.configs.team import DEVIATION, KEY_WIDTH, LARGEST_INPUT, MESSAGE_WIDTH, STILL
from tutelage.deploy import standalone
from tutelage.experiment.weights import check_weight, opened
from tutelage.policies.blueprint import Network

Weights = dict[str, np.ndarray]
MESSAGE_PARTS = {"query": KEY_WIDTH, "key": KEY_WIDTH, "words": MESSAGE_WIDTH}
"""What an agent that talks makes of its features, with their widths."""


@dataclass(frozen=True)
class Scale:
    """`target = (source - mean) * factor`, held between -limit and limit: a network's normaliser, its first layer.

    Weights: `NAME.mean`, `NAME.factor`, `NAME.limit` (inputs,).
    """

    name: str
    source: str
    target: str
    inputs: int
    kind: str = "scale"


@dataclass(frozen=True)
class Dense:
    """`target = source @ kernel + bias`, negative numbers set to zero where `relu`.

    Weights: `NAME.kernel` (inputs, outputs), `NAME.bias` (outputs,).
    """

    name: str
    source: str
    target: str
    inputs: int
    outputs: int
    relu: bool
    kind: str = "dense"


@dataclass(frozen=True)
class Gru:
    """`target` is the memory after a step of a GRU; it is kept at `memory[start:start + width]`.

    With x the source and h the memory before: `r, z = sigmoid(x Wx + bx + h Wh)`,
    `n = tanh(x Wx + bx + r (h Wh + bn))`, `h' = n + z (h - n)`. Weights, the gates r, z, n side by side:
    `NAME.kernel_x` (inputs, 3 width), `NAME.bias_x` (3 width,), `NAME.kernel_h` (width, 3 width), `NAME.bias_n`
    (width,).
    """

    name: str
    source: str
    target: str
    inputs: int
    width: int
    start: int
    kind: str = "gru"


@dataclass(frozen=True)
class Join:
    """`target` is the sources one after another."""

    sources: tuple[str, ...]
    target: str
    kind: str = "join"


Layer = Scale | Dense | Gru | Join
SCALE = ("mean", "factor", "limit")
"""The weights of a `Scale`."""
MOMENTS = ("mean", "deviation", "count")
"""What a normaliser holds, see `learning.input_normaliser`."""
NORMALISED = "normalised"
"""The value that a network reads which normalises its row."""


@dataclass(frozen=True)
class Program:
    """An agent's network: how scores and memory follow from a row and the memory before.

    Attributes:
        inputs, memory, outputs: D; numbers that are kept from step to step, 0 for none; A.
        layers: in order. The last that writes `scores` gives the result.
        sends: names and widths of what it sends to others and compares with what they send; empty for one that does
            not talk.
    """

    inputs: int
    memory: int
    outputs: int
    layers: tuple[Layer, ...]
    sends: tuple[tuple[str, int], ...] = ()

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all weights by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            if isinstance(layer, Scale):
                shapes |= {f"{layer.name}.{part}": (layer.inputs,) for part in SCALE}
            elif isinstance(layer, Dense):
                shapes[f"{layer.name}.kernel"] = (layer.inputs, layer.outputs)
                shapes[f"{layer.name}.bias"] = (layer.outputs,)
            elif isinstance(layer, Gru):
                shapes[f"{layer.name}.kernel_x"] = (layer.inputs, 3 * layer.width)
                shapes[f"{layer.name}.bias_x"] = (3 * layer.width,)
                shapes[f"{layer.name}.kernel_h"] = (layer.width, 3 * layer.width)
                shapes[f"{layer.name}.bias_n"] = (layer.width,)
        return shapes


def program_of(network: Network) -> Program:
    """The layers of a network of a blueprint."""
    core, inputs, width, outputs = network.core, network.inputs, network.width, network.outputs
    first: tuple[Layer, ...] = (Scale("normaliser", "row", NORMALISED, inputs),) if network.normalised else ()
    row = NORMALISED if first else "row"
    if network.predicts:
        fused = network.predicts
        guess = core_layers(core, "guess.", row, "prediction", inputs, width, fused, 0)
        act = core_layers(core, "act.", "fused", "scores", inputs + fused, width, outputs, width)
        layers: tuple[Layer, ...] = (*guess, Join((row, "prediction"), "fused"), *act)
        return Program(inputs, 2 * width if core == "gru" else 0, outputs, (*first, *layers))
    layers = core_layers(core, "", row, "scores", inputs, width, outputs, 0)
    sends = tuple(MESSAGE_PARTS.items()) if network.hears else ()
    speak = tuple(Dense(name, "features", name, width, size, relu=False) for name, size in sends)
    return Program(inputs, width if core == "gru" else 0, outputs, (*first, *layers, *speak), sends)


def core_layers(
    core: str, prefix: str, source: str, target: str, inputs: int, width: int, outputs: int, start: int
) -> tuple[Layer, ...]:
    """The layers of a `gru` or `mlp`, whose features are the value `PREFIXfeatures`."""
    encoded, features = f"{prefix}encoded", f"{prefix}features"
    middle: Layer
    if core == "gru":
        middle = Gru(f"{prefix}core", encoded, features, width, width, start)
    else:
        middle = Dense(f"{prefix}core", encoded, features, width, width, relu=True)
    return (
        Dense(f"{prefix}encode", source, encoded, inputs, width, relu=True),
        middle,
        Dense(f"{prefix}head", features, target, width, outputs, relu=False),
    )


def read_weights(path: Path, programs: tuple[Program, ...]) -> list[Weights]:
    """The weights of every group of a team from ROLE.safetensors, as float32, gates side by side.

    Raises:
        Fault: the file is missing or damaged, or a weight is no number.
    """
    trees: list[dict[str, np.ndarray]] = [{} for _ in programs]
    with opened(path) as file:
        for name in [*file.keys()]:
            group, *keys = re.findall(r"\w+", name)  # "[0]['core']['hn']['kernel']"
            array = file.get_tensor(name)
            check_weight(path, name, array)
            trees[int(group)][".".join(keys)] = array.astype(np.float32)
    return [group_weights(program, tree) for program, tree in zip(programs, trees, strict=True)]


def numpy_network(network: Network, params: Mapping[str, Any]) -> tuple[Any, np.ndarray]:
    """An agent's network in NumPy, see `standalone.compile_network`, and the memory that an episode begins with."""
    program = program_of(network)
    layers = {"layers": [asdict(layer) for layer in program.layers]}
    step = standalone.compile_network(layers, group_weights(program, flattened(params)))
    return step, np.zeros(program.memory, np.float32)


def flattened(params: Mapping[str, Any], prefix: str = "") -> Weights:
    """Nested arrays by their names joined with dots."""
    flat: Weights = {}
    for name, value in params.items():
        parts = {part: getattr(value, part) for part in MOMENTS} if is_dataclass(value) else value
        nested = isinstance(parts, Mapping)
        flat |= flattened(parts, f"{prefix}{name}.") if nested else {prefix + name: np.asarray(value, np.float32)}
    return flat


def scale_weights(mean: np.ndarray, deviation: np.ndarray, count: np.ndarray) -> Weights:
    """The weights of a `Scale` that does what a normaliser of these moments does."""
    still = deviation <= np.float32(STILL) * np.abs(mean)
    one, scaled = np.float32(1), np.float32(DEVIATION) / np.where(still, np.float32(1), deviation)
    limit = np.where(count > 0, np.float32(LARGEST_INPUT), np.finfo(np.float32).max)
    return {"mean": mean, "factor": np.where(still | (count == 0), one, scaled), "limit": limit}


def group_weights(program: Program, tree: Mapping[str, Any]) -> Weights:
    """The weights of one program from the arrays of its group, whose names are joined with dots."""
    weights: Weights = {}
    for layer in program.layers:
        if isinstance(layer, Scale):
            scale = scale_weights(**{part: tree[f"{layer.name}.{part}"] for part in MOMENTS})
            weights |= {f"{layer.name}.{part}": x for part, x in scale.items()}
        elif isinstance(layer, Dense):
            weights |= {f"{layer.name}.{part}": tree[f"{layer.name}.{part}"] for part in ("kernel", "bias")}
        elif isinstance(layer, Gru):
            beside = lambda gates, part, layer=layer: np.concatenate(
                [tree[f"{layer.name}.{gate}.{part}"] for gate in gates], -1
            )
            weights[f"{layer.name}.kernel_x"] = beside(("ir", "iz", "in"), "kernel")
            weights[f"{layer.name}.bias_x"] = beside(("ir", "iz", "in"), "bias")
            weights[f"{layer.name}.kernel_h"] = beside(("hr", "hz", "hn"), "kernel")
            weights[f"{layer.name}.bias_n"] = tree[f"{layer.name}.hn.bias"]
    return weights

"""The folder onnx/ of an exported team: one graph per network, of a few nodes each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tutelage import __version__
from tutelage.deploy.contract import Contract
from tutelage.deploy.layers import SCALE, Weights
from tutelage.errors import BadInput

OPSET, IR_VERSION = 17, 8
GATES = ("r", "z", "n")
NEXT = "next_memory"
"""Name of the memory after the step: in a graph an output cannot have an input's name."""


def onnx_package() -> Any:
    """The package onnx; raises BadInput with the way to get it."""
    try:
        import onnx
    except ImportError:
        raise BadInput("format = onnx: needs the package onnx: pip install 'tutelage[onnx]'") from None
    return onnx


def onnx_files(contract: Contract, weights: Sequence[Weights]) -> dict[str, bytes]:
    """Contents of the files by name."""
    return {
        f"onnx/network_{i}.onnx": make_graph(f"{contract['name']}_{i}", network, weights[i])
        for i, network in enumerate(contract["networks"])
    }


def make_graph(name: str, network: Contract, weights: Weights) -> bytes:
    """A checked model of one network.

    Inputs are `row` (batch, D) and, where there is memory, `memory` (batch, H); outputs are `scores` (batch, A), not
    masked, `next_memory`, and what an agent sends.
    """
    onnx = onnx_package()
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    value = lambda label, width: helper.make_tensor_value_info(label, float32, ["batch", width])
    memory = network["memory"]
    constants: dict[str, np.ndarray] = {}
    nodes = [helper.make_node(*node[:3], **node[3]) for node in graph_nodes(network, weights, constants)]
    graph = helper.make_graph(
        nodes,
        name,
        [value("row", network["inputs"]), *([value("memory", memory)] if memory else [])],
        [
            value("scores", network["outputs"]),
            *([value(NEXT, memory)] if memory else []),
            *(value(label, width) for label, width in network["sends"]),
        ],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(x), label) for label, x in constants.items()],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tutelage", producer_version=__version__
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


Node = tuple[str, list[str], list[str], dict[str, Any]]


def graph_nodes(network: Contract, weights: Weights, constants: dict[str, np.ndarray]) -> Iterator[Node]:
    """The nodes of a network; the weights that they name are put into `constants`."""
    memories = [layer for layer in network["layers"] if layer["kind"] == "gru"]
    if len(memories) > 1:  # each GRU has its part of the memory
        constants["memory_parts"] = np.array([layer["width"] for layer in memories], np.int64)
        yield "Split", ["memory", "memory_parts"], [f"{layer['name']}.memory" for layer in memories], {"axis": 1}
    for layer in network["layers"]:
        match layer["kind"]:
            case "scale":
                yield from scale_nodes(layer, weights, constants)
            case "dense":
                yield from dense_nodes(layer, weights, constants)
            case "gru":
                before, after = ("memory", NEXT) if len(memories) == 1 else (f"{layer['name']}.memory", layer["target"])
                yield from gru_nodes(layer, before, after, weights, constants)
            case "join":
                yield "Concat", list(layer["sources"]), [layer["target"]], {"axis": 1}
    if len(memories) > 1:
        yield "Concat", [layer["target"] for layer in memories], [NEXT], {"axis": 1}


def scale_nodes(layer: Contract, weights: Weights, constants: dict[str, np.ndarray]) -> Iterator[Node]:
    """(source - mean) * factor, held between -limit and limit, which differ from column to column."""
    name, target = layer["name"], layer["target"]
    inner = lambda label: f"{name}.{label}"
    constants |= {inner(part): weights[inner(part)] for part in SCALE}
    constants[inner("least")] = -weights[inner("limit")]
    yield "Sub", [layer["source"], inner("mean")], [inner("shifted")], {}
    yield "Mul", [inner("shifted"), inner("factor")], [inner("scaled")], {}
    yield "Max", [inner("scaled"), inner("least")], [inner("bounded")], {}
    yield "Min", [inner("bounded"), inner("limit")], [target], {}


def dense_nodes(layer: Contract, weights: Weights, constants: dict[str, np.ndarray]) -> Iterator[Node]:
    name, target = layer["name"], layer["target"]
    constants |= {f"{name}.{part}": weights[f"{name}.{part}"] for part in ("kernel", "bias")}
    linear = f"{target}.linear" if layer["relu"] else target
    yield "Gemm", [layer["source"], f"{name}.kernel", f"{name}.bias"], [linear], {}
    if layer["relu"]:
        yield "Relu", [linear], [target], {}


def gru_nodes(
    layer: Contract, before: str, after: str, weights: Weights, constants: dict[str, np.ndarray]
) -> Iterator[Node]:
    """r, z = sigmoid(x + h), n = tanh(x + r (h + b)), h' = n + z (h - n)."""
    name, width = layer["name"], layer["width"]
    bias_h = np.concatenate([np.zeros(2 * width, np.float32), weights[f"{name}.bias_n"]])
    constants |= {f"{name}.{part}": weights[f"{name}.{part}"] for part in ("kernel_x", "bias_x", "kernel_h")}
    constants |= {f"{name}.bias_h": bias_h, f"{name}.widths": np.array([width] * 3, np.int64)}
    inner = lambda label: f"{name}.{label}"
    yield "Gemm", [layer["source"], inner("kernel_x"), inner("bias_x")], [inner("from_x")], {}
    yield "Gemm", [before, inner("kernel_h"), inner("bias_h")], [inner("from_h")], {}
    for side in "xh":
        parts = [inner(f"{gate}_{side}") for gate in GATES]
        yield "Split", [inner(f"from_{side}"), inner("widths")], parts, {"axis": 1}
    for gate in "rz":
        yield "Add", [inner(f"{gate}_x"), inner(f"{gate}_h")], [inner(f"{gate}_sum")], {}
        yield "Sigmoid", [inner(f"{gate}_sum")], [inner(gate)], {}
    yield "Mul", [inner("r"), inner("n_h")], [inner("r_n_h")], {}
    yield "Add", [inner("n_x"), inner("r_n_h")], [inner("n_sum")], {}
    yield "Tanh", [inner("n_sum")], [inner("n")], {}
    yield "Sub", [before, inner("n")], [inner("change")], {}
    yield "Mul", [inner("z"), inner("change")], [inner("kept")], {}
    yield "Add", [inner("n"), inner("kept")], [after], {}
    if after != layer["target"]:
        yield "Identity", [after], [layer["target"]], {}

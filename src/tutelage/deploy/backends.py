"""The exported formats behind one interface, so that all are checked by the same code."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tutelage.deploy import standalone, standalone_int8
from tutelage.deploy.contract import Contract
from tutelage.errors import Fault


@runtime_checkable
class DeployedAgent(Protocol):
    """An exported agent.

    Attributes:
        message: what it sent in its last step.
    """

    @property
    def message(self) -> Any: ...
    def reset(self) -> None: ...
    def act(self, observation: np.ndarray, available: np.ndarray, uniform: float | None = None) -> int: ...
    def hear(self, messages: Sequence[Any]) -> None: ...


Step = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, Any]]
"""A network: (row, memory) -> (scores, memory, values by name)."""


@dataclass(frozen=True)
class Backend:
    """An exported format, ready to run.

    Attributes:
        networks: one for each network of the contract.
        agent: number -> an agent with a memory of its own.
    """

    networks: Sequence[Step]
    agent: Callable[[int], DeployedAgent]


def python_backend(contract: Contract, networks: Sequence[Step]) -> Backend:
    """Networks of any kind with the rows, the memory and the choices of `standalone.py`."""
    network_of = [agent["network"] for agent in contract["agents"]]
    return Backend(networks, lambda i: standalone.Agent(contract, networks[network_of[i]], i))


def numpy_backend(folder: Path, contract: Contract, int8: bool = False) -> Backend:
    """The networks of numpy/, whose team.py and int8.py are copies of `standalone.py` and `standalone_int8.py`."""
    compile_network = standalone_int8.compile_network if int8 else standalone.compile_network
    read, weights = standalone.read(folder / "numpy", compile_network if int8 else None)
    return python_backend(read, [compile_network(*pair) for pair in zip(read["networks"], weights, strict=True)])


def onnx_backend(folder: Path, contract: Contract) -> Backend:
    """Networks that onnxruntime runs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1

    def network(index: int) -> Step:
        file = str(folder / "onnx" / f"network_{index}.onnx")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]

        def step(row: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
            inputs = {"row": row[None], **({"memory": memory[None]} if len(memory) else {})}
            values = {name: x[0] for name, x in zip(names, session.run(None, inputs), strict=True)}
            return values["scores"], values.get("next_memory", memory), values

        return step

    return python_backend(contract, [network(i) for i in range(len(contract["networks"]))])


def compiler() -> str | None:
    """A C compiler of this machine."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


FLAGS = ("-std=c99", "-O3", "-Wall", "-Wextra", "-Wpedantic", "-Werror")


def compile_shared(folder: Path, target: Path, *flags: str) -> None:
    """Compile the C of a folder, but for the example, into a shared library; raises Fault with the first message."""
    sources = sorted(str(file) for file in folder.glob("*.c") if file.name != "main.c")
    command = [str(compiler()), *FLAGS, *flags, "-shared", "-fPIC", "-o", str(target), *sources, "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Fault(f"compiling {folder} failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}")


class CAgent:
    """An agent of the C library, called through ctypes."""

    def __init__(self, library: Any, contract: Contract, number: int, int8: bool = False) -> None:
        self._name, self._number = contract["name"] + "_int8" * int8, number
        widths = (contract["messages"] or {"widths": {}})["widths"]
        memory = max(network["memory"] for network in contract["networks"])
        kinds = {"memory": ctypes.c_int16 if int8 else ctypes.c_float}
        floats = {"memory": memory, "query": widths.get("query", 0), "heard": widths.get("words", 0)}
        floats["message"] = widths.get("key", 0) + widths.get("words", 0)
        fields = [("number", ctypes.c_int), ("last", ctypes.c_int)]
        fields += [(name, kinds.get(name, ctypes.c_float) * n) for name, n in floats.items() if n]  # type: ignore[misc]
        self._state = type("State", (ctypes.Structure,), {"_fields_": fields})()
        self._reset, self._act = (getattr(library, f"{self._name}_{verb}") for verb in ("reset", "act"))
        self._hear = getattr(library, f"{self._name}_hear", None)
        self.reset()

    @property
    def message(self) -> Any:
        return self._state.message

    def reset(self) -> None:
        self._reset(ctypes.byref(self._state), self._number)

    def act(self, observation: np.ndarray, available: np.ndarray, uniform: float | None = None) -> int:
        x, mask = np.ascontiguousarray(observation, np.float32), np.ascontiguousarray(available, np.uint8)
        pointers = x.ctypes.data_as(ctypes.c_void_p), len(x), mask.ctypes.data_as(ctypes.c_void_p)
        return self._act(ctypes.byref(self._state), *pointers, ctypes.c_float(uniform or 0.0))

    def hear(self, messages: Sequence[Any]) -> None:
        floats = ctypes.POINTER(ctypes.c_float)
        array = (floats * max(1, len(messages)))(*(ctypes.cast(m, floats) for m in messages))
        assert self._hear is not None
        self._hear(ctypes.byref(self._state), array, len(messages))


def c_library(folder: Path, *flags: str) -> Any:
    """The C files of a folder, compiled into a shared library."""
    with tempfile.TemporaryDirectory() as build:
        file = Path(build) / "team.so"
        compile_shared(folder, file, *flags)
        return ctypes.CDLL(str(file))  # stays loaded when the file is gone


def c_network(library: Any, contract: Contract, index: int, int8: bool = False) -> Step:
    """A network of the C library; the memory of integers is given and returned as whole numbers in floats."""
    network, name = contract["networks"][index], contract["name"] + "_int8" * int8
    function, sizes = getattr(library, f"{name}_{index}_step"), dict(network["sends"])
    kept_type, score_type = (np.int16, np.int32) if int8 else (np.float32, np.float32)
    scale = np.float32(network["int8"]["scales"]["scores"] if int8 else 1)
    pointer = lambda x: x.ctypes.data_as(ctypes.c_void_p)

    def step(row: np.ndarray, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
        row, kept, scores = (
            np.ascontiguousarray(row),
            memory.astype(kept_type),
            np.empty(network["outputs"], score_type),
        )
        sent = {label: np.empty(n, np.float32) for label, n in sizes.items()}
        code = function(pointer(row), pointer(kept), pointer(scores), *map(pointer, sent.values()))
        if code:
            raise ValueError(f"network {index}: code {code}")
        return scores.astype(np.float32) * scale, kept.astype(np.float32), sent

    return step


def c_backend(folder: Path, contract: Contract, int8: bool = False) -> Backend:
    """The C files of floats, or of integers, compiled into a shared library."""
    library = c_library(folder / ("c_int8" if int8 else "c"))
    networks = [c_network(library, contract, i, int8) for i in range(len(contract["networks"]))]
    return Backend(networks, lambda i: CAgent(library, contract, i, int8))


BACKENDS = {"numpy": numpy_backend, "onnx": onnx_backend, "c": c_backend}
INT8_BACKENDS = {"numpy": partial(numpy_backend, int8=True), "c": partial(c_backend, int8=True)}


def why_not_run(name: str) -> str | None:
    """What is missing here to run a format; None where nothing is."""
    if name == "c" and compiler() is None:
        return "no C compiler here"
    if name == "onnx" and importlib.util.find_spec("onnxruntime") is None:
        return "onnxruntime is not installed"
    return None

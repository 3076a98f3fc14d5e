"""Files of parameters, read without jax: whether their weights are numbers, and how many there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from tutelage.errors import Fault, short
from tutelage.experiment.files import regular_file_size

LARGEST_WEIGHT = 1e20
"""Largest magnitude of a loaded weight: far above trained weights, far below what a flipped exponent bit gives."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A file of arrays; raises Fault where it is missing or damaged."""
    regular_file_size(path)
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, ValueError) as error:
        raise Fault(f"{path} is damaged: {short(error, str)}") from None
    except OSError as error:
        raise Fault(f"cannot read {path}: {error.strerror or error}") from error


def check_weight(path: Path, name: str, array: np.ndarray) -> None:
    """Raise Fault where a weight is no number, or too large to be one that was learned."""
    if array.dtype.kind != "f" or (in_range := np.abs(array) < LARGEST_WEIGHT).all():  # nan is below nothing
        return
    index = tuple(int(i) for i in np.argwhere(~in_range)[0])
    place = f" at {list(index)}" if index else ""
    raise Fault(
        f"{path}: {name} holds {array[index]}{place}, must be a number of magnitude below {LARGEST_WEIGHT:g}; the file "
        "is damaged, or what was learned came to no end"
    )


def check_weights(path: Path) -> None:
    """Raise Fault where a file of parameters is damaged or holds a weight that is no number."""
    with opened(path) as file:
        for name in [*file.keys()]:
            check_weight(path, name, file.get_tensor(name))


def parameter_count(path: Path) -> int:
    """How many numbers a file of parameters holds; only its header is read."""
    with opened(path) as file:
        return sum(prod(file.get_slice(name).get_shape()) for name in [*file.keys()])

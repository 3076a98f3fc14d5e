"""Spaces of Gymnasium as rows of numbers: observations flattened, actions numbered. jax is not imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from tutelage.errors import BadInput, short

MOST_ACTIONS = 4096
"""Joint choices of a MultiDiscrete space that are numbered."""


@dataclass(frozen=True)
class Flat:
    """How an observation becomes a row.

    Attributes:
        width: of the row.
        names: `NAME [UNIT]` of its columns.
        write: (observation, row) fills the row in.
    """

    width: int
    names: tuple[str, ...]
    write: Callable[[Any, np.ndarray], None]


@dataclass(frozen=True)
class Choices:
    """How an action's number becomes what the environment takes.

    Attributes:
        count: of actions. action: number -> the environment's action.
    """

    count: int
    action: Callable[[int], Any]


def flatten(space: Any, name: str, label: str) -> Flat:
    """The row of an observation space.

    Args:
        name: of the columns. label: of the space, for messages.

    Raises:
        BadInput: a kind of space that has no row.
    """
    kind = type(space).__name__
    if kind == "Dict":
        return joined(space.items(), name, label)
    if kind == "Tuple":
        return joined(enumerate(space), name, label)
    if kind not in FLATTENED:
        raise BadInput(f"{label} is {kind}; allowed are {', '.join(FLATTENED)}, and Dict and Tuple of these")
    return FLATTENED[kind](space, name, label)


def joined(spaces: Iterable[tuple[Any, Any]], name: str, label: str) -> Flat:
    """The rows of a Dict's or Tuple's parts, one after another; `spaces`: by key or number."""
    parts = [(flatten(space, f"{name} {key}".strip(), f"{label}[{key!r}]"), key) for key, space in spaces]
    stops = np.cumsum([part.width for part, _ in parts]).tolist()

    def write(observation: Any, row: np.ndarray) -> None:
        for (part, key), stop in zip(parts, stops, strict=True):
            part.write(observation[key], row[stop - part.width : stop])

    return Flat(sum(part.width for part, _ in parts), tuple(n for part, _ in parts for n in part.names), write)


def flat_box(space: Any, name: str, label: str) -> Flat:
    """A Box of any shape; bytes are scaled to [0, 1]."""
    width, bytes_ = int(prod(space.shape)), space.dtype == np.uint8
    unit = "share of 255" if bytes_ else "as the environment gives it"
    scale = np.float32(1 / 255) if bytes_ else None

    def write(observation: Any, row: np.ndarray) -> None:
        row[:] = of_shape(observation, space.shape, label)
        if scale is not None:
            row *= scale

    column = name or "observation"
    names = (f"{column} {i} [{unit}]" if width > 1 else f"{column} [{unit}]" for i in range(width))
    return Flat(width, tuple(names), write)


def of_shape(observation: Any, shape: tuple[int, ...], label: str) -> np.ndarray:
    """The numbers of an observation in a row; raises BadInput for another shape, or what is no array of numbers."""
    try:
        values = np.asarray(observation, np.float32)
    except (TypeError, ValueError):
        raise BadInput(f"{label} is {short(observation)}, must be numbers of shape {shape}") from None
    if values.shape != shape:
        raise BadInput(f"{label} has shape {values.shape}, must be {shape}")
    return values.reshape(-1)


def flat_one_hots(sizes: list[int], starts: list[int], name: str, label: str) -> Flat:
    """Numbers from a start on, each as a one-hot."""
    low, high = np.array(starts), np.array(starts) + sizes - 1
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(int) - low

    def write(observation: Any, row: np.ndarray) -> None:
        numbers = np.asarray(observation).reshape(-1)
        if numbers.shape != low.shape or numbers.dtype.kind not in "bui" or ((numbers < low) | (numbers > high)).any():
            allowed = ", ".join(f"from {a} to {b}" for a, b in zip(low, high, strict=True))
            raise BadInput(f"{label} is {short(observation)}, must be {allowed}")
        row[:] = 0
        row[numbers.astype(int) + offsets] = 1

    column = name or "observation"
    several = len(sizes) > 1
    names = [
        f"{column}{f' {i}' if several else ''} is {start + j} [0 or 1]"
        for i, (size, start) in enumerate(zip(sizes, starts, strict=True))
        for j in range(size)
    ]
    return Flat(sum(sizes), tuple(names), write)


def flat_discrete(space: Any, name: str, label: str) -> Flat:
    """A Discrete as a one-hot."""
    return flat_one_hots([int(space.n)], [int(space.start)], name, label)


def flat_multi_discrete(space: Any, name: str, label: str) -> Flat:
    """A MultiDiscrete as one-hots."""
    sizes = [int(n) for n in np.asarray(space.nvec).reshape(-1)]
    starts = np.asarray(getattr(space, "start", np.zeros(len(sizes)))).reshape(-1)
    return flat_one_hots(sizes, [int(x) for x in starts], name, label)


def flat_multi_binary(space: Any, name: str, label: str) -> Flat:
    """A MultiBinary as it is."""
    width = int(prod(space.shape))

    def write(observation: Any, row: np.ndarray) -> None:
        row[:] = of_shape(observation, space.shape, label)

    return Flat(width, tuple(f"{name or 'observation'} {i} [0 or 1]" for i in range(width)), write)


FLATTENED: dict[str, Callable[[Any, str, str], Flat]] = {
    "Box": flat_box,
    "Discrete": flat_discrete,
    "MultiDiscrete": flat_multi_discrete,
    "MultiBinary": flat_multi_binary,
}


def numbered(space: Any, label: str) -> Choices:
    """The actions of a space by number.

    Raises:
        BadInput: a space whose actions cannot be numbered.
    """
    kind = type(space).__name__
    if kind == "Discrete":
        start = int(space.start)
        return Choices(int(space.n), lambda number: start + number)
    if kind == "MultiDiscrete":
        sizes = tuple(int(n) for n in np.asarray(space.nvec).reshape(-1))
        if prod(sizes) > MOST_ACTIONS:
            raise BadInput(
                f"{label} is MultiDiscrete of {prod(sizes)} joint choices; at most {MOST_ACTIONS} are allowed"
            )
        return Choices(prod(sizes), lambda number: np.array(np.unravel_index(number, sizes), space.dtype))
    raise BadInput(f"{label} is {kind}; actions must be Discrete or MultiDiscrete (continuous ones are not offered)")

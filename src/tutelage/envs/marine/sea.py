"""Waves: a level per cell and time for transferring fuel, from 3 (fully) to 0 (not at all)."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.errors import BadInput

HARD, EASY = (0.0, 2.0, 4.0), (2.0, 4.0)
"""Wave heights in metres above which the level is one lower."""
MEAN, DEVIATION, LENGTH, DURATION = 2.0, 1.0, 2.5, 8.0
"""Synthetic field: mean and deviation in metres, correlation length in cells, correlation time in steps."""
WAVES = 24
HIGHEST = 40.0
"""Largest accepted height in metres; measured significant wave heights stay below 25."""


class Sea(NamedTuple):
    """Wave heights of B episodes, the episodes' axis *last*.

    Attributes:
        numbers: how many uniform numbers the sea of an episode is made from.
        height: (uniform numbers (K, B), time (B,)) -> metres (size^2, B), row by row from the bottom left.
    """

    numbers: int
    height: Callable[[Array, Array], Array]


@cache
def spectrum() -> np.ndarray:
    """Wave numbers along x and y and frequencies, (3, WAVES): a fixed sample of the Gaussian field's spectrum."""
    return np.random.default_rng(0).normal(size=(3, WAVES)) / np.array([[LENGTH], [LENGTH], [DURATION]])


def synthetic(size: int) -> Sea:
    """A smooth drifting field: waves of a fixed spectrum with the episode's phases. Near-Gaussian, correlations as
    `exp(-d^2 / 2 LENGTH^2)` in space and `exp(-t^2 / 2 DURATION^2)` in time."""
    kx, ky, w = spectrum()
    y, x = (z.ravel()[:, None] for z in np.mgrid[:size, :size])
    # cos(place + phase) in two products, so that all cells cost one matrix product.
    table = np.concatenate([np.cos(kx * x + ky * y), -np.sin(kx * x + ky * y)], 1)
    scaled = (DEVIATION * np.sqrt(2 / WAVES) * table).astype(np.float32)
    rate = w[:, None].astype(np.float32)

    def height(noise: Float[Array, "K B"], time: Int[Array, " B"]) -> Float[Array, "C B"]:
        phase = rate * time + 2 * np.pi * noise
        return MEAN + scaled @ jnp.concatenate([jnp.cos(phase), jnp.sin(phase)])

    return Sea(WAVES, height)


def recorded(heights: Float[np.ndarray, "T H W"], size: int) -> Sea:
    """Heights from a record; every episode begins at a random time, and the record repeats after its end."""
    rows, columns = (np.linspace(0, n - 1, size).round().astype(int) for n in heights.shape[1:])
    table = jnp.asarray(heights[:, rows][:, :, columns].reshape(len(heights), -1), jnp.float32)

    def height(noise: Float[Array, "1 B"], time: Int[Array, " B"]) -> Float[Array, "C B"]:
        start = jnp.minimum((noise[0] * len(heights)).astype(jnp.int32), len(heights) - 1)
        return table[(start + time) % len(heights)].T

    return Sea(1, height)


def load_heights(path: Path, variable: str | None = None) -> Float[np.ndarray, "T H W"]:
    """Significant wave heights in metres, of a NetCDF or GRIB file with the dimensions time, latitude, longitude.

    Args:
        variable: its name in the file; by default the only one with three dimensions, or `swh` if there are several.

    Raises:
        BadInput: no such file or variable, not three dimensions, only missing values, or values outside 0 to HIGHEST.
    """
    label = f"waves = {str(path)!r}"
    try:
        import xarray
    except ImportError:
        raise BadInput(f"{label}: reading it needs xarray; pip install 'tutelage[waves]'") from None
    if not path.is_file():
        raise BadInput(f"{label}: no such file")
    try:
        with xarray.open_dataset(path) as data:
            record = south_first(order_axes(find_variable(data, variable, label))).load()
    except BadInput:  # which is a ValueError too
        raise
    except (OSError, ValueError, EOFError) as error:  # cfgrib: EOFError
        reason = str(error).splitlines()[0]
        if reason.startswith("did not find a match"):  # xarray's words where no reader knows the file
            reason = "no reader for such a file is installed; GRIB needs cfgrib: pip install 'tutelage[waves]'"
        raise BadInput(f"{label}: cannot be read: {reason}") from None
    name, heights = record.name, np.asarray(record.values, np.float32)
    if not np.isfinite(heights).any():
        raise BadInput(f"{label}: {name!r} holds nothing but missing values")
    low, high = np.nanmin(heights), np.nanmax(heights)
    if low < 0 or high > HIGHEST:
        raise BadInput(f"{label}: {name!r} goes from {low:g} to {high:g}: must be metres from 0 to {HIGHEST:g}")
    return np.where(np.isfinite(heights), heights, 0.0)  # land is calm


def find_variable(data: Any, variable: str | None, label: str) -> Any:
    """The variable of wave heights, see `load_heights`; its values are not read yet."""
    candidates = {str(name): values for name, values in data.data_vars.items() if values.ndim == 3}
    name = variable or (next(iter(candidates)) if len(candidates) == 1 else "swh")
    if name not in candidates:
        available = ", ".join(f"{name} ({' x '.join(map(str, of.dims))})" for name, of in data.data_vars.items())
        raise BadInput(f"{label}: no variable {name!r} of time x latitude x longitude; it has: {available or 'none'}")
    return candidates[name]


def order_axes(heights: Any) -> Any:
    """Transpose to time, latitude, longitude, where the dimensions have these names; else unchanged."""
    kinds = ("time", "lat", "lon")
    names = {kind: name for kind in kinds for name in heights.dims if kind in str(name).lower()}
    axes = [names.get(kind) for kind in kinds]
    return heights.transpose(*axes) if set(axes) == set(heights.dims) else heights


def south_first(heights: Any) -> Any:
    """Sort rows so that the southernmost is first, as on the map; many records begin in the north."""
    rows = heights.dims[1]
    return heights.sortby(rows) if rows in heights.coords else heights


def levels(sea: Sea, bounds: tuple[float, ...], noise: Array, time: Int[Array, " B"]) -> Int[Array, "C B"]:
    """Level of every cell at a time: 3 (all fuel is transferred), 2, 1 or 0 (none)."""
    height = sea.height(noise, time)
    return 3 - sum(((height > bound).astype(jnp.int32) for bound in bounds), jnp.zeros(height.shape, jnp.int32))


def at_cells(table: Int[Array, "C B"], size: int, x: Int[Array, "*n B"], y: Int[Array, "*n B"]) -> Int[Array, "*n B"]:
    """Entries of a table of cells at positions; outside the map those of the nearest cell."""
    x, y = jnp.clip(x, 0, size - 1), jnp.clip(y, 0, size - 1)
    cell = (y * size + x).reshape(-1, x.shape[-1])
    return jnp.take_along_axis(table, cell, axis=0).reshape(x.shape)

"""Observations and world state of MARINE. B episodes at once, batch axis *last*."""

from __future__ import annotations

from math import ceil, log2

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tutelage.envs.marine.rules import Rules, Voyage
from tutelage.envs.marine.sea import Sea, at_cells, levels
from tutelage.envs.parts import Segment, entity_columns, map_columns, xy

NEIGHBOURS, SHIP = 4, 6
"""Ships reported by AIS, and columns for each: whether there is one, offset (two), class, fuel, destination row."""
PLACE = 1
"""Column of a reported ship at which the offset to it begins."""


SHIP_COLUMNS = (
    "reported [0 or 1]",
    *xy("relative", "map widths"),
    "class [1 routing, 0 logistics, -1 raider]",
    "fuel a step ago, 0 unless routing [share of a full tank]",
    "row of its destination, from the bottom, 0 unless routing [map widths]",
)


def to_bits(value: Int[Array, "..."], count: int, axis: int) -> Bool[Array, "..."]:
    """Binary digits along a new axis, the lowest first."""
    return jnp.stack([(value >> i) & 1 for i in range(count)], axis) > 0


def bit_counts(rules: Rules) -> tuple[int, int]:
    """Bits for the number of a cell, and for fuel."""
    return ceil(log2(rules.size**2)), ceil(log2(rules.size + 1))


def window_width(rules: Rules) -> int:
    """Columns of the window: per cell a bit for every ship, raiders, outside, a destination, and two for the sea."""
    return (2 * rules.vision + 1) ** 2 * (rules.ships + (rules.raiders > 0) + 4)


def sight_width(rules: Rules, ais: bool) -> int:
    cell, fuel = bit_counts(rules)
    return 2 * cell + fuel + window_width(rules) + (NEIGHBOURS * SHIP if ais else 0)


def named_columns(rules: Rules, ais: bool) -> tuple[Segment, ...]:
    """The columns of an observation with their names: the own ship, ships reported by AIS, the window."""
    cell, fuel = bit_counts(rules)
    bits = lambda count, of: tuple(f"{of}, bit {i} [0 or 1]" for i in range(count))
    number = f"y * {rules.size} + x"
    own = (
        *bits(cell, f"cell {number}"),
        *bits(cell, f"destination cell {number}, 0 unless routing"),
        *bits(fuel, "fuel a step ago, 0 unless routing"),
    )
    ships = [f"{'routing' if i < rules.routing else 'logistics'} ship {i}" for i in range(rules.ships)]
    others = ["outside of the map", "destination", "sea level bit 0", "sea level bit 1"]
    maps = [*ships, *others, *(["raider"] if rules.raiders else [])]
    return (
        Segment("own", 2 * cell + fuel, columns=own),
        *(entity_columns("ship", NEIGHBOURS, SHIP, PLACE, SHIP_COLUMNS) if ais else ()),
        Segment("window", window_width(rules), columns=map_columns(maps, rules.vision)),
    )


def own_columns(rules: Rules, state: Voyage) -> Bool[Array, "N D B"]:
    """Own cell and, for routing ships, destination cell and shown fuel, as bits."""
    n, (cell, fuel), b = rules.ships, bit_counts(rules), state.time.shape[0]
    own_cell = to_bits(state.y[:n] * rules.size + state.x[:n], cell, 1)
    destination = to_bits(state.goal * rules.size + rules.size - 1, cell, 1)
    tank = to_bits(state.gauge, fuel, 1)
    routing = jnp.concatenate([destination, tank], 1)
    return jnp.concatenate(
        [own_cell, jnp.concatenate([routing, jnp.zeros((rules.logistics, cell + fuel, b), bool)])], 1
    )


def windows(rules: Rules, sea: Sea, state: Voyage) -> Bool[Array, "N D B"]:
    """The cells around each ship, row by row from the bottom left; see `window_width`."""
    n, v, side, b = rules.ships, rules.vision, 2 * rules.vision + 1, state.time.shape[0]
    dx, dy = state.x[None] - state.x[:n, None] + v, state.y[None] - state.y[:n, None] + v
    near = (dx >= 0) & (dx < side) & (dy >= 0) & (dy < side)
    index = jnp.where(near, dy * side + dx, -1)
    at = jnp.arange(side * side)[:, None]
    hits = index[:, :, None] == at
    ox, oy = (z.ravel()[:, None] for z in np.meshgrid(np.arange(side) - v, np.arange(side) - v))
    cx, cy = state.x[:n, None] + ox, state.y[:n, None] + oy
    outside = (cx < 0) | (cy < 0) | (cx >= rules.size) | (cy >= rules.size)
    destinations = (cx == rules.size - 1) & (cy[:, None] == state.goal[:, None]).any(1)
    sea_time = jnp.maximum(state.time - 1, 0)  # the sea that this step was made in
    calm = jnp.where(outside, 0, at_cells(levels(sea, rules.bounds, state.luck, sea_time), rules.size, cx, cy))
    maps = [hits[:, :n], outside[:, None], destinations[:, None], to_bits(calm, 2, 1)]
    if rules.raiders:
        maps.append(hits[:, n:].any(1, keepdims=True))
    return jnp.concatenate(maps, 1).reshape(n, -1, b)


def in_range(rules: Rules, state: Voyage) -> Bool[Array, "N N B"]:
    """Which other ships are within the range of AIS: a quarter of the map's side."""
    n = rules.ships
    dx, dy = (z[None, :n] - z[:n, None] for z in (state.x, state.y))
    return (16 * (dx**2 + dy**2) <= rules.size**2) & ~np.eye(n, dtype=bool)[..., None]


def neighbours(rules: Rules, state: Voyage) -> Float[Array, "N D B"]:
    """The nearest ships within a quarter of the map's side.

    For each: whether there is one, the offset to it, its class (1 routing, 0 logistics, -1 raider), its shown fuel and
    the row of its destination (both 0 except for routing ships).
    """
    n, r, b = rules.ships, rules.routing, state.time.shape[0]
    dx, dy = state.x[None] - state.x[:n, None], state.y[None] - state.y[:n, None]
    others = np.arange(len(state.x))[None] != np.arange(n)[:, None]
    far = dx**2 + dy**2
    in_reach = (16 * far <= rules.size**2) & others[..., None]
    key = jnp.where(in_reach, far, 10_000) * len(state.x) + jnp.arange(len(state.x))[:, None]
    rank = (key[:, None] < key[:, :, None]).sum(2)
    kind = np.array([1.0] * r + [0.0] * rules.logistics + [-1.0] * rules.raiders)[:, None]
    rest = jnp.zeros((len(state.x) - r, b))
    fuel = jnp.concatenate([state.gauge / rules.size, rest])
    row = jnp.concatenate([state.goal / rules.size, rest])
    each = lambda z: jnp.broadcast_to(z, far.shape)
    columns = jnp.stack([in_reach, dx / rules.size, dy / rules.size, each(kind), each(fuel), each(row)], 2)
    pick = [(columns * ((rank == i) & in_reach)[:, :, None]).sum(1) for i in range(NEIGHBOURS)]
    return jnp.concatenate(pick, 1)


def observations(rules: Rules, sea: Sea, state: Voyage, ais: bool) -> Float[Array, "N D B"]:
    """Own columns, ships reported by AIS, and the window."""
    parts = [own_columns(rules, state).astype(jnp.float32)]
    if ais:
        parts.append(neighbours(rules, state))
    return jnp.concatenate([*parts, windows(rules, sea, state).astype(jnp.float32)], 1)


def world_width(rules: Rules) -> int:
    return 2 * (rules.ships + rules.raiders) + 3 * rules.routing + 1


def world(rules: Rules, state: Voyage) -> Float[Array, "S B"]:
    """Positions, rows of destinations, shown fuel, which ships have arrived, and the time."""
    place = lambda z: 2 * z / (rules.size - 1) - 1
    parts = [place(state.x), place(state.y), place(state.goal), state.gauge / rules.size, state.arrived]
    return jnp.concatenate([*(x.astype(jnp.float32) for x in parts), state.time[None] / rules.limit])

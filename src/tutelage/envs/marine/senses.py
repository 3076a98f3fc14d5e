"""What ships and a central teacher perceive of MARINE. B episodes at once, their axis *last*."""

from __future__ import annotations

from math import ceil, log2

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tutelage.envs.marine.rules import Rules, Voyage
from tutelage.envs.marine.sea import Sea, here, levels

NEIGHBOURS, SHIP = 4, 6
"""Ships that AIS tells of, and columns for each: there, way (two), class, fuel, row of the destination."""


def bits(value: Int[Array, "..."], count: int, axis: int) -> Bool[Array, "..."]:
    """Binary digits along a new axis, the lowest first."""
    return jnp.stack([(value >> i) & 1 for i in range(count)], axis) > 0


def digits(rules: Rules) -> tuple[int, int]:
    """How many for a cell's number, and for fuel."""
    return ceil(log2(rules.size**2)), ceil(log2(rules.size + 1))


def window_width(rules: Rules) -> int:
    """Columns of the window: per cell a bit for every ship, raiders, outside, a destination, and two for the sea."""
    return (2 * rules.vision + 1) ** 2 * (rules.ships + (rules.raiders > 0) + 4)


def sight_width(rules: Rules, ais: bool) -> int:
    cell, fuel = digits(rules)
    return 2 * cell + fuel + window_width(rules) + (NEIGHBOURS * SHIP if ais else 0)


def own(rules: Rules, state: Voyage) -> Bool[Array, "N D B"]:
    """Number of the own cell and, of routing ships, of the destination and what is shown of fuel."""
    n, (cell, fuel), b = rules.ships, digits(rules), state.time.shape[0]
    here = bits(state.y[:n] * rules.size + state.x[:n], cell, 1)
    there = bits(state.goal * rules.size + rules.size - 1, cell, 1)
    tank = bits(state.gauge, fuel, 1)
    routing = jnp.concatenate([there, tank], 1)
    return jnp.concatenate([here, jnp.concatenate([routing, jnp.zeros((rules.logistics, cell + fuel, b), bool)])], 1)


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
    wanted = (cx == rules.size - 1) & (cy[:, None] == state.goal[:, None]).any(1)
    then = jnp.maximum(state.time - 1, 0)  # the sea that this step was made in
    calm = jnp.where(outside, 0, here(levels(sea, rules.bounds, state.luck, then), rules.size, cx, cy))
    maps = [hits[:, :n], outside[:, None], wanted[:, None], bits(calm, 2, 1)]
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

    Of each: whether there is one, the way to it, its class (1 routing, 0 logistics, -1 raider), its fuel and the row of
    its destination (both 0 but for routing ships).
    """
    n, r, b = rules.ships, rules.routing, state.time.shape[0]
    dx, dy = state.x[None] - state.x[:n, None], state.y[None] - state.y[:n, None]
    others = np.arange(len(state.x))[None] != np.arange(n)[:, None]
    far = dx**2 + dy**2
    heard = (16 * far <= rules.size**2) & others[..., None]
    key = jnp.where(heard, far, 10_000) * len(state.x) + jnp.arange(len(state.x))[:, None]
    rank = (key[:, None] < key[:, :, None]).sum(2)
    kind = np.array([1.0] * r + [0.0] * rules.logistics + [-1.0] * rules.raiders)[:, None]
    rest = jnp.zeros((len(state.x) - r, b))
    fuel = jnp.concatenate([state.gauge / rules.size, rest])
    row = jnp.concatenate([state.goal / rules.size, rest])
    each = lambda z: jnp.broadcast_to(z, far.shape)
    told = jnp.stack([heard, dx / rules.size, dy / rules.size, each(kind), each(fuel), each(row)], 2)
    pick = [(told * ((rank == i) & heard)[:, :, None]).sum(1) for i in range(NEIGHBOURS)]
    return jnp.concatenate(pick, 1)


def observations(rules: Rules, sea: Sea, state: Voyage, ais: bool) -> Float[Array, "N D B"]:
    """Own facts, AIS, and the window."""
    parts = [own(rules, state).astype(jnp.float32)]
    if ais:
        parts.append(neighbours(rules, state))
    return jnp.concatenate([*parts, windows(rules, sea, state).astype(jnp.float32)], 1)


def world_width(rules: Rules) -> int:
    return 2 * (rules.ships + rules.raiders) + 3 * rules.routing + 1


def world(rules: Rules, state: Voyage) -> Float[Array, "S B"]:
    """Places, rows of destinations, fuel shown, who has arrived, and the time."""
    place = lambda z: 2 * z / (rules.size - 1) - 1
    parts = [place(state.x), place(state.y), place(state.goal), state.gauge / rules.size, state.arrived]
    return jnp.concatenate([*(x.astype(jnp.float32) for x in parts), state.time[None] / rules.limit])

"""Observations and world state of FireCommander. B episodes at once, batch axis *last*."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from tutelage.envs.fire_commander.rules import Blaze, Rules

REGION = 4
"""Columns per region in an observation: burning cells, freshness, and offset to the nearest of them (two)."""
WINDOW = 4
"""Maps in a perception agent's window: perception agents, action agents, fire, outside."""
REGION_COLUMNS = (
    "cells known to burn [number / 4]",
    "freshness of its cells, mean, 0 for one never seen [1 - age / step limit]",
    "x to the nearest known fire, 0 if none [map widths]",
    "y to the nearest known fire, 0 if none [map widths]",
)
MAPS = "perception agent", "action agent", "fire", "outside of the map"
FAR = 10_000
"""More steps than between any two cells."""


class Log(NamedTuple):
    """Knowledge of cells (..., C, B) summarised by region, (..., R, B) each.

    Attributes:
        fires: cells last seen burning.
        fresh: mean over cells of `1 - age / max_steps`, 0 for cells never seen.
        fire: the nearest cell last seen burning, or -1.
        stale: the cell seen longest ago; of several the nearest.
    """

    fires: Int[Array, "*a R B"]
    fresh: Float[Array, "*a R B"]
    fire: Int[Array, "*a R B"]
    stale: Int[Array, "*a R B"]


def sight_widths(rules: Rules, radio: bool) -> tuple[int, int]:
    """Observation widths of a perception agent and of an action agent."""
    log = REGION * rules.regions if radio else 0
    return 2 + log + WINDOW * (2 * rules.vision + 1) ** 2, 2 + log


def distances(rules: Rules, x: Int[Array, "N B"], y: Int[Array, "N B"]) -> Int[Array, "N C B"]:
    """Distance in steps from agents to cells."""
    return jnp.abs(rules.cell_x[:, None] - x[..., None, :]) + jnp.abs(rules.cell_y[:, None] - y[..., None, :])


def summarise_regions(
    rules: Rules, known: UInt8[Array, "*a C B"], distance: Int[Array, "N C B"], time: Array, limit: int
) -> Log:
    """Summarise knowledge by region at `time` (steps so far); `distance` is that of agents to cells."""
    burned = ((known & 1) > 0) & (known > 1)
    seen = (known >> 1).astype(jnp.int32)  # step of the last sight + 1; 0: never
    cell = jnp.arange(rules.cells)[:, None]
    fire_key = jnp.where(burned, distance * rules.cells + cell, FAR * rules.cells)
    stale_key = (seen * 4 * rules.size + distance) * rules.cells + cell
    by_region = lambda x, how: jnp.stack([how(x[..., a:b, :], -2) for a, b in rules.spans], -2)
    sizes = np.array([b - a for a, b in rules.spans])[:, None]
    freshness = jnp.where(seen > 0, 1 - (time + 1 - seen) / limit, 0.0)
    fire = by_region(fire_key, jnp.min)
    return Log(
        fires=by_region(burned.astype(jnp.int32), jnp.sum),
        fresh=by_region(freshness, jnp.sum) / sizes,
        fire=jnp.where(fire < FAR * rules.cells, fire % rules.cells, -1),
        stale=by_region(stale_key, jnp.min) % rules.cells,
    )


def offset_to(rules: Rules, state: Blaze, cell: Int[Array, "N M B"]) -> tuple[Int[Array, "N M B"], Int[Array, "N M B"]]:
    """Offset in columns and rows from each agent to cells; 0 for cell -1."""
    x, y = (jnp.asarray(table)[cell] for table in (rules.cell_x, rules.cell_y))
    some = cell >= 0
    return jnp.where(some, x - state.x[:, None], 0), jnp.where(some, y - state.y[:, None], 0)


def windows(rules: Rules, state: Blaze) -> Bool[Array, "P 4 W B"]:
    """Maps of the cells around each perception agent: perception agents (itself too), action agents, fire, outside.

    W = (2 vision + 1)^2 cells, row by row from the bottom left.
    """
    p, v = rules.perception, rules.vision
    side = 2 * v + 1
    dx, dy = (state.x[None] - state.x[:p, None] + v), (state.y[None] - state.y[:p, None] + v)
    near = (dx >= 0) & (dx < side) & (dy >= 0) & (dy < side)
    index = jnp.where(near, dy * side + dx, -1)
    at = jnp.arange(side * side)[:, None]

    def who(low: int, high: int) -> Array:
        hit = jnp.zeros((p, side * side, index.shape[-1]), bool)
        for j in range(low, high):
            hit |= index[:, j, None] == at
        return hit

    ox, oy = (z.ravel()[:, None] for z in np.meshgrid(np.arange(side) - v, np.arange(side) - v))
    cx, cy = state.x[:p, None] + ox, state.y[:p, None] + oy
    outside = (cx < 0) | (cy < 0) | (cx >= rules.size) | (cy >= rules.size)
    cell = rules.cell(cx, cy)
    fire = jnp.take_along_axis(state.burning, cell.reshape(-1, cell.shape[-1]), axis=0).reshape(cell.shape)
    return jnp.stack([who(0, p), who(p, rules.agents), fire & ~outside, outside], 1)


def observations(rules: Rules, state: Blaze, radio: bool, limit: int) -> Float[Array, "N D B"]:
    """Own position, knowledge by region, and the window (zeros for action agents, which have none)."""
    n, p, b = rules.agents, rules.perception, state.time.shape[0]
    parts = [jnp.stack([2 * state.x / (rules.size - 1) - 1, 2 * state.y / (rules.size - 1) - 1], 1)]
    if radio:
        log = summarise_regions(rules, state.known, distances(rules, state.x, state.y), state.time, limit)
        dx, dy = offset_to(rules, state, log.fire)
        region_columns = jnp.stack([log.fires / 4, log.fresh, dx / rules.size, dy / rules.size], 2)
        parts.append(region_columns.reshape(n, -1, b))
    seen = windows(rules, state).reshape(p, -1, b).astype(jnp.float32)
    parts.append(jnp.concatenate([seen, jnp.zeros((n - p, *seen.shape[1:]))]))
    return jnp.concatenate(parts, 1)


def belief(rules: Rules, state: Blaze, oracle: bool) -> UInt8[Array, "C B"]:
    """What all agents together know; with `oracle` every cell as if it was just seen."""
    if oracle:
        return (2 * (state.time + 1) + state.burning).astype(jnp.uint8)
    return state.known.max(0)


def world_width(rules: Rules) -> int:
    return 2 * rules.agents + rules.cells + rules.regions


def world(rules: Rules, state: Blaze, oracle: bool, limit: int) -> Float[Array, "S B"]:
    """Positions of agents, cells known to burn (with `oracle`: that burn), and freshness of the team's knowledge."""
    known = belief(rules, state, oracle)
    seen = (state.known.max(0) >> 1).astype(jnp.int32)
    left = jnp.where(seen > 0, 1 - (state.time + 1 - seen) / limit, 0.0)
    fresh = jnp.stack([left[a:b].mean(0) for a, b in rules.spans])
    place = lambda z: 2 * z / (rules.size - 1) - 1
    burned = (((known & 1) > 0) & (known > 1)).astype(jnp.float32)
    return jnp.concatenate([place(state.x), place(state.y), burned, fresh])

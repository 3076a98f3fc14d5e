"""The rules of FireCommander: agents move and douse, then fire spreads. B episodes at once, batch axis *last*.

Fire follows the repaired environment of MixTURE (Seraj et al. 2023), a simplification of FARSITE (Finney 1998): each
front is a point that moves with wind and fuel and ignites every cell that it enters. The agents' knowledge of the map
is our addition: each agent keeps, for every cell, when it was last seen and whether it burned, and shares this with
agents in radio range.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from tutelage.envs.parts import table_lookup

DX, DY = (0, 0, -1, 1), (1, -1, 0, 0)
"""Actions 0 to 3: up, down, left, right. `y` grows upwards."""
STAY, DOUSE = 4, 5
BURNS, DOUSED = -0.1, 10.0
"""Reward per burning cell and step, and per front that is put out."""


class Blaze(NamedTuple):
    """B episodes. Cells are numbered region by region (see `Rules`).

    Attributes:
        x, y: (N, B) where agents are, the perception agents first.
        front_x, front_y: (F, B) where the fronts are.
        active: (F, B) fronts not yet put out.
        burning: (C, B) cells.
        known: (N, C, B) knowledge of each agent: 2 (step + 1) + burned when last seen, 0 if never seen.
            Episodes of more than 126 steps would not fit into it.
        rate: (C, B) speed of fire in each cell.
        drift_x, drift_y: (size, B) movement by the wind of each row, per unit of rate.
        time: (B,) steps so far.
    """

    x: Int[Array, "N B"]
    y: Int[Array, "N B"]
    front_x: Float[Array, "F B"]
    front_y: Float[Array, "F B"]
    active: Bool[Array, "F B"]
    burning: Bool[Array, "C B"]
    known: UInt8[Array, "N C B"]
    rate: Float[Array, "C B"]
    drift_x: Float[Array, "size B"]
    drift_y: Float[Array, "size B"]
    time: Int[Array, " B"]


class Outcome(NamedTuple):
    """Reward and success of a step, (B,) each."""

    reward: Array
    won: Array


@dataclass(frozen=True)
class Rules:
    """Constants of a level.

    Attributes:
        size: cells per side.
        perception, action: agents of each kind.
        fires: fronts at the start.
        vision: cells that a perception agent sees in each direction; an action agent sees its own.
        parts: the map is split into parts x parts regions.
    """

    size: int
    perception: int
    action: int
    fires: int
    vision: int
    parts: int

    @property
    def agents(self) -> int:
        return self.perception + self.action

    @property
    def cells(self) -> int:
        return self.size**2

    @property
    def regions(self) -> int:
        return self.parts**2

    @cached_property
    def cuts(self) -> np.ndarray:
        """Borders of the regions along one side, (parts + 1,)."""
        return np.round(np.linspace(0, self.size, self.parts + 1)).astype(int)

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """For each region its first cell and the cell after its last."""
        sizes = np.diff(self.cuts)
        ends = np.cumsum([sizes[r // self.parts] * sizes[r % self.parts] for r in range(self.regions)])
        return list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))

    @cached_property
    def cell_x(self) -> np.ndarray:
        """(C,) column of every cell."""
        return self._places[0]

    @cached_property
    def cell_y(self) -> np.ndarray:
        """(C,) row of every cell."""
        return self._places[1]

    @cached_property
    def _places(self) -> np.ndarray:
        own = [
            (x, y)
            for r in range(self.regions)
            for y in range(self.cuts[r // self.parts], self.cuts[r // self.parts + 1])
            for x in range(self.cuts[r % self.parts], self.cuts[r % self.parts + 1])
        ]
        return np.array(own, np.int32).T

    @cached_property
    def number(self) -> np.ndarray:
        """(size x size,) the number of the cell in row y, column x, at y size + x."""
        table = np.zeros(self.cells, np.int32)
        table[self.cell_y * self.size + self.cell_x] = np.arange(self.cells)
        return table

    def cell(self, x: Array, y: Array) -> Array:
        """Cell numbers of positions; outside the map those of the nearest cell."""
        x, y = (jnp.clip(z, 0, self.size - 1) for z in (x, y))
        return jnp.asarray(self.number)[y * self.size + x]


def start_noise_sizes(rules: Rules) -> tuple[int, int]:
    """How many uniform and how many normal numbers a new episode needs."""
    return 2 * rules.agents + 2 * rules.fires + rules.cells + 2, 2 * rules.size


def init_blaze(rules: Rules, noise: Float[Array, "K B"], normal: Float[Array, "L B"]) -> Blaze:
    """Initial states: agents and fires uniformly on the map, and a wind per row around the wind of the episode."""
    n, f, size = rules.agents, rules.fires, rules.size
    ends = np.cumsum([n, n, f, f, rules.cells, 1, 1])
    x, y, fx, fy, rate, speed, angle = (noise[a:b] for a, b in zip([0, *ends], ends, strict=False))
    to_cell = lambda u: jnp.minimum((u * size).astype(jnp.int32), size - 1)
    wind = speed * size / 5 + 2 * normal[:size]
    wind_angle = angle * 2 * np.pi + 2 * normal[size:]
    length = drift_length(wind)
    fx, fy = to_cell(fx), to_cell(fy)
    b = noise.shape[1]
    burning = (jnp.arange(rules.cells)[None, :, None] == rules.cell(fx, fy)[:, None]).any(0)
    state = Blaze(
        x=to_cell(x),
        y=to_cell(y),
        front_x=fx.astype(jnp.float32),
        front_y=fy.astype(jnp.float32),
        active=jnp.ones((f, b), bool),
        burning=burning,
        known=jnp.zeros((n, rules.cells, b), jnp.uint8),
        rate=jnp.maximum(rate * 7, 1e-15),
        drift_x=length * jnp.sin(wind_angle),
        drift_y=length * jnp.cos(wind_angle),
        time=jnp.zeros(b, jnp.int32),
    )
    return state._replace(known=look(rules, state))


def drift_length(wind: Float[Array, "..."]) -> Float[Array, "..."]:
    """Distance a front moves per unit of rate: half the axis of the fire's ellipse (Finney 1998), by wind speed."""
    length = 0.936 * jnp.exp(0.2566 * wind) + 0.461 * jnp.exp(-0.1548 * wind) - 0.397
    q = jnp.sqrt(jnp.abs(length**2 - 1))
    head_to_back = (length + q) / (length - q)
    return (1 - 1 / head_to_back) / 2


def advance(rules: Rules, state: Blaze, action: Int[Array, "N B"], noise: Float[Array, "F B"]) -> tuple[Blaze, Outcome]:
    """One step: agents move and douse, fire spreads, agents look and share; `noise` chooses the wind of each front."""
    before = state.burning.sum(0)
    dx, dy = (table_lookup(action, table) for table in (DX, DY))
    inside = lambda z: jnp.clip(z, 0, rules.size - 1)
    state = state._replace(x=inside(state.x + dx), y=inside(state.y + dy))
    state, fronts = douse(rules, state, action)
    state = spread(rules, state, noise)
    state = state._replace(time=state.time + 1)
    state = state._replace(known=look(rules, state))
    return state, Outcome(BURNS * before + DOUSED * fronts, ~state.burning.any(0))


def douse(rules: Rules, state: Blaze, action: Int[Array, "N B"]) -> tuple[Blaze, Int[Array, " B"]]:
    """Action agents put out their cells and the fronts there; also returns the number of fronts put out."""
    p = rules.perception
    pours = action[p:] == DOUSE
    cell = jnp.where(pours, rules.cell(state.x[p:], state.y[p:]), -1)
    front = rules.cell(jnp.floor(state.front_x).astype(jnp.int32), jnp.floor(state.front_y).astype(jnp.int32))
    hit = state.active & (front[:, None] == cell[None]).any(1)
    cells = jnp.arange(rules.cells)[:, None]
    wet = jnp.zeros(state.burning.shape, bool)
    for i in range(rules.action):
        wet |= cells == cell[i]
    return state._replace(burning=state.burning & ~wet, active=state.active & ~hit), hit.sum(0)


def spread(rules: Rules, state: Blaze, noise: Float[Array, "F B"]) -> Blaze:
    """Move active fronts by the fuel of the nearest cell and a random row's wind, and ignite the cells they reach."""
    near = rules.cell(jnp.round(state.front_x).astype(jnp.int32), jnp.round(state.front_y).astype(jnp.int32))
    row = jnp.minimum((noise * rules.size).astype(jnp.int32), rules.size - 1)
    take = lambda table, index: jnp.take_along_axis(table, index, axis=0)
    rate = jnp.where(state.active, take(state.rate, near), 0.0)
    clip = lambda z: jnp.clip(z, 0.0, rules.size - 1.0)
    x = clip(state.front_x + rate * take(state.drift_x, row))
    y = clip(state.front_y + rate * take(state.drift_y, row))
    cell = jnp.where(state.active, rules.cell(x.astype(jnp.int32), y.astype(jnp.int32)), -1)
    cells = jnp.arange(rules.cells)[:, None]
    burning = state.burning
    for i in range(rules.fires):
        burning |= cells == cell[i]
    return state._replace(front_x=x, front_y=y, burning=burning)


def in_range(rules: Rules, state: Blaze) -> Bool[Array, "N N B"]:
    """Which agents are in radio range: at most half the map's side apart."""
    dx, dy = (z[:, None] - z[None] for z in (state.x, state.y))
    return 4 * (dx**2 + dy**2) <= rules.size**2


def look(rules: Rules, state: Blaze) -> UInt8[Array, "N C B"]:
    """The agents' knowledge after they have looked around and shared: for every cell the newest entry."""
    now = (2 * (state.time + 1) + state.burning).astype(jnp.uint8)
    reach = np.array([rules.vision] * rules.perception + [0] * rules.action)[:, None, None]
    near = jnp.abs(rules.cell_x[None, :, None] - state.x[:, None]) <= reach
    near &= jnp.abs(rules.cell_y[None, :, None] - state.y[:, None]) <= reach
    seen = jnp.where(near, now, state.known)
    in_radio_range = in_range(rules, state)
    received = [
        [jnp.where(in_radio_range[i, j], seen[j], jnp.uint8(0)) if i != j else seen[j] for j in range(rules.agents)]
        for i in range(rules.agents)
    ]
    newest = []
    for of_agent in received:
        best = of_agent[0]
        for other in of_agent[1:]:
            best = jnp.maximum(best, other)
        newest.append(best)
    return jnp.stack(newest)

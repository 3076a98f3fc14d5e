"""The rules of FireCommander: agents move and douse, then fire spreads. B episodes at once, their axis *last*.

Fire as in the repaired environment of MixTURE (Seraj et al. 2023), a simplification of FARSITE (Finney 1998): each
front is a point that wanders with wind and fuel and sets alight every cell it comes through. What agents know of the
map is ours: each keeps, for every cell, when it was last seen and whether it burned; agents within range tell each
other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from tutelage.envs.parts import steps_of

DX, DY = (0, 0, -1, 1), (1, -1, 0, 0)
"""Actions 0 to 3: up, down, left, right. `y` grows upwards."""
STAY, DOUSE = 4, 5
BURNS, DOUSED = -0.1, 10.0
"""Reward per burning cell and step, and for a front put out."""
MOST_STEPS = 126
"""Longer episodes do not fit into `known`."""


class Blaze(NamedTuple):
    """B episodes. Cells are numbered region by region (see `Rules`).

    Attributes:
        x, y: (N, B) where agents are, the perception agents first.
        front_x, front_y: (F, B) where the fronts are.
        active: (F, B) fronts not yet put out.
        burning: (C, B) cells.
        known: (N, C, B) what each agent knows: 2 (step + 1) + burned of the last sight, 0 of a cell never seen.
        rate: (C, B) how fast fire moves, per cell.
        drift_x, drift_y: (size, B) where the wind of a row carries it, per unit of rate.
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
    """How a step went, (B,) each."""

    reward: Array
    won: Array


@dataclass(frozen=True)
class Rules:
    """Numbers of a level.

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
        """Where the regions end along one side: (parts + 1,)."""
        return np.round(np.linspace(0, self.size, self.parts + 1)).astype(int)

    @cached_property
    def region_of(self) -> np.ndarray:
        """(C,) of every cell in the order of cells."""
        return np.repeat(np.arange(self.regions), [b - a for a, b in self.spans])

    @cached_property
    def spans(self) -> list[tuple[int, int]]:
        """First cell of each region and the cell after its last."""
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
        """Numbers of cells; outside the map that of the nearest."""
        x, y = (jnp.clip(z, 0, self.size - 1) for z in (x, y))
        return jnp.asarray(self.number)[y * self.size + x]


def luck_to_begin(rules: Rules) -> tuple[int, int]:
    """Uniform and normal numbers that a new episode needs."""
    return 2 * rules.agents + 2 * rules.fires + rules.cells + 2, 2 * rules.size


def begin(rules: Rules, luck: Float[Array, "K B"], normal: Float[Array, "L B"]) -> Blaze:
    """Agents and fires anywhere, each uniformly; a wind for the episode, one for every row around it."""
    n, f, size = rules.agents, rules.fires, rules.size
    ends = np.cumsum([n, n, f, f, rules.cells, 1, 1])
    x, y, fx, fy, rate, speed, angle = (luck[a:b] for a, b in zip([0, *ends], ends, strict=False))
    whole = lambda u: jnp.minimum((u * size).astype(jnp.int32), size - 1)
    wind = speed * size / 5 + 2 * normal[:size]
    way = angle * 2 * np.pi + 2 * normal[size:]
    reach = reach_of(wind)
    fx, fy = whole(fx), whole(fy)
    b = luck.shape[1]
    burning = (jnp.arange(rules.cells)[None, :, None] == rules.cell(fx, fy)[:, None]).any(0)
    state = Blaze(
        x=whole(x),
        y=whole(y),
        front_x=fx.astype(jnp.float32),
        front_y=fy.astype(jnp.float32),
        active=jnp.ones((f, b), bool),
        burning=burning,
        known=jnp.zeros((n, rules.cells, b), jnp.uint8),
        rate=jnp.maximum(rate * 7, 1e-15),
        drift_x=reach * jnp.sin(way),
        drift_y=reach * jnp.cos(way),
        time=jnp.zeros(b, jnp.int32),
    )
    return state._replace(known=look(rules, state))


def reach_of(wind: Float[Array, "..."]) -> Float[Array, "..."]:
    """How far a front moves per unit of rate: half the axis of the fire's ellipse (Finney 1998), by wind speed."""
    length = 0.936 * jnp.exp(0.2566 * wind) + 0.461 * jnp.exp(-0.1548 * wind) - 0.397
    q = jnp.sqrt(jnp.abs(length**2 - 1))
    head_to_back = (length + q) / (length - q)
    return (1 - 1 / head_to_back) / 2


def advance(rules: Rules, state: Blaze, action: Int[Array, "N B"], luck: Float[Array, "F B"]) -> tuple[Blaze, Outcome]:
    """One step: moves, douses, spread; then everybody looks and tells. `luck`: which row's wind each front feels."""
    before = state.burning.sum(0)
    dx, dy = (steps_of(action, table) for table in (DX, DY))
    inside = lambda z: jnp.clip(z, 0, rules.size - 1)
    state = state._replace(x=inside(state.x + dx), y=inside(state.y + dy))
    state, fronts = douse(rules, state, action)
    state = spread(rules, state, luck)
    state = state._replace(time=state.time + 1)
    state = state._replace(known=look(rules, state))
    return state, Outcome(BURNS * before + DOUSED * fronts, ~state.burning.any(0))


def douse(rules: Rules, state: Blaze, action: Int[Array, "N B"]) -> tuple[Blaze, Int[Array, " B"]]:
    """Action agents put out the cells they stand on, with the fronts there; also returns how many fronts."""
    p = rules.perception
    pours = action[p:] == DOUSE
    cell = jnp.where(pours, rules.cell(state.x[p:], state.y[p:]), -1)
    front = rules.cell(jnp.floor(state.front_x).astype(jnp.int32), jnp.floor(state.front_y).astype(jnp.int32))
    hit = state.active & (front[:, None] == cell[None]).any(1)
    at = jnp.arange(rules.cells)[:, None]
    wet = jnp.zeros(state.burning.shape, bool)
    for i in range(rules.action):
        wet |= at == cell[i]
    return state._replace(burning=state.burning & ~wet, active=state.active & ~hit), hit.sum(0)


def spread(rules: Rules, state: Blaze, luck: Float[Array, "F B"]) -> Blaze:
    """Active fronts move on, by the fuel of the nearest cell and the wind of a random row; where they come it burns."""
    near = rules.cell(jnp.round(state.front_x).astype(jnp.int32), jnp.round(state.front_y).astype(jnp.int32))
    row = jnp.minimum((luck * rules.size).astype(jnp.int32), rules.size - 1)
    of = lambda table, index: jnp.take_along_axis(table, index, axis=0)
    rate = jnp.where(state.active, of(state.rate, near), 0.0)
    stay = lambda z: jnp.clip(z, 0.0, rules.size - 1.0)
    x = stay(state.front_x + rate * of(state.drift_x, row))
    y = stay(state.front_y + rate * of(state.drift_y, row))
    cell = jnp.where(state.active, rules.cell(x.astype(jnp.int32), y.astype(jnp.int32)), -1)
    at = jnp.arange(rules.cells)[:, None]
    burning = state.burning
    for i in range(rules.fires):
        burning |= at == cell[i]
    return state._replace(front_x=x, front_y=y, burning=burning)


def in_range(rules: Rules, state: Blaze) -> Bool[Array, "N N B"]:
    """Which agents hear each other: half the map's side apart at most."""
    dx, dy = (z[:, None] - z[None] for z in (state.x, state.y))
    return 4 * (dx**2 + dy**2) <= rules.size**2


def look(rules: Rules, state: Blaze) -> UInt8[Array, "N C B"]:
    """What agents know after they have looked around and told each other: of every cell the newest."""
    now = (2 * (state.time + 1) + state.burning).astype(jnp.uint8)
    reach = np.array([rules.vision] * rules.perception + [0] * rules.action)[:, None, None]
    near = jnp.abs(rules.cell_x[None, :, None] - state.x[:, None]) <= reach
    near &= jnp.abs(rules.cell_y[None, :, None] - state.y[:, None]) <= reach
    seen = jnp.where(near, now, state.known)
    hears = in_range(rules, state)
    told = [
        [jnp.where(hears[i, j], seen[j], jnp.uint8(0)) if i != j else seen[j] for j in range(rules.agents)]
        for i in range(rules.agents)
    ]
    newest = []
    for heard in told:
        best = heard[0]
        for other in heard[1:]:
            best = jnp.maximum(best, other)
        newest.append(best)
    return jnp.stack(newest)

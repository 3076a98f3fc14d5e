"""The rules of MARINE: ships sail, burn fuel, and are refuelled at sea. B episodes at once, batch axis *last*.

They follow the public environment of the paper MARINE (RA-L 2025). Raiders, the reward `potential` and a destination
for every ship are our additions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tutelage.envs.marine.sea import Sea, at_cells, levels
from tutelage.envs.parts import ranks, table_lookup

DX, DY = (0, 1, 0, -1), (1, 0, -1, 0)
"""Actions 0 to 3: up, right, down, left; 4 stays. `y` grows upwards."""
STAY = 4
EMPTY = -10.0
"""Reward when a tank runs empty, which ends the episode."""
HANDED = {5: (0, 1, 2, 3), 10: (0, 1, 3, 5), 15: (0, 3, 5, 8), 20: (0, 4, 7, 10)}
"""Fuel that a logistics ship transfers per step, by size of the map and level of the sea."""
ROBBED = 3
"""Fuel that a raider takes per step from a ship that no logistics ship escorts."""


@dataclass(frozen=True)
class Rules:
    """Constants of a level.

    Attributes:
        size: cells per side; also the size of a tank.
        routing, logistics: ships of each kind.
        shared: whether all routing ships have one destination, or one each.
        bounds: wave heights above which the sea's level is one lower.
        vision: cells that a ship sees in each direction.
        raiders: scripted enemies.
        limit: steps in which all must arrive.
        reward: `potential` or `source`.
        supply: whether logistics ships hold `size^2` fuel and serve the two emptiest ships only, or have no limits.
    """

    size: int
    routing: int
    logistics: int
    shared: bool
    bounds: tuple[float, ...]
    vision: int = 1
    raiders: int = 0
    limit: int = 100
    reward: Literal["potential", "source"] = "potential"
    supply: bool = False

    @property
    def ships(self) -> int:
        return self.routing + self.logistics


class Voyage(NamedTuple):
    """B episodes.

    Attributes:
        x, y: (N + E, B) cells: routing ships, logistics ships, raiders.
        goal: (R, B) rows of the destinations, all in the last column.
        fuel: (R, B) in the tanks.
        gauge: (R, B) fuel that is shown: that of one step before.
        arrived: (R, B) whether a ship has reached its destination.
        stock: (L, B) fuel on logistics ships.
        luck: (K, B) uniform numbers that the sea is made from.
        time: (B,) steps so far.
        failed: (B,) a tank ran empty.
    """

    x: Int[Array, "U B"]
    y: Int[Array, "U B"]
    goal: Int[Array, "R B"]
    fuel: Int[Array, "R B"]
    gauge: Int[Array, "R B"]
    arrived: Bool[Array, "R B"]
    stock: Int[Array, "L B"]
    luck: Float[Array, "K B"]
    time: Int[Array, " B"]
    failed: Bool[Array, " B"]


class Outcome(NamedTuple):
    """Reward, end and success of a step, (B,) each."""

    reward: Array
    over: Array
    won: Array


def start_noise_size(rules: Rules, sea: Sea) -> int:
    """How many uniform numbers a new episode needs."""
    return 2 * rules.size + 2 * (rules.logistics + rules.raiders) + sea.numbers


def distinct_rows(noise: Float[Array, "size B"], count: int) -> Int[Array, "count B"]:
    """`count` different rows: those with the smallest noise."""
    rank = ranks(noise)
    row = jnp.arange(len(noise))[:, None]
    return jnp.stack([(jnp.where(rank == i, row, 0)).sum(0) for i in range(count)])


def init_voyage(rules: Rules, sea: Sea, noise: Float[Array, "K B"]) -> Voyage:
    """Initial states: routing ships in the first column with full tanks, others anywhere (raiders near the middle)."""
    size, r, free, b = rules.size, rules.routing, rules.logistics + rules.raiders, noise.shape[1]
    ends = np.cumsum([size, size, free, free, sea.numbers])
    start, target, x, y, waves = (noise[a:c] for a, c in zip([0, *ends], ends, strict=False))
    to_cell = lambda u, n: jnp.minimum((u * n).astype(jnp.int32), n - 1)
    column = to_cell(x[: rules.logistics], size)
    middle = size // 4 + to_cell(x[rules.logistics :], size - 2 * (size // 4))
    goal = distinct_rows(target, r)
    full_tanks = jnp.full((r, b), size, jnp.int32)
    return Voyage(
        x=jnp.concatenate([jnp.zeros((r, b), jnp.int32), column, middle]),
        y=jnp.concatenate([distinct_rows(start, r), to_cell(y, size)]),
        goal=jnp.broadcast_to(goal[:1], goal.shape) if rules.shared else goal,
        fuel=full_tanks,
        gauge=full_tanks,
        arrived=jnp.zeros((r, b), bool),
        stock=jnp.full((rules.logistics, b), size**2, jnp.int32),
        luck=waves,
        time=jnp.zeros(b, jnp.int32),
        failed=jnp.zeros(b, bool),
    )


def distance(rules: Rules, state: Voyage) -> Int[Array, "R B"]:
    """Distance in moves from routing ships to their destinations."""
    r = rules.routing
    return rules.size - 1 - state.x[:r] + jnp.abs(state.goal - state.y[:r])


def needs(rules: Rules, state: Voyage) -> Bool[Array, "R B"]:
    """Which routing ships lack fuel to arrive; a ship makes one move more than it has units of fuel."""
    return ~state.arrived & (distance(rules, state) > state.fuel + 1)


def together(rules: Rules, state: Voyage) -> Bool[Array, "R L B"]:
    """Which routing ships share a cell with which logistics ships."""
    r, n = rules.routing, rules.ships
    return (state.x[:r, None] == state.x[None, r:n]) & (state.y[:r, None] == state.y[None, r:n])


def advance(rules: Rules, sea: Sea, state: Voyage, action: Int[Array, "N B"]) -> tuple[Voyage, Outcome]:
    """One step: ships move (raiders after them, every other step), then fuel is burned, robbed and handed over.

    The sea is that at the beginning of the step. The shown fuel is that before it is burned.
    """
    before, r = distance(rules, state), rules.routing
    sea_time = state.time
    state = raid(rules, move(rules, state, action))
    now = distance(rules, state)
    arrives = ~state.arrived & (now == 0)
    state = state._replace(arrived=state.arrived | arrives, gauge=state.fuel, time=state.time + 1)
    sails = ~state.arrived
    out_of_time = state.time >= rules.limit
    empty = (sails & (state.fuel <= 0)).any(0) & ~out_of_time
    won = state.arrived.all(0) & ~out_of_time
    calm = at_cells(levels(sea, rules.bounds, state.luck, sea_time), rules.size, state.x[:r], state.y[:r])
    served = ships_served(rules, state, together(rules, state) & sails[:, None])
    state = refuel(rules, state, served, sails, calm)
    state = state._replace(failed=state.failed | empty)
    reward = REWARDS[rules.reward](rules, state, before, now, arrives, served, calm)
    return state, Outcome(jnp.where(empty, EMPTY, reward), empty | won | out_of_time, won & ~empty)


def move(rules: Rules, state: Voyage, action: Int[Array, "N B"]) -> Voyage:
    """Move ships; those that have arrived, or would leave the map, stay."""
    n, e = rules.ships, rules.raiders
    free = jnp.concatenate([~state.arrived, jnp.ones((rules.logistics + e, action.shape[1]), bool)])
    dx, dy = (table_lookup(action, table) for table in (DX, DY))
    still = jnp.zeros((e, action.shape[1]), jnp.int32)
    goes = lambda z, d: jnp.clip(z + jnp.concatenate([d, still]) * free, 0, rules.size - 1)
    assert dx.shape[0] == n
    return state._replace(x=goes(state.x, dx), y=goes(state.y, dy))


def raid(rules: Rules, state: Voyage) -> Voyage:
    """Every other step each raider goes one cell towards the nearest routing ship at sea."""
    if not rules.raiders:
        return state
    r, n = rules.routing, rules.ships
    dx, dy = state.x[None, :r] - state.x[n:, None], state.y[None, :r] - state.y[n:, None]
    far = jnp.where(state.arrived[None], 10_000, jnp.abs(dx) + jnp.abs(dy))
    prey = (far.argmin(1)[:, None] == jnp.arange(r)[:, None]) & (far < 10_000)
    dx, dy = (dx * prey).sum(1), (dy * prey).sum(1)
    along_x, moves = jnp.abs(dx) >= jnp.abs(dy), state.time % 2 == 1
    goes = lambda z, d, which: z.at[n:].add(jnp.where(which & moves, jnp.sign(d), 0))
    return state._replace(x=goes(state.x, dx, along_x), y=goes(state.y, dy, ~along_x))


def ships_served(rules: Rules, state: Voyage, near: Bool[Array, "R L B"]) -> Bool[Array, "R L B"]:
    """Which ships each logistics ship refuels: all in its cell, or with limited supply the two emptiest of them."""
    if not rules.supply:
        return near
    fuel = jnp.where(near, state.fuel[:, None], 10_000)
    return near & (ranks(fuel) < 2) & (state.stock > 0)


def refuel(
    rules: Rules, state: Voyage, served: Bool[Array, "R L B"], sails: Bool[Array, "R B"], calm: Int[Array, "R B"]
) -> Voyage:
    """Ships at sea burn one unit, lose fuel to raiders, and receive fuel up to a full tank."""
    r, n = rules.routing, rules.ships
    fuel = state.fuel - sails
    if rules.raiders:
        caught = ((state.x[:r, None] == state.x[None, n:]) & (state.y[:r, None] == state.y[None, n:])).any(1)
        fuel = fuel - ROBBED * (caught & sails & ~together(rules, state).any(1))
    per_ship = table_lookup(calm, HANDED[rules.size])
    handed_to = per_ship[:, None] * served
    if rules.supply:  # to one ship after another, until nothing is left
        handed_to = jnp.clip(handed_to - jnp.maximum(jnp.cumsum(handed_to, 0) - state.stock, 0), 0)
    filled = jnp.minimum(jnp.maximum(fuel, 0) + handed_to.sum(1), rules.size)
    fuel = jnp.where(served.any(1), filled, jnp.maximum(fuel, 0))
    stock = state.stock - handed_to.sum(0) if rules.supply else state.stock
    return state._replace(fuel=fuel, stock=stock)


def potential_reward(
    rules: Rules, state: Voyage, before: Array, now: Array, came: Array, served: Array, calm: Array
) -> Float[Array, " B"]:
    """Distance gained, minus a cost per step, plus rewards for arrivals and for all ships having arrived."""
    gained = (before - now).sum(0)
    return 0.05 * gained - 0.05 + 0.1 * came.sum(0) + 5.0 * state.arrived.all(0)


def source_reward(
    rules: Rules, state: Voyage, before: Array, now: Array, came: Array, served: Array, calm: Array
) -> Float[Array, " B"]:
    """Reward of the public environment: mean over ships of distance (routing) or refuelling terms (logistics)."""
    arrivals = came.sum(0)
    routing = jnp.where(state.arrived, 0.1 * arrivals, -0.05 * now)
    calmest = jnp.where(served, (calm / 3)[:, None], 0.0).max(0)
    logistics = jnp.where(served.any(0), 0.05 * calmest, -0.05)
    return jnp.concatenate([routing, logistics]).mean(0)


REWARDS = {"potential": potential_reward, "source": source_reward}

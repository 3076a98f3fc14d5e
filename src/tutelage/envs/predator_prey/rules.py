"""The rules of the stag hunt: hunters move one after another, then the prey. B games at once, their axis *last*.

Rules as in Böhmer et al. 2020 (deep coordination graphs) and Rashid et al. 2020 (WQMIX).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tutelage.envs.parts import ranks
from tutelage.types import Goals

DX, DY = np.array([1, 0, -1, 0]), np.array([0, -1, 0, 1])
"""Actions 0 to 3: right, down, left, up. `y` grows upwards."""
STAY, CATCH = 4, 5
STAG, HARE = (2, 10.0), (1, 1.0)
"""How many must catch it at once, and what it pays."""


class Hunt(NamedTuple):
    """B games.

    Attributes:
        x, y: (N + M, B) cells, the N hunters first, then the stags, then the hares.
        free: (N + M, B) on the board: a hunter not yet frozen, a prey not yet caught.
        stags: (B,) stags caught.
        time: (B,) steps so far.
    """

    x: Int[Array, "U B"]
    y: Int[Array, "U B"]
    free: Bool[Array, "U B"]
    stags: Int[Array, " B"]
    time: Int[Array, " B"]


class Rules(NamedTuple):
    """Numbers of a game."""

    size: int
    hunters: int
    stags: int
    hares: int
    punishment: float

    @property
    def prey(self) -> int:
        return self.stags + self.hares

    @property
    def goal(self) -> int:
        """The most stags that can be caught: each takes two hunters. One hunter alone never wins."""
        return max(1, min(self.stags, self.hunters // 2))


class Outcome(NamedTuple):
    """How a step went, (B,) each."""

    reward: Array
    over: Array
    won: Array


def begin(rules: Rules, luck: Float[Array, "U B"]) -> Hunt:
    """Everybody in a cell of its own, all such boards as likely. `luck`: a uniform number per unit.

    The k-th unit draws one of the cells - k free cells by its number; the taken ones below it, in order, push it up.
    """
    cells = rules.size**2
    taken: list[Array] = []
    drawn: list[Array] = []
    for k in range(rules.hunters + rules.prey):
        cell = jnp.minimum((luck[k] * (cells - k)).astype(jnp.int32), cells - k - 1)
        for other in taken:
            cell = cell + (cell >= other)
        drawn.append(cell)
        for j, other in enumerate(taken):  # keep them sorted
            taken[j], cell = jnp.minimum(other, cell), jnp.maximum(other, cell)
        taken.append(cell)
    cell, zero = jnp.stack(drawn), jnp.zeros(luck.shape[1], jnp.int32)
    return Hunt(cell % rules.size, cell // rules.size, jnp.ones(cell.shape, bool), zero, zero)


def occupied(state: Hunt, x: Array, y: Array) -> Bool[Array, " B"]:
    """Whether somebody stands in cells (B,)."""
    return ((state.x == x) & (state.y == y) & state.free).any(0)


def beside(state: Hunt, rules: Rules) -> Bool[Array, "N M B"]:
    """Which prey on the board is next to which hunter that is not frozen."""
    n = rules.hunters
    dx, dy = state.x[:n, None] - state.x[None, n:], state.y[:n, None] - state.y[None, n:]
    return (jnp.abs(dx) + jnp.abs(dy) == 1) & state.free[:n, None] & state.free[None, n:]


def pick(x: Array, which: Bool[Array, "n B"]) -> Array:
    """The entry of the one that `which` marks, (B,)."""
    return (x * which).sum(0)


def inside(rules: Rules, x: Array, y: Array) -> Bool[Array, "..."]:
    return (x >= 0) & (y >= 0) & (x < rules.size) & (y < rules.size)


def move_hunter(rules: Rules, state: Hunt, action: Int[Array, "N B"], mover: Bool[Array, "N B"]) -> Hunt:
    """One hunter goes where it wants to; into an occupied cell or off the board it does not."""
    n = rules.hunters
    act = pick(action, mover)
    dx, dy = (sum((jnp.where(act == i, int(d[i]), 0) for i in range(4)), jnp.zeros_like(act)) for d in (DX, DY))
    x, y = pick(state.x[:n], mover) + dx, pick(state.y[:n], mover) + dy
    goes = (act < STAY) & (mover & state.free[:n]).any(0) & inside(rules, x, y) & ~occupied(state, x, y)
    here = jnp.concatenate([mover, jnp.zeros((rules.prey, mover.shape[1]), bool)]) & goes
    return state._replace(x=jnp.where(here, x, state.x), y=jnp.where(here, y, state.y))


def turn_of_prey(
    rules: Rules, state: Hunt, catching: Bool[Array, "N B"], mover: Bool[Array, "M B"], luck: Float[Array, " B"]
) -> tuple[Hunt, Array]:
    """One prey is caught, or it moves to a random free neighbour (also where a catch failed); the reward (B,)."""
    n = rules.hunters
    x, y = pick(state.x[n:], mover), pick(state.y[n:], mover)
    here = (mover & state.free[n:]).any(0)
    near = jnp.abs(state.x[:n] - x) + jnp.abs(state.y[:n] - y) == 1
    catchers = near & catching & state.free[:n] & here
    count = catchers.sum(0)
    stag = mover[: rules.stags].any(0)
    need, pays = jnp.where(stag, STAG[0], HARE[0]), jnp.where(stag, STAG[1], HARE[1])
    caught = here & (count >= need)
    reward = jnp.where(caught, pays, jnp.where(count > 0, rules.punishment, 0.0))

    ways = [(x + dx, y + dy) for dx, dy in zip(DX, DY, strict=True)]
    open_ = jnp.stack([inside(rules, *cell) & ~occupied(state, *cell) for cell in ways])
    seen = open_.astype(jnp.int32).cumsum(0)
    way = open_ & (seen == jnp.floor(luck * seen[-1]).astype(jnp.int32) + 1)
    goes = here & ~caught
    to_x = x + jnp.where(goes, sum((way[i] * int(DX[i]) for i in range(4)), jnp.zeros_like(x)), 0)
    to_y = y + jnp.where(goes, sum((way[i] * int(DY[i]) for i in range(4)), jnp.zeros_like(y)), 0)
    me = jnp.concatenate([jnp.zeros((n, mover.shape[1]), bool), mover])
    gone = jnp.concatenate([catchers & caught, mover & caught])
    state = state._replace(
        x=jnp.where(me, to_x, state.x),
        y=jnp.where(me, to_y, state.y),
        free=state.free & ~gone,
        stags=state.stags + (caught & stag),
    )
    return state, reward


def luck_needed(rules: Rules) -> int:
    """Uniform numbers of a step: the order of hunters, that of the prey, and a way for each prey."""
    return rules.hunters + 2 * rules.prey


def advance(rules: Rules, state: Hunt, action: Int[Array, "N B"], luck: Float[Array, "K B"]) -> tuple[Hunt, Outcome]:
    """One step."""
    n, m = rules.hunters, rules.prey
    order, turns, ways = ranks(luck[:n]), ranks(luck[n : n + m]), luck[n + m :]
    for i in range(n):
        state = move_hunter(rules, state, action, order == i)
    reward = jnp.zeros(action.shape[1])
    for i in range(m):
        state, paid = turn_of_prey(rules, state, action == CATCH, turns == i, ways[i])
        reward = reward + paid
    state = state._replace(time=state.time + 1)
    over = ~state.free[:n].any(0) | ~state.free[n:].any(0)
    return state, Outcome(reward, over, state.stags >= rules.goal)


def available(rules: Rules, state: Hunt) -> Bool[Array, "N 6 B"]:
    """Moves that stay on the board; staying; catching next to a prey. The frozen can only stay."""
    n = rules.hunters
    moves = [inside(rules, state.x[:n] + dx, state.y[:n] + dy) for dx, dy in zip(DX, DY, strict=True)]
    catch = beside(state, rules).any(1)
    able = jnp.stack([*moves, jnp.ones_like(catch), catch], 1)
    stay = (np.arange(6) == STAY)[None, :, None]
    return jnp.where(state.free[:n, None], able, stay)


def windows(rules: Rules, state: Hunt, vision: int) -> Bool[Array, "N 3 W B"]:
    """What each hunter sees of the square around it: hunters (itself too), stags, hares; nothing once frozen.

    W = (2 vision + 1)^2 cells, row by row from the bottom left.
    """
    n, side = rules.hunters, 2 * vision + 1
    dx, dy = (z[None] - z[:n, None] + vision for z in (state.x, state.y))
    near = (dx >= 0) & (dx < side) & (dy >= 0) & (dy < side) & state.free[None] & state.free[:n, None]
    cell = jnp.where(near, dy * side + dx, -1)
    return grids(rules, cell, side * side)


def grids(rules: Rules, cell: Int[Array, "... U B"], cells: int) -> Bool[Array, "... 3 C B"]:
    """From the cell that each unit is in (-1: none) to a map of hunters, of stags, of hares."""
    n, s = rules.hunters, rules.stags
    at = jnp.arange(cells)[:, None]

    def one(low: int, high: int) -> Array:
        hit = jnp.zeros((*cell.shape[:-2], cells, cell.shape[-1]), bool)
        for unit in range(low, high):
            hit |= cell[..., unit, None, :] == at
        return hit

    return jnp.stack([one(0, n), one(n, n + s), one(n + s, n + rules.prey)], -3)


def board(rules: Rules, state: Hunt) -> Bool[Array, "3 C B"]:
    """The whole board as maps of hunters, stags and hares, row by row from the bottom left."""
    return grids(rules, jnp.where(state.free, state.y * rules.size + state.x, -1), rules.size**2)


def goals(rules: Rules, state: Hunt) -> Goals:
    """Prey j as a goal of each hunter, arrays with the games *last*. Progress is coming nearer; caught is reached."""
    n = rules.hunters
    dx, dy = state.x[None, n:] - state.x[:n, None], state.y[None, n:] - state.y[:n, None]
    steps = jnp.abs(dx) + jnp.abs(dy)
    far = steps / rules.size
    there = jnp.broadcast_to(state.free[None, n:], far.shape)
    # Hunters beside a prey, of whom a stag takes two.
    beside = jnp.broadcast_to(((steps == 1) & state.free[:n, None]).sum(0, keepdims=True), far.shape)
    stag = jnp.broadcast_to((np.arange(rules.prey) < rules.stags)[None, :, None], far.shape)
    features = [dx / rules.size, dy / rules.size, far, beside / 2, stag]
    return Goals(
        features=jnp.stack([jnp.asarray(x, jnp.float32) for x in features], 2),
        valid=there & state.free[:n, None],
        potential=-far,
        reached=~there,
        thing=jnp.broadcast_to(jnp.arange(rules.prey)[None, :, None], far.shape),
    )

"""The rules of the stag hunt: hunters move one after another, then the prey. B games at once, batch axis *last*.

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
"""Hunters that must catch it at once, and the reward."""


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
    """Constants of a game."""

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
    """Reward, end and success of a step, (B,) each."""

    reward: Array
    over: Array
    won: Array


def init_hunt(rules: Rules, noise: Float[Array, "U B"]) -> Hunt:
    """Initial states: all units in different cells, uniformly; `noise` is one uniform number per unit.

    The k-th unit draws one of the cells - k free cells. Its number rises by one for every taken cell up to it.
    """
    cells = rules.size**2
    taken: list[Array] = []
    drawn: list[Array] = []
    for k in range(rules.hunters + rules.prey):
        cell = jnp.minimum((noise[k] * (cells - k)).astype(jnp.int32), cells - k - 1)
        for other in taken:
            cell = cell + (cell >= other)
        drawn.append(cell)
        for j, other in enumerate(taken):  # keep them sorted
            taken[j], cell = jnp.minimum(other, cell), jnp.maximum(other, cell)
        taken.append(cell)
    cell, zero = jnp.stack(drawn), jnp.zeros(noise.shape[1], jnp.int32)
    return Hunt(cell % rules.size, cell // rules.size, jnp.ones(cell.shape, bool), zero, zero)


def occupied(state: Hunt, x: Array, y: Array) -> Bool[Array, " B"]:
    """Whether a cell of each game is occupied, (B,)."""
    return ((state.x == x) & (state.y == y) & state.free).any(0)


def adjacent_prey(state: Hunt, rules: Rules) -> Bool[Array, "N M B"]:
    """Which prey on the board is next to which hunter, for hunters that are not frozen."""
    n = rules.hunters
    dx, dy = state.x[:n, None] - state.x[None, n:], state.y[:n, None] - state.y[None, n:]
    return (jnp.abs(dx) + jnp.abs(dy) == 1) & state.free[:n, None] & state.free[None, n:]


def take_marked(x: Array, which: Bool[Array, "n B"]) -> Array:
    """The entry that `which` marks, (B,)."""
    return (x * which).sum(0)


def inside(rules: Rules, x: Array, y: Array) -> Bool[Array, "..."]:
    return (x >= 0) & (y >= 0) & (x < rules.size) & (y < rules.size)


def move_hunter(rules: Rules, state: Hunt, action: Int[Array, "N B"], mover: Bool[Array, "N B"]) -> Hunt:
    """Move one hunter; it stays if the cell is occupied or off the board."""
    n = rules.hunters
    act = take_marked(action, mover)
    dx, dy = (sum((jnp.where(act == i, int(d[i]), 0) for i in range(4)), jnp.zeros_like(act)) for d in (DX, DY))
    x, y = take_marked(state.x[:n], mover) + dx, take_marked(state.y[:n], mover) + dy
    goes = (act < STAY) & (mover & state.free[:n]).any(0) & inside(rules, x, y) & ~occupied(state, x, y)
    moved = jnp.concatenate([mover, jnp.zeros((rules.prey, mover.shape[1]), bool)]) & goes
    return state._replace(x=jnp.where(moved, x, state.x), y=jnp.where(moved, y, state.y))


def move_prey(
    rules: Rules, state: Hunt, catching: Bool[Array, "N B"], mover: Bool[Array, "M B"], noise: Float[Array, " B"]
) -> tuple[Hunt, Array]:
    """One prey is caught, or moves to a random free neighbouring cell; also returns the reward (B,)."""
    n = rules.hunters
    x, y = take_marked(state.x[n:], mover), take_marked(state.y[n:], mover)
    present = (mover & state.free[n:]).any(0)
    near = jnp.abs(state.x[:n] - x) + jnp.abs(state.y[:n] - y) == 1
    catchers = near & catching & state.free[:n] & present
    count = catchers.sum(0)
    stag = mover[: rules.stags].any(0)
    need, reward_if_caught = jnp.where(stag, STAG[0], HARE[0]), jnp.where(stag, STAG[1], HARE[1])
    caught = present & (count >= need)
    reward = jnp.where(caught, reward_if_caught, jnp.where(count > 0, rules.punishment, 0.0))

    neighbour_cells = [(x + dx, y + dy) for dx, dy in zip(DX, DY, strict=True)]
    is_free = jnp.stack([inside(rules, *cell) & ~occupied(state, *cell) for cell in neighbour_cells])
    seen = is_free.astype(jnp.int32).cumsum(0)
    direction = is_free & (seen == jnp.floor(noise * seen[-1]).astype(jnp.int32) + 1)
    goes = present & ~caught
    to_x = x + jnp.where(goes, sum((direction[i] * int(DX[i]) for i in range(4)), jnp.zeros_like(x)), 0)
    to_y = y + jnp.where(goes, sum((direction[i] * int(DY[i]) for i in range(4)), jnp.zeros_like(y)), 0)
    is_mover = jnp.concatenate([jnp.zeros((n, mover.shape[1]), bool), mover])
    gone = jnp.concatenate([catchers & caught, mover & caught])
    state = state._replace(
        x=jnp.where(is_mover, to_x, state.x),
        y=jnp.where(is_mover, to_y, state.y),
        free=state.free & ~gone,
        stags=state.stags + (caught & stag),
    )
    return state, reward


def step_noise_size(rules: Rules) -> int:
    """How many uniform numbers a step needs: for the order of hunters, the order of prey, and the move of each prey."""
    return rules.hunters + 2 * rules.prey


def advance(rules: Rules, state: Hunt, action: Int[Array, "N B"], noise: Float[Array, "K B"]) -> tuple[Hunt, Outcome]:
    """One step of all games."""
    n, m = rules.hunters, rules.prey
    order, prey_order, prey_noise = ranks(noise[:n]), ranks(noise[n : n + m]), noise[n + m :]
    for i in range(n):
        state = move_hunter(rules, state, action, order == i)
    reward = jnp.zeros(action.shape[1])
    for i in range(m):
        state, prey_reward = move_prey(rules, state, action == CATCH, prey_order == i, prey_noise[i])
        reward = reward + prey_reward
    state = state._replace(time=state.time + 1)
    over = ~state.free[:n].any(0) | ~state.free[n:].any(0)
    return state, Outcome(reward, over, state.stags >= rules.goal)


def available(rules: Rules, state: Hunt) -> Bool[Array, "N 6 B"]:
    """Available actions: moves on the board, staying, and catching next to a prey; frozen hunters can only stay."""
    n = rules.hunters
    moves = [inside(rules, state.x[:n] + dx, state.y[:n] + dy) for dx, dy in zip(DX, DY, strict=True)]
    catch = adjacent_prey(state, rules).any(1)
    able = jnp.stack([*moves, jnp.ones_like(catch), catch], 1)
    stay = (np.arange(6) == STAY)[None, :, None]
    return jnp.where(state.free[:n, None], able, stay)


def windows(rules: Rules, state: Hunt, vision: int) -> Bool[Array, "N 3 W B"]:
    """Maps of the square around each hunter: hunters (itself too), stags, hares; zeros for frozen hunters.

    W = (2 vision + 1)^2 cells, row by row from the bottom left.
    """
    n, side = rules.hunters, 2 * vision + 1
    dx, dy = (z[None] - z[:n, None] + vision for z in (state.x, state.y))
    near = (dx >= 0) & (dx < side) & (dy >= 0) & (dy < side) & state.free[None] & state.free[:n, None]
    cell = jnp.where(near, dy * side + dx, -1)
    return grids(rules, cell, side * side)


def grids(rules: Rules, cell: Int[Array, "... U B"], cells: int) -> Bool[Array, "... 3 C B"]:
    """Maps of hunters, stags and hares, from the cell of each unit (-1: none)."""
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
    """Goals of each hunter, with the batch axis *last*: prey j. Progress is coming nearer; a caught prey is reached."""
    n = rules.hunters
    dx, dy = state.x[None, n:] - state.x[:n, None], state.y[None, n:] - state.y[:n, None]
    steps = jnp.abs(dx) + jnp.abs(dy)
    path = steps / rules.size
    on_board = jnp.broadcast_to(state.free[None, n:], path.shape)
    # Hunters beside a prey, of whom a stag takes two.
    hunters_beside = jnp.broadcast_to(((steps == 1) & state.free[:n, None]).sum(0, keepdims=True), path.shape)
    stag = jnp.broadcast_to((np.arange(rules.prey) < rules.stags)[None, :, None], path.shape)
    features = [dx / rules.size, dy / rules.size, path, hunters_beside / 2, stag]
    return Goals(
        features=jnp.stack([jnp.asarray(x, jnp.float32) for x in features], 2),
        valid=on_board & state.free[:n, None],
        potential=-path,
        reached=~on_board,
        thing=jnp.broadcast_to(jnp.arange(rules.prey)[None, :, None], path.shape),
    )

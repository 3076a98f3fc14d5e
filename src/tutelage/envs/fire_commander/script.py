"""Hand-written controllers of FireCommander, which differ in how much they know."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.envs.fire_commander.rules import DOUSE, STAY, Rules
from tutelage.envs.fire_commander.senses import REGION
from tutelage.envs.parts import controller, greedy_matching
from tutelage.types import Carry, Policy, TimeStep

FireChoice = Callable[[TimeStep], tuple[Array, Array]]
"""timestep -> offset (B, A, 2) of each action agent to its fire, and whether it has one (B, A)."""


def sweep_routes(rules: Rules) -> np.ndarray:
    """Cells that each perception agent visits in turn, (P, K, 2): up and down the lanes of its strip of the map."""
    side, p = 2 * rules.vision + 1, rules.perception
    edges = np.linspace(0, rules.size, p + 1)
    count = int(np.ceil((edges[1] - edges[0]) / side))
    low, high = min(rules.vision, rules.size - 1), max(0, rules.size - 1 - rules.vision)
    routes = []
    for left, right in pairwise(edges):
        columns = np.linspace(left, right, 2 * count + 1)[1::2] - 0.5
        ends = [(x, y) for i, x in enumerate(columns) for y in ((low, high) if i % 2 == 0 else (high, low))]
        routes.append(np.clip(np.round(ends), 0, rules.size - 1))
    return np.array(routes, int)


def move_along(offset: Int[Array, "... 2"]) -> Int[Array, "..."]:
    """The move along the larger coordinate of an offset; staying where it is 0."""
    dx, dy = offset[..., 0], offset[..., 1]
    across, up = jnp.where(dx > 0, 3, 2), jnp.where(dy > 0, 0, 1)
    return jnp.where((dx == 0) & (dy == 0), STAY, jnp.where(jnp.abs(dx) > jnp.abs(dy), across, up))


def agent_cells(rules: Rules, timestep: TimeStep) -> Int[Array, "B N 2"]:
    """Cells of the agents, (x, y), from their own observations."""
    return jnp.round((timestep.obs[..., :2] + 1) / 2 * (rules.size - 1)).astype(jnp.int32)


def sweep_and_douse(rules: Rules, choose_fire: FireChoice) -> Policy:
    """A controller: perception agents sweep their strips, action agents go to the fire of `choose_fire` and douse."""
    route = jnp.asarray(sweep_routes(rules))
    p, corners = rules.perception, route.shape[1]

    def act(corner: Int[Array, "B P"], ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
        cells = agent_cells(rules, ts)[:, :p]
        goal = jnp.take_along_axis(route[None], corner[..., None, None], 2)[:, :, 0]
        corner = jnp.where((goal == cells).all(-1), (corner + 1) % corners, corner)
        goal = jnp.take_along_axis(route[None], corner[..., None, None], 2)[:, :, 0]
        offset, has_fire = choose_fire(ts)
        fire_action = jnp.where((offset == 0).all(-1), DOUSE, move_along(offset))
        return corner, jnp.concatenate([move_along(goal - cells), jnp.where(has_fire, fire_action, STAY)], 1)

    return controller(act, carry=lambda n: jnp.zeros((n, p), jnp.int32))


def nearest_known_fire(rules: Rules, radio: bool) -> FireChoice:
    """Every agent takes the nearest fire that it knows of; without a radio it knows of none."""

    def aim(ts: TimeStep) -> tuple[Array, Array]:
        if not radio:
            nothing = jnp.zeros((ts.obs.shape[0], rules.action, 2), jnp.int32)
            return nothing, nothing[..., 0] > 0
        log = ts.obs[:, rules.perception :, 2 : 2 + REGION * rules.regions]
        log = log.reshape(*log.shape[:2], rules.regions, REGION)
        way = jnp.round(log[..., 2:] * rules.size).astype(jnp.int32)
        far = jnp.where(log[..., 0] > 0, jnp.abs(way).sum(-1), 999)
        best = far.argmin(-1)
        way = jnp.take_along_axis(way, best[..., None, None], 2)[:, :, 0]
        return way, far.min(-1) < 999

    return aim


def assigned_fires(rules: Rules) -> FireChoice:
    """Fires in the world state are assigned to different agents, the nearest pair first."""

    def one(at: Int[Array, "A 2"], burns: Float[Array, " C"]) -> tuple[Array, Array]:
        x, y = jnp.asarray(rules.cell_x), jnp.asarray(rules.cell_y)
        far = jnp.abs(at[:, :1] - x) + jnp.abs(at[:, 1:] - y)
        match = greedy_matching(jnp.where(burns > 0, far.astype(jnp.float32), jnp.inf))
        return jnp.stack([x[match], y[match]], -1) - at, jnp.broadcast_to(burns.any(), match.shape)

    def aim(ts: TimeStep) -> tuple[Array, Array]:
        burns = ts.state[:, 2 * rules.agents : 2 * rules.agents + rules.cells]
        return jax.vmap(one)(agent_cells(rules, ts)[:, rules.perception :], burns)

    return aim

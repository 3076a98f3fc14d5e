"""Hand-written controllers of FireCommander, from what one agent knows to what nobody could."""

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

Aim = Callable[[TimeStep], tuple[Array, Array]]
"""timestep -> way (B, A, 2) of each action agent to the fire it goes to, and whether it has one (B, A)."""


def lanes(rules: Rules) -> np.ndarray:
    """Corners that each perception agent visits in turn, (P, K, 2): up and down the lanes of its strip of the map."""
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


def toward(way: Int[Array, "... 2"]) -> Int[Array, "..."]:
    """The move along the longer side of the way; staying where there is none."""
    dx, dy = way[..., 0], way[..., 1]
    across, up = jnp.where(dx > 0, 3, 2), jnp.where(dy > 0, 0, 1)
    return jnp.where((dx == 0) & (dy == 0), STAY, jnp.where(jnp.abs(dx) > jnp.abs(dy), across, up))


def places(rules: Rules, timestep: TimeStep) -> Int[Array, "B N 2"]:
    """Where the agents are, from their own observations."""
    return jnp.round((timestep.obs[..., :2] + 1) / 2 * (rules.size - 1)).astype(jnp.int32)


def crew(rules: Rules, aim: Aim) -> Policy:
    """Perception agents sweep their strips; action agents go where `aim` says and douse there."""
    route = jnp.asarray(lanes(rules))
    p, corners = rules.perception, route.shape[1]

    def act(corner: Int[Array, "B P"], ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
        at = places(rules, ts)[:, :p]
        goal = jnp.take_along_axis(route[None], corner[..., None, None], 2)[:, :, 0]
        corner = jnp.where((goal == at).all(-1), (corner + 1) % corners, corner)
        goal = jnp.take_along_axis(route[None], corner[..., None, None], 2)[:, :, 0]
        way, some = aim(ts)
        work = jnp.where((way == 0).all(-1), DOUSE, toward(way))
        return corner, jnp.concatenate([toward(goal - at), jnp.where(some, work, STAY)], 1)

    return controller(act, carry=lambda n: jnp.zeros((n, p), jnp.int32))


def nearest_heard(rules: Rules, radio: bool) -> Aim:
    """The nearest fire in an agent's own log; without a radio it hears of none."""

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


def assigned(rules: Rules) -> Aim:
    """Fires that the world state tells of, each to another agent, the nearest pair first."""

    def one(at: Int[Array, "A 2"], burns: Float[Array, " C"]) -> tuple[Array, Array]:
        x, y = jnp.asarray(rules.cell_x), jnp.asarray(rules.cell_y)
        far = jnp.abs(at[:, :1] - x) + jnp.abs(at[:, 1:] - y)
        match = greedy_matching(jnp.where(burns > 0, far.astype(jnp.float32), jnp.inf))
        return jnp.stack([x[match], y[match]], -1) - at, jnp.broadcast_to(burns.any(), match.shape)

    def aim(ts: TimeStep) -> tuple[Array, Array]:
        burns = ts.state[:, 2 * rules.agents : 2 * rules.agents + rules.cells]
        return jax.vmap(one)(places(rules, ts)[:, rules.perception :], burns)

    return aim

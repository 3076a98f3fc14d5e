"""Hand-written controllers of MARINE: ships short of fuel meet a logistics ship."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.envs.marine.rules import STAY, Rules
from tutelage.envs.parts import controller
from tutelage.types import Carry, Policy, TimeStep


def move_along(dx: Int[Array, "..."], dy: Int[Array, "..."]) -> Int[Array, "..."]:
    """The move along the larger coordinate of an offset; staying where it is 0."""
    across, up = jnp.where(dx > 0, 1, 3), jnp.where(dy > 0, 0, 2)
    return jnp.where((dx == 0) & (dy == 0), STAY, jnp.where(jnp.abs(dx) >= jnp.abs(dy), across, up))


def meet_when_short(rules: Rules, reach: float) -> Policy:
    """A controller: each ship short of fuel, the fullest first, meets the nearest free logistics ship in `reach`.

    Both sail towards each other, and then together to the destination while fuel is transferred. Free logistics ships
    wait in a column that all routing ships pass, each in a strip of rows.
    """
    r, n, size = rules.routing, rules.ships, rules.size
    post_x, post_y = size // 3, (np.arange(n - r) + 0.5) * size / (n - r) - 0.5

    def act_one(state: Float[Array, " S"]) -> Int[Array, " N"]:
        u = n + rules.raiders
        x, y, goal, fuel, arrived = jnp.split(state[:-1], [u, 2 * u, 2 * u + r, 2 * u + 2 * r])
        cell = lambda z: jnp.round((z + 1) / 2 * (size - 1)).astype(jnp.int32)
        x, y, goal, fuel = cell(x[:n]), cell(y[:n]), cell(goal), jnp.round(fuel * size)
        left = size - 1 - x[:r] + jnp.abs(goal - y[:r])
        short = (left > fuel) & (arrived == 0)
        dx, dy = x[None, r:] - x[:r, None], y[None, r:] - y[:r, None]
        far = jnp.where(dx**2 + dy**2 <= reach**2, jnp.abs(dx) + jnp.abs(dy), jnp.inf)
        order = jnp.argsort(jnp.where(short, -fuel, jnp.inf))

        def match(taken: Array, i: Array) -> tuple[Array, Array]:
            row = jnp.where(taken, jnp.inf, far[i])
            mine = (jnp.arange(n - r) == row.argmin()) & jnp.isfinite(row.min()) & short[i]
            return taken | mine, mine

        _, rows = jax.lax.scan(match, jnp.zeros(n - r, bool), order)
        paired = jnp.zeros((r, n - r), bool).at[order].set(rows)
        to = lambda d: (d * paired).sum(1)
        gap = jnp.abs(to(dx)) + jnp.abs(to(dy))
        home = move_along(size - 1 - x[:r], goal - y[:r])
        # The last cell between two is crossed by one of them, or they would change places.
        routing = jnp.where(~paired.any(1) | (gap == 0), home, jnp.where(gap == 1, STAY, move_along(to(dx), to(dy))))
        met = (paired & (gap == 0)[:, None]).any(0)
        back_x, back_y = -(dx * paired).sum(0), -(dy * paired).sum(0)
        # Logistics ships go up or down first: two that both went sideways would pass each other.
        meet = jnp.where(back_y != 0, move_along(jnp.zeros_like(back_y), back_y), move_along(back_x, back_y))
        along = (paired * home[:, None]).sum(0)
        free = move_along(jnp.round(post_x - x[r:]).astype(jnp.int32), jnp.round(post_y - y[r:]).astype(jnp.int32))
        return jnp.concatenate([routing, jnp.where(paired.any(0), jnp.where(met, along, meet), free)])

    def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
        return carry, jax.vmap(act_one)(ts.state)

    return controller(act)

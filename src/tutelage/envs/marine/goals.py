"""Goals in MARINE: to sail to the destination, or to meet a ship."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tutelage.envs.marine.rules import Rules, Voyage, distance, needs
from tutelage.types import Goals


def goals(rules: Rules, state: Voyage) -> Goals:
    """Goals of each ship, with the batch axis *last*: its own destination, then every ship.

    A routing ship sails to its destination, or meets a logistics ship while it needs fuel. A logistics ship meets a
    routing ship that needs fuel. A meeting is reached when the routing ship can arrive with the fuel it has. Features
    hold the shown fuel, which is one step late; `valid`, `reached` and `potential` use the fuel in the tanks.
    """
    n, r, b = rules.ships, rules.routing, state.time.shape[0]
    x, y = state.x[:n], state.y[:n]
    home_x, home_y = jnp.full((r, b), rules.size - 1), state.goal
    own = lambda home, here: jnp.concatenate([home - here[:r], jnp.zeros((n - r, b), jnp.int32)])[:, None]
    dx = jnp.concatenate([own(home_x, x), x[None] - x[:, None]], 1)
    dy = jnp.concatenate([own(home_y, y), y[None] - y[:, None]], 1)
    path = (jnp.abs(dx) + jnp.abs(dy)) / rules.size

    short_of_fuel = jnp.concatenate([needs(rules, state), jnp.zeros((n - r, b), bool)])  # of every ship
    routing = np.arange(n) < r
    meets = (routing[:, None] != routing[None])[..., None]
    # Of the ship that is refuelled at a meeting of i and j: whichever of them is a routing ship.
    of_pair = lambda x: jnp.where(routing[:, None, None], x[:, None], x[None])
    needy = of_pair(short_of_fuel)

    def missing_fuel(fuel: Array) -> Array:
        missing = jnp.concatenate([(distance(rules, state) - fuel) / rules.size, jnp.zeros((n - r, b))])
        return jnp.concatenate([missing[:, None], of_pair(missing)], 1)

    sails = jnp.concatenate([~state.arrived, jnp.zeros((n - r, b), bool)])[:, None]
    home = jnp.broadcast_to((np.arange(n + 1) == 0)[None, :, None], path.shape)
    kind = jnp.broadcast_to(routing[:, None, None], path.shape)
    valid = jnp.concatenate([sails, meets & needy], 1)
    progress = jnp.where(home, -path, -path - 2 * jnp.maximum(missing_fuel(state.fuel), 0))
    done = jnp.concatenate([~sails, ~needy], 1)
    # Ships share no port, and who meets whom concerns the ship that is met.
    thing = np.where(np.arange(n + 1) == 0, n + np.arange(n)[:, None], np.arange(n + 1) - 1)
    features = [kind, home, dx / rules.size, dy / rules.size, path, missing_fuel(state.gauge)]
    return Goals(
        features=jnp.stack([f.astype(jnp.float32) for f in features], 2),
        valid=valid,
        potential=progress,
        reached=done,
        thing=jnp.broadcast_to(thing[..., None], path.shape),
    )

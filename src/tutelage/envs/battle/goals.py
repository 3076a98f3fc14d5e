"""What units of a battle can be sent to do: to bring an enemy down."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from tutelage.envs.battle.rules import Battle, Rules
from tutelage.envs.battle.units import MAP_SIZE
from tutelage.types import Goals

MOST = 17
"""How many enemies a unit is offered as goals: the nearest of those that stand."""


def goals(rules: Rules, state: Battle) -> Goals:
    """Enemy j as a goal of who can hit it, the battles *last*; progress is what it has lost, and coming nearer.

    Where more than `MOST` stand, only the nearest are possible.
    """
    n, traits = rules.allies, rules.traits(state.kind)
    left = state.health + state.shield if rules.shielded else state.health
    full = traits.health + traits.shield if rules.shielded else traits.health
    share, alive = jnp.where(state.health > 0, left / full, 0.0), state.health > 0
    dx, dy = state.x[None, n:] - state.x[:n, None], state.y[None, n:] - state.y[:n, None]
    far = jnp.sqrt(dx**2 + dy**2)
    pair = lambda x: jnp.broadcast_to(x, far.shape)
    own, theirs, up = pair(share[:n, None]), pair(share[None, n:]), pair(alive[None, n:])
    in_reach = far <= pair(jnp.broadcast_to(traits.range, state.x.shape)[:n, None])
    valid = up & alive[:n, None] & rules.can_hit[:n, n:, None]
    if far.shape[1] > MOST:
        valid &= far <= jnp.sort(jnp.where(up, far, jnp.inf), 1)[:, [MOST - 1]]
    features: list[Array] = [dx / MAP_SIZE, dy / MAP_SIZE, far / MAP_SIZE, own, theirs, in_reach]
    return Goals(
        features=jnp.stack([x.astype(jnp.float32) for x in features], 2),
        valid=valid,
        potential=-theirs - far / MAP_SIZE,
        reached=~up,
        thing=pair(jnp.arange(far.shape[1])[None, :, None]),
    )

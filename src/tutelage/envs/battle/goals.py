"""Goals of allies in a battle: one per enemy, to defeat it."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from tutelage.envs.battle.rules import Battle, Rules
from tutelage.envs.battle.units import MAP_SIZE
from tutelage.types import Goals

MAX_GOALS = 17
"""Most enemies that are valid goals of a unit: the nearest living ones."""


def goals(rules: Rules, state: Battle) -> Goals:
    """Goals of every ally, with the batch axis *last*: enemy j, valid for units that can hit it.

    Progress is the health that the enemy has lost, and coming nearer. Of more than `MAX_GOALS` living enemies only the
    nearest are valid.
    """
    n, traits = rules.allies, rules.traits(state.kind)
    points = state.health + state.shield if rules.shielded else state.health
    full_points = traits.health + traits.shield if rules.shielded else traits.health
    share, alive = jnp.where(state.health > 0, points / full_points, 0.0), state.health > 0
    dx, dy = state.x[None, n:] - state.x[:n, None], state.y[None, n:] - state.y[:n, None]
    far = jnp.sqrt(dx**2 + dy**2)
    per_pair = lambda x: jnp.broadcast_to(x, far.shape)
    own_share, enemy_share, standing = per_pair(share[:n, None]), per_pair(share[None, n:]), per_pair(alive[None, n:])
    in_reach = far <= per_pair(jnp.broadcast_to(traits.range, state.x.shape)[:n, None])
    valid = standing & alive[:n, None] & rules.can_hit[:n, n:, None]
    if far.shape[1] > MAX_GOALS:
        valid &= far <= jnp.sort(jnp.where(standing, far, jnp.inf), 1)[:, [MAX_GOALS - 1]]
    features: list[Array] = [dx / MAP_SIZE, dy / MAP_SIZE, far / MAP_SIZE, own_share, enemy_share, in_reach]
    return Goals(
        features=jnp.stack([x.astype(jnp.float32) for x in features], 2),
        valid=valid,
        potential=-enemy_share - far / MAP_SIZE,
        reached=~standing,
        thing=per_pair(jnp.arange(far.shape[1])[None, :, None]),
    )

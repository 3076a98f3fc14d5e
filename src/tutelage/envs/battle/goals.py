"""What units of a battle can be sent to do: to bring an enemy down."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from tutelage.envs.battle.rules import Battle, Rules
from tutelage.envs.battle.units import MAP_SIZE
from tutelage.types import Goals


def goals(rules: Rules, state: Battle) -> Goals:
    """Enemy j as a goal of who can hit it, the battles *last*. Progress is what it has lost, and coming nearer."""
    n, traits = rules.allies, rules.traits(state.kind)
    left = state.health + state.shield if rules.shielded else state.health
    full = traits.health + traits.shield if rules.shielded else traits.health
    share, alive = jnp.where(state.health > 0, left / full, 0.0), state.health > 0
    dx, dy = state.x[None, n:] - state.x[:n, None], state.y[None, n:] - state.y[:n, None]
    far = jnp.sqrt(dx**2 + dy**2)
    pair = lambda x: jnp.broadcast_to(x, far.shape)
    own, theirs, up = pair(share[:n, None]), pair(share[None, n:]), pair(alive[None, n:])
    in_reach = far <= pair(jnp.broadcast_to(traits.range, state.x.shape)[:n, None])
    features: list[Array] = [dx / MAP_SIZE, dy / MAP_SIZE, far / MAP_SIZE, own, theirs, in_reach]
    return Goals(
        features=jnp.stack([x.astype(jnp.float32) for x in features], 2),
        valid=up & alive[:n, None] & rules.can_hit[:n, n:, None],
        potential=-theirs - far / MAP_SIZE,
        reached=~up,
        thing=pair(jnp.arange(far.shape[1])[None, :, None]),
    )

"""The enemies' script: attack the closest ally in range and keep attacking it, else follow a visible one.

It is SMAX's heuristic (jaxmarl 0.2.0, attack mode `closest`) and makes the same choices from the same state. Healers
are an addition: they follow and heal the most wounded mate they see.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tutelage.envs.battle.rules import MOVES, Battle, Rules
from tutelage.envs.battle.space import distances


def enemy_actions(
    rules: Rules, state: Battle, noise: Float[Array, "M B"]
) -> tuple[Int[Array, "M B"], Int[Array, "M B"]]:
    """Actions of all enemies, and whom each attacks (-1: nobody).

    Args:
        noise: uniform in [0, 1); it chooses which visible unit an enemy follows.
    """
    n, traits = rules.allies, rules.traits(state.kind)
    alive = state.health > 0
    # Enemies count allies backwards: their action 5 + k attacks ally n - 1 - k.
    hittable = rules.can_hit[n:, :n][:, ::-1, None]
    dx, dy, distance = (d[:, ::-1] for d in distances(state.x, state.y, slice(n, None), slice(0, n)))
    visible_pairs = alive[n:, None] & alive[:n][::-1][None] & hittable
    seen = visible_pairs & (distance < traits.sight[n:, None])
    in_range = seen & (distance < traits.range[n:, None])
    same = state.target[:, None] == jnp.arange(n)[None, :, None]
    closest = jnp.where(in_range, distance, jnp.inf).argmin(1)
    stays = (same & in_range).any(1)
    can_attack = in_range.any(1)
    target = jnp.where(can_attack, jnp.where(stays, state.target, closest), -1)
    follow_x, follow_y = direction_to_random(seen, dx, dy, noise)
    any_seen = seen.any(1)
    towards_x = jnp.where(any_seen, follow_x, state.goal_x - state.x[n:])
    towards_y = jnp.where(any_seen, follow_y, state.goal_y - state.y[n:])
    action = jnp.where(can_attack, target + MOVES, heading(towards_x, towards_y))
    if rules.healer[n:].any():
        healers = rules.healer[n:][:, None]
        action = jnp.where(healers, healer_actions(rules, state, alive, towards_x, towards_y), action)
        target = jnp.where(healers, -1, target)
    return action, target


def direction_to_random(
    seen: Array, dx: Array, dy: Array, noise: Float[Array, "M B"]
) -> tuple[Float[Array, "M B"], Float[Array, "M B"]]:
    """Offset to a uniformly chosen visible unit."""
    count = seen.astype(jnp.float32).cumsum(1)
    number = jnp.floor(noise * count[:, -1]) + 1
    picked = seen & (count == number[:, None])
    return (picked * dx).sum(1), (picked * dy).sum(1)


def heading(x: Array, y: Array) -> Array:
    """The move (0 up, 1 right, 2 down, 3 left) that is closest to a direction."""
    return jnp.stack([y, x, -y, -x]).argmax(0)


def healer_actions(rules: Rules, state: Battle, alive: Array, else_x: Array, else_y: Array) -> Int[Array, "M B"]:
    """Actions of healers: heal the mate with the smallest share of its health, or go to it."""
    n, traits = rules.allies, rules.traits(state.kind)
    mates = slice(n, None)
    dx, dy, distance = (d[:, ::-1] for d in distances(state.x, state.y, mates, mates))  # counted backwards
    health_share = (state.health / traits.health)[n:][::-1]
    seen = rules.can_heal[n:, n:][:, ::-1, None] & alive[n:, None] & alive[n:][::-1][None]
    seen &= distance < traits.sight[n:, None]
    worst = jnp.where(seen, health_share[None], jnp.inf).argmin(1)
    picked = (worst[:, None] == jnp.arange(rules.enemies)[None, :, None]) & seen
    near = (picked & (distance < traits.range[n:, None])).any(1)
    wounded = (picked & (health_share < 1)[None]).any(1)
    to_x = jnp.where(seen.any(1), (picked * dx).sum(1), else_x)
    to_y = jnp.where(seen.any(1), (picked * dy).sum(1), else_y)
    return jnp.where(near & wounded, worst + MOVES, heading(to_x, to_y))

"""How battles begin: places and, on some maps, kinds. One array of uniform numbers makes B battles."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from tutelage.envs.battle.healing import START_ENERGY
from tutelage.envs.battle.rules import Battle, Rules, push_apart
from tutelage.envs.battle.units import MAP_SIZE, NATIVE

SPREAD = 2.0
"""How far from their team's start units stand, at most, in each direction."""
CORNERS = 4


def numbers(rules: Rules) -> int:
    """How many uniform numbers a battle's beginning takes."""
    units = len(rules.units)
    return 2 * units + (units + rules.allies + CORNERS + 2 if rules.map.draws_units else 0)


def begin(rules: Rules, luck: Float[Array, "K B"]) -> Battle:
    """New battles from `numbers(rules)` uniform numbers each."""
    n, units = rules.allies, len(rules.units)
    noise_x, noise_y = ((2 * luck[i * units : (i + 1) * units] - 1) * SPREAD for i in range(2))
    kind: Any = ()
    if rules.map.draws_units:
        more = luck[2 * units :]
        kind = jnp.floor(more[:n] * len(NATIVE)).astype(jnp.int32)
        kind = jnp.concatenate([kind, kind])
        x, y = drawn_places(n, noise_x, noise_y, luck[: 2 * units], more[n:])
    else:
        ally, enemy = rules.map.ally_start, rules.map.enemy_start
        start_x, start_y = (jnp.array([[ally[i]]] * n + [[enemy[i]]] * rules.enemies) for i in range(2))
        x, y = start_x + noise_x, start_y + noise_y
    zero, traits = jnp.zeros_like(x), rules.traits(kind)
    energy = jnp.where(rules.healer[:, None], START_ENERGY, 0.0)
    state = Battle(
        x=x,
        y=y,
        health=zero + traits.health,
        cooldown=zero + energy,
        shield=zero + traits.shield if rules.shielded else (),
        unhurt=zero if rules.shielded else (),
        patient=jnp.full((len(rules.healers), x.shape[-1]), -1) if rules.healers else (),
        move_x=zero,
        move_y=zero,
        attack=jnp.zeros(x.shape, jnp.int32),
        kind=kind,
        goal_x=zero[n:],
        goal_y=zero[n:],
        target=jnp.full(x[n:].shape, -1),
        time=jnp.zeros(x.shape[1:], jnp.int32),
    )
    x, y = push_apart(rules, x, y, state.health > 0, traits.radius)
    return state._replace(x=x, y=y, goal_x=MAP_SIZE - x[n:], goal_y=MAP_SIZE - y[n:])


def drawn_places(n: int, noise_x: Array, noise_y: Array, luck: Array, more: Array) -> tuple[Array, Array]:
    """SMACv2's starts: one team surrounds the other, or the teams stand mirrored, each half of the time.

    Surrounding: one team (either) in the middle, every unit of the other in one of four groups, each somewhere on
    the way from the middle to its corner.
    """
    corner_of, way, inside, surround = more[: 2 * n], more[2 * n : -2], more[-2], more[-1]
    half = MAP_SIZE / 2
    group = jnp.floor(corner_of * CORNERS)
    along = sum(jnp.where(group == g, way[g], 0.0) for g in range(CORNERS))  # 1: the middle, 0: the corner
    corner_x = jnp.where(group < 2, 0.0, MAP_SIZE)
    corner_y = jnp.where((group == 0) | (group == 2), 0.0, MAP_SIZE)
    first = jnp.arange(2 * n)[:, None] < n
    middle = first == (inside < 0.5)
    round_x = jnp.where(middle, half, along * half + (1 - along) * corner_x) + noise_x
    round_y = jnp.where(middle, half, along * half + (1 - along) * corner_y) + noise_y
    side_x, side_y = luck[:n] * half, luck[2 * n : 3 * n] * MAP_SIZE
    mirrored_x, mirrored_y = jnp.concatenate([side_x, MAP_SIZE - side_x]), jnp.concatenate([side_y, side_y])
    return jnp.where(surround < 0.5, round_x, mirrored_x), jnp.where(surround < 0.5, round_y, mirrored_y)

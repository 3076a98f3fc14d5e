"""Initial states of B battles, from an array of uniform numbers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from tutelage.envs.battle.healing import START_ENERGY
from tutelage.envs.battle.rules import Battle, Rules
from tutelage.envs.battle.space import push_apart
from tutelage.envs.battle.units import MAP_SIZE, NATIVE

START_SPREAD = 2.0
"""Largest distance of units from their team's start, in each direction."""
CORNERS = 4


def start_noise_size(rules: Rules) -> int:
    """How many uniform numbers an initial state needs."""
    units = len(rules.units)
    return 2 * units + (units + rules.allies + CORNERS + 2 if rules.map.draws_units else 0)


def init_battle(rules: Rules, noise: Float[Array, "K B"]) -> Battle:
    """Initial states of B battles from `start_noise_size(rules)` uniform numbers each."""
    n, units = rules.allies, len(rules.units)
    noise_x, noise_y = ((2 * noise[i * units : (i + 1) * units] - 1) * START_SPREAD for i in range(2))
    kind: Any = ()
    if rules.map.draws_units:
        kind_noise = noise[2 * units :]
        kind = jnp.floor(kind_noise[:n] * len(NATIVE)).astype(jnp.int32)
        kind = jnp.concatenate([kind, kind])
        x, y = drawn_places(n, noise_x, noise_y, noise[: 2 * units], kind_noise[n:])
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


def drawn_places(n: int, noise_x: Array, noise_y: Array, noise: Array, choice_noise: Array) -> tuple[Array, Array]:
    """SMACv2's starts: with probability 1/2 one team surrounds the other, else the teams are mirrored.

    Surrounding: one team (either) is in the middle. Every unit of the other is in one of four groups, each at a random
    place between the middle and its corner.
    """
    corner_noise, fraction_to_centre, centre_team, surround = (
        choice_noise[: 2 * n],
        choice_noise[2 * n : -2],
        choice_noise[-2],
        choice_noise[-1],
    )
    half = MAP_SIZE / 2
    group = jnp.floor(corner_noise * CORNERS)
    along = sum(
        jnp.where(group == g, fraction_to_centre[g], 0.0) for g in range(CORNERS)
    )  # 1: the middle, 0: the corner
    corner_x = jnp.where(group < 2, 0.0, MAP_SIZE)
    corner_y = jnp.where((group == 0) | (group == 2), 0.0, MAP_SIZE)
    first = jnp.arange(2 * n)[:, None] < n
    middle = first == (centre_team < 0.5)
    around_x = jnp.where(middle, half, along * half + (1 - along) * corner_x) + noise_x
    around_y = jnp.where(middle, half, along * half + (1 - along) * corner_y) + noise_y
    side_x, side_y = noise[:n] * half, noise[2 * n : 3 * n] * MAP_SIZE
    mirrored_x, mirrored_y = jnp.concatenate([side_x, MAP_SIZE - side_x]), jnp.concatenate([side_y, side_y])
    return jnp.where(surround < 0.5, around_x, mirrored_x), jnp.where(surround < 0.5, around_y, mirrored_y)

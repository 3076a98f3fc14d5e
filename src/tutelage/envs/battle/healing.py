"""Healers restore the health of allies and use up energy, which comes back slowly. SMAX has no healers."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array

from tutelage.envs.battle.rules import Battle, Traits
from tutelage.envs.battle.units import TICK

HEALING, HEALTH_PER_ENERGY = 9.0, 3.0
"""Health restored per second, and per unit of energy."""
ENERGY, START_ENERGY, ENERGY_BACK, ENERGY_TO_BEGIN = 200.0, 50.0, 0.5625, 5.0
"""Energy: maximum, at the start, regained per second, and needed to begin healing another unit."""


def take_units(x: Array, which: list[int]) -> Array:
    """The rows of some units; as they are known when it is compiled, slices are used, which are faster than indices."""
    return jnp.stack([x[i] for i in which])


def heal(healers: list[int], traits: Traits, heals: Array, state: Battle, alive: Array) -> tuple[Array, Array, Array]:
    """Healing in one tick: restored health (U, B), the healers' energy after it (H, B), and whom they heal (H, B).

    Args:
        healers: the H units that heal.
        heals: (H, U, B) which unit each is ordered to heal.
    """
    of_healers = lambda x: take_units(x, healers)
    dx, dy = state.x[None] - of_healers(state.x)[:, None], state.y[None] - of_healers(state.y)[:, None]
    in_range = (
        of_healers(alive)[:, None] & alive[None] & (jnp.sqrt(dx * dx + dy * dy) < of_healers(traits.range)[:, None])
    )
    energy, missing = of_healers(state.cooldown), traits.health - state.health
    same = state.patient[:, None] == jnp.arange(state.health.shape[0])[None, :, None]
    has_energy = (energy >= ENERGY_TO_BEGIN)[:, None] | (same & (energy > 0)[:, None])
    is_healing = heals & in_range & has_energy & (missing > 0)[None]
    amount = jnp.minimum(HEALING * TICK, energy * HEALTH_PER_ENERGY)
    spent = jnp.where(is_healing.any(1), amount, 0.0) / HEALTH_PER_ENERGY  # an order names one unit
    energy_after = jnp.where(of_healers(alive), jnp.minimum(energy + ENERGY_BACK * TICK - spent, ENERGY), energy)
    patient = jnp.where(is_healing.any(1), is_healing.argmax(1), jnp.where(heals.any(1), state.patient, -1))
    return jnp.where(is_healing, amount[:, None], 0.0).sum(0), energy_after, patient

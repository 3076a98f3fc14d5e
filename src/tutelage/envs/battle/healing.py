"""Healers restore the health of team mates from an energy that comes back slowly. SMAX has none; see docs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array

from tutelage.envs.battle.units import TICK

if TYPE_CHECKING:
    from tutelage.envs.battle.rules import Battle, Traits

HEALING, HEALTH_PER_ENERGY = 9.0, 3.0
"""Health restored per second, and per unit of energy."""
ENERGY, START_ENERGY, ENERGY_BACK, ENERGY_TO_BEGIN = 200.0, 50.0, 0.5625, 5.0
"""Energy at most, at the start, regained per second, and needed to begin healing another unit."""


def rows(x: Array, which: list[int]) -> Array:
    """Some units' rows. Which ones is known beforehand, and a slice costs less than an index."""
    return jnp.stack([x[i] for i in which])


def heal(healers: list[int], traits: Traits, heals: Array, state: Battle, alive: Array) -> tuple[Array, Array, Array]:
    """What healers restore in a tick: (U, B) health; (H, B) their energy after it; and whom they are healing.

    Args:
        healers: the H units that heal.
        heals: (H, U, B) which unit each was told to heal.
    """
    mine = lambda x: rows(x, healers)
    dx, dy = state.x[None] - mine(state.x)[:, None], state.y[None] - mine(state.y)[:, None]
    at_hand = mine(alive)[:, None] & alive[None] & (jnp.sqrt(dx * dx + dy * dy) < mine(traits.range)[:, None])
    energy, missing = mine(state.cooldown), traits.health - state.health
    same = state.patient[:, None] == jnp.arange(state.health.shape[0])[None, :, None]
    enough = (energy >= ENERGY_TO_BEGIN)[:, None] | (same & (energy > 0)[:, None])
    works = heals & at_hand & enough & (missing > 0)[None]
    amount = jnp.minimum(HEALING * TICK, energy * HEALTH_PER_ENERGY)
    spent = jnp.where(works.any(1), amount, 0.0) / HEALTH_PER_ENERGY  # an order names one unit
    after = jnp.where(mine(alive), jnp.minimum(energy + ENERGY_BACK * TICK - spent, ENERGY), energy)
    patient = jnp.where(works.any(1), works.argmax(1), jnp.where(heals.any(1), state.patient, -1))
    return jnp.where(works, amount[:, None], 0.0).sum(0), after, patient

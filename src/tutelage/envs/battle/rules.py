"""The state of battles, and the rules on one map. B battles at once, with the batch axis *last*.

Arrays are (U, B) per unit, allies first, or (N, M, B) between N allies and M enemies. The last axis is the long one, so
that every operation is a loop over neighbouring numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tutelage.envs.battle.units import NATIVE, TICK, Map, Unit

TICKS = 8
"""Ticks per environment step."""
MOVES = 5
"""Actions 0-3 move up, right, down, left; 4 stops; 5 and up attack an enemy (a healer: heal a team mate)."""


class Battle(NamedTuple):
    """B battles.

    Attributes:
        x, y, health: (U, B).
        cooldown: (U, B) seconds until the next attack, falling below 0; of healers their energy.
        shield, unhurt: (U, B) shield points, and seconds since the last hit; () on maps without shields.
        patient: (H, B) unit that each healer healed last, -1 for none; () on maps without healers.
        move_x, move_y: (U, B) direction of the last action.
        attack: (U, B) last action if it was an attack or heal, else 0.
        kind: (U, B) type numbers; () on maps where they are fixed.
        goal_x, goal_y: (U, B) where the script goes while it sees nobody: opposite its start.
        target: (U, B) whom the script attacked last, as an index into the other team, -1 for nobody.
        time: (B,) steps so far.
    """

    x: Array
    y: Array
    health: Array
    cooldown: Array
    shield: Any
    unhurt: Any
    patient: Any
    move_x: Array
    move_y: Array
    attack: Array
    kind: Any
    goal_x: Array
    goal_y: Array
    target: Array
    time: Array


class Traits(NamedTuple):
    """Properties of every unit: (U, 1) where the map fixes the kinds of units, (U, B) where it draws them."""

    health: Array
    shield: Array
    speed: Array
    damage: Array
    range: Array
    sight: Array
    radius: Array
    period: Array


@dataclass(frozen=True)
class Rules:
    """The rules on one map."""

    map: Map
    walls_cause_death: bool = True

    @cached_property
    def allies(self) -> int:
        return sum(self.map.allies.values())

    @cached_property
    def units(self) -> list[Unit]:
        return [self.map.kinds[name] for name in self.map.roster]

    def flag(self, name: str) -> np.ndarray:
        """(U,) whether a property of each unit is true or not zero."""
        if self.map.draws_units:  # of units without flags
            return np.full(len(self.units), name == "hits_air")
        return np.array([bool(getattr(unit, name)) for unit in self.units])

    @cached_property
    def healer(self) -> np.ndarray:
        return self.flag("heals")

    @cached_property
    def healers(self) -> list[int]:
        """The H units that heal."""
        return np.flatnonzero(self.healer).tolist()

    @cached_property
    def shielded(self) -> bool:
        return bool(self.flag("shield").any())

    @cached_property
    def shots(self) -> int:
        """Upper bound of a unit's attacks per step; each needs a random number for its cooldown."""
        shortest = min(unit.period for unit in (NATIVE.values() if self.map.draws_units else self.units)) - TICK
        return next(shots for shots in (1, 2, 4, TICKS) if shots == TICKS or shortest > (TICKS // shots - 1) * TICK)

    @cached_property
    def enemies(self) -> int:
        return len(self.units) - self.allies

    @cached_property
    def can_hit(self) -> np.ndarray:
        """(U, U): the row may attack the column, were it an enemy in range."""
        return ~self.healer[:, None] & (self.flag("hits_air")[:, None] | ~self.flag("flies")[None])

    @cached_property
    def can_heal(self) -> np.ndarray:
        """(U, U): the row may heal the column, were it in range: a team mate that is no healer."""
        ally = np.arange(len(self.units)) < self.allies
        return self.healer[:, None] & ~self.healer[None] & (ally[:, None] == ally[None])

    @cached_property
    def push(self) -> np.ndarray:
        """(U, U, 1): by which share of their overlap the row is pushed out of the column."""
        fixed, flies = ~self.flag("speed"), self.flag("flies")
        if self.map.draws_units:
            fixed = flies
        share = np.where(fixed[:, None], 0.0, np.where(fixed[None], 1.0, 0.5))
        return np.where(flies[:, None] == flies[None], share, 0.0)[..., None].astype(np.float32)

    def traits(self, kind: Any) -> Traits:
        """The properties of every unit."""
        if not self.map.draws_units:
            column = lambda name: jnp.array([[getattr(unit, name)] for unit in self.units], jnp.float32)
            return Traits(*(column(name) for name in Traits._fields))

        def by_kind(name: str) -> Array:
            values = [getattr(unit, name) for unit in NATIVE.values()]
            return sum((jnp.where(kind == k, v, 0.0) for k, v in enumerate(values)), jnp.zeros(()))

        return Traits(*(by_kind(name) for name in Traits._fields))

    def damages(self, traits: Traits) -> tuple[Array, Array]:
        """Damage of one attack, (N, M | 1, B | 1): of allies on enemies, and of enemies on allies."""
        n = self.allies
        if self.map.draws_units:
            return traits.damage[:n, None], traits.damage[None, n:]
        per = np.array([[self._damage(a, b) for b in self.units] for a in self.units], np.float32)[..., None]
        return jnp.asarray(per[:n, n:]), jnp.asarray(per[n:, :n].swapaxes(0, 1))

    @staticmethod
    def _damage(attacker: Unit, victim: Unit) -> float:
        return max(0.0, attacker.damage + attacker.bonus * victim.armoured - victim.armour)

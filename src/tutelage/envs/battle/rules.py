"""The rules of battles: moving, shooting, healing, pushing, dying. B battles at once, with the batch axis *last*.

Arrays are (U, B) per unit, allies first, or (N, M, B) between N allies and M enemies. The last axis is the long one, so
that every operation is a loop over neighbouring numbers. Rules and constants are those of SMAX (`step_env` of jaxmarl
0.2.0), tick by tick; healers, shields, armour, flying and immovable units are additions.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.envs.battle.healing import heal, take_units
from tutelage.envs.battle.units import MAP_SIZE, NATIVE, TICK, Map, Unit

TICKS = 8
"""Ticks per environment step."""
MOVES = 5
"""Actions 0-3 move up, right, down, left; 4 stops; 5 and up attack an enemy (a healer: heal a team mate)."""
SHIELD_BACK, SHIELD_REST = 2.0, 10.0
"""Shield regained per second, and seconds without a hit before that begins."""


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


class Orders(NamedTuple):
    """What all units do during a step.

    Attributes:
        dx, dy: (U, B) displacement per tick.
        strikes, struck: (N, M, B) 1 where ally n attacks enemy m, enemy m attacks ally n; else 0.
        heals: (H, U, B) which unit each healer heals; () on maps without healers.
    """

    dx: Array
    dy: Array
    strikes: Float[Array, "N M B"]
    struck: Float[Array, "N M B"]
    heals: Any


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


def distances(x: Array, y: Array, rows: slice, columns: slice) -> tuple[Array, Array, Array]:
    """Differences x and y from rows to columns, and distances."""
    dx, dy = x[columns][None] - x[rows][:, None], y[columns][None] - y[rows][:, None]
    return dx, dy, jnp.sqrt(dx * dx + dy * dy)


def sum_terms(pairs: Array, axis: int) -> Array:
    """The sum over a short axis, term by term.

    On a CPU this is several times faster than `sum`, for which the compiler computes the pairs again in each sum.
    """
    pairs = jax.lax.optimization_barrier(pairs)
    return functools.reduce(jnp.add, [pairs[(slice(None),) * axis + (i,)] for i in range(pairs.shape[axis])])


def move_dead_away(x: Array, alive: Array) -> Array:
    """(U, B) x with dead units moved far outside, each to another place, so that pairs need no mask."""
    away = 1e6 * (1 + np.arange(x.shape[0], dtype=np.float32))[:, None]
    return jnp.where(alive, x, away)


def push_apart(rules: Rules, x: Array, y: Array, alive: Array, radius: Array) -> tuple[Array, Array]:
    """Push overlapping living units apart, once."""
    dx, dy, distance = distances(move_dead_away(x, alive), y, slice(None), slice(None))
    apart = distance + jnp.eye(x.shape[0])[..., None] + 1e-6
    weight = jax.nn.relu((radius[:, None] + radius[None]) / apart - 1.0) * rules.push
    return x - sum_terms(dx * weight, 1), y - sum_terms(dy * weight, 1)


def step_vectors(action: Int[Array, "U B"]) -> tuple[Array, Array]:
    """Unit vectors of moves, zero for everything else."""
    x = jnp.where(action == 1, 1.0, jnp.where(action == 3, -1.0, 0.0))
    y = jnp.where(action == 0, 1.0, jnp.where(action == 2, -1.0, 0.0))
    return x, y


def give_orders(rules: Rules, traits: Traits, action: Int[Array, "U B"]) -> Orders:
    """Orders of a step from actions: an ally's action a attacks enemy a - 5; enemies count their targets backwards."""
    n, m = rules.allies, rules.enemies
    x, y = step_vectors(action)
    speed = traits.speed * TICK
    target_index = action - MOVES
    strikes = (target_index[:n, None] == jnp.arange(m)[None, :, None]) & rules.can_hit[:n, n:, None]
    struck = (target_index[None, n:] == jnp.arange(n)[::-1][:, None, None]) & rules.can_hit[n:, :n].swapaxes(0, 1)[
        ..., None
    ]
    heals: Any = ()
    if rules.healer.any():
        place = jnp.concatenate([jnp.arange(n), jnp.arange(m)[::-1]])  # in the own team's counting
        heals = (take_units(target_index, rules.healers)[:, None] == place[None, :, None]) & rules.can_heal[
            rules.healers
        ][..., None]
    return Orders(x * speed, y * speed, strikes.astype(jnp.float32), struck.astype(jnp.float32), heals)


def tick(rules: Rules, traits: Traits, orders: Orders, state: Battle, noise: Float[Array, "U B"]) -> Battle:
    """One sixteenth of a second; all units act on the state before it."""
    n = rules.allies
    alive = state.health > 0
    reach = jnp.where(alive & (state.cooldown <= 0), traits.range, 0.0)
    distance = distances(move_dead_away(state.x, alive), state.y, slice(0, n), slice(n, None))[2]
    strikes = jnp.where(distance < reach[:n, None], orders.strikes, 0.0)
    struck = jnp.where(distance < reach[None, n:], orders.struck, 0.0)
    damage_to_enemies, damage_to_allies = rules.damages(traits)
    damage = jnp.concatenate([sum_terms(struck * damage_to_allies, 1), sum_terms(strikes * damage_to_enemies, 0)])
    fired = jnp.concatenate([sum_terms(strikes, 1), sum_terms(struck, 0)]) > 0
    # The difference to the new cooldown is added, as in jaxmarl, so that both round alike.
    wait = jnp.where(fired, traits.period + (3 * noise - 1) * TICK - state.cooldown, -TICK)
    updated = state._replace(
        x=jnp.where(alive, jnp.clip(state.x + orders.dx, 0.0, MAP_SIZE), state.x),
        y=jnp.where(alive, jnp.clip(state.y + orders.dy, 0.0, MAP_SIZE), state.y),
        cooldown=state.cooldown + wait,
    )
    healed: Any = 0.0
    if rules.healer.any():
        healed, energy, patient = heal(rules.healers, traits, orders.heals, state, alive)
        for i, unit in enumerate(rules.healers):
            cooldown = jnp.where(np.arange(len(rules.units))[:, None] == unit, energy[i], updated.cooldown)
            updated = updated._replace(cooldown=cooldown)
        updated = updated._replace(patient=patient)
    if rules.shielded:
        hit = damage > 0
        shield = jnp.maximum(state.shield - damage, 0.0)
        damage = damage - (state.shield - shield)
        unhurt = jnp.where(hit, 0.0, state.unhurt + TICK)
        back = jnp.where(alive & (unhurt > SHIELD_REST), SHIELD_BACK * TICK, 0.0)
        updated = updated._replace(shield=jnp.minimum(shield + back, traits.shield), unhurt=unhurt)
    health = jnp.clip(state.health - damage + healed, 0.0, traits.health)
    return finish_tick(rules, traits, updated._replace(health=health))


def finish_tick(rules: Rules, traits: Traits, state: Battle) -> Battle:
    """Apply deaths at the border, and push living units apart."""
    health = state.health
    if rules.walls_cause_death:
        inside = (state.x > 0) & (state.y > 0) & (state.x < MAP_SIZE) & (state.y < MAP_SIZE)
        health = jnp.where(inside, health, 0.0)
    x, y = push_apart(rules, state.x, state.y, health > 0, traits.radius)
    return state._replace(x=x, y=y, health=health)


def advance(rules: Rules, state: Battle, action: Int[Array, "U B"], noise: Float[Array, "K U B"]) -> Battle:
    """One environment step: the same orders for all ticks.

    Args:
        noise: uniform in [0, 1), one row for every `TICKS / K` ticks. With K = `rules.shots` no unit attacks twice in
            that time, so that all its cooldowns are independent.
    """
    noise = jnp.repeat(noise, TICKS // noise.shape[0], axis=0)
    traits = rules.traits(state.kind)
    orders = give_orders(rules, traits, action)
    state = jax.lax.scan(lambda s, u: (tick(rules, traits, orders, s, u), None), state, noise)[0]
    move_x, move_y = step_vectors(action)
    attack = jnp.where(action >= MOVES, action, 0)
    return state._replace(move_x=move_x, move_y=move_y, attack=attack, time=state.time + 1)


class Outcome(NamedTuple):
    """Reward and end of a step, (B,) each."""

    reward: Array
    last: Array
    won: Array


def step_outcome(rules: Rules, before: Battle, after: Battle, limit: int) -> Outcome:
    """Reward and end of a step: the mean share of hit points that enemies lost, at least 0, plus 1 for a win.

    A team without a living fighter has lost; if both have none, nobody won. Running out of time is a loss.
    """
    n, traits = rules.allies, rules.traits(after.kind)
    # Who died at the border may still have had a shield.
    points = lambda s: (jnp.where(s.health > 0, s.health + s.shield, 0.0) if rules.shielded else s.health)[n:]
    full_points = (traits.health + traits.shield)[n:] if rules.shielded else traits.health[n:]
    lost = ((points(before) - points(after)) / full_points).sum(0) / rules.enemies
    fights = (after.health > 0) & ~rules.healer[:, None]
    allies, enemies = fights[:n].any(0), fights[n:].any(0)
    won = allies & ~enemies
    last = ~allies | ~enemies | (after.time >= limit)
    return Outcome(jnp.maximum(lost, 0.0) + won, last, won)

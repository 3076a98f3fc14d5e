"""One step of battles: orders from actions, eight ticks of moving, shooting, healing and dying, and what comes of it.

Rules and constants are those of SMAX (`step_env` of jaxmarl 0.2.0), tick by tick; healers, shields, armour, flying and
immovable units are additions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.envs.battle.healing import heal, take_units
from tutelage.envs.battle.rules import MOVES, TICKS, Battle, Rules, Traits
from tutelage.envs.battle.space import distances, move_dead_away, push_apart, sum_terms
from tutelage.envs.battle.units import MAP_SIZE, TICK
from tutelage.envs.from_batched import Outcome

SHIELD_BACK, SHIELD_REST = 2.0, 10.0
"""Shield regained per second, and seconds without a hit before that begins."""


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
    return Outcome(jnp.maximum(lost, 0.0) + won, last, won, terminal=jnp.ones_like(last))

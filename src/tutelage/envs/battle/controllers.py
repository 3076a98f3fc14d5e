"""A scripted controller of the allies that uses only their observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tutelage.envs.battle.rules import MOVES, Rules
from tutelage.envs.battle.script import heading
from tutelage.envs.battle.senses import OWN, UNIT, n_unit_columns
from tutelage.envs.battle.units import MAP_SIZE
from tutelage.envs.parts import controller
from tutelage.types import Carry, Policy, TimeStep


def attack_closest(rules: Rules) -> Policy:
    """The enemies' script for the allies.

    Each attacks the closest enemy in range and keeps attacking it, else follows a visible enemy, else goes to the side
    opposite its start. Healers go to the most wounded ally they see and heal it.
    """
    n, m = rules.allies, rules.enemies
    types = [rules.map.kinds[name] for name in rules.map.types]
    sights, ranges = (jnp.array([getattr(unit, name) for unit in types]) for name in ("sight", "range"))
    columns = UNIT + n_unit_columns(rules)
    hits, healer = rules.can_hit[:n, n:], rules.healer[:n, None]
    mates = np.array([[j for j in range(n) if j != i] for i in range(n)], int).reshape(n, n - 1)
    heals = np.take_along_axis(rules.can_heal[:n, :n], mates, 1)

    def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
        target, goal, started = carry
        own = ts.obs[..., -(OWN + n_unit_columns(rules)) :]
        units = ts.obs[..., : -own.shape[-1]].reshape(*ts.obs.shape[:2], n - 1 + m, columns)
        position, kind = own[..., 1:3] * MAP_SIZE, own[..., OWN : OWN + len(types)]
        goal = jnp.where(started[..., None], goal, MAP_SIZE - position)
        delta = units[..., 1:3] * (kind @ sights)[..., None, None]
        distance = jnp.linalg.norm(delta, axis=-1)
        near = distance < (kind @ ranges)[..., None]
        seen = (units[..., n - 1 :, 0] > 0) & hits
        in_range = seen & near[..., n - 1 :]
        closest = jnp.where(in_range, distance[..., n - 1 :], jnp.inf).argmin(-1)
        stay = jnp.take_along_axis(in_range, jnp.maximum(target, 0)[..., None], -1)[..., 0] & (target >= 0)
        target = jnp.where(in_range.any(-1), jnp.where(stay, target, closest), -1)
        chosen = jnp.where(seen, jax.random.uniform(key, seen.shape), -1.0).argmax(-1)
        towards = jnp.where(seen.any(-1)[..., None], take_row(delta[..., n - 1 :, :], chosen), goal - position)
        action = jnp.where(target >= 0, MOVES + target, heading(towards[..., 0], towards[..., 1]))
        if rules.healer[:n].any():
            at_hand = (units[..., : n - 1, 0] > 0) & heals
            worst = jnp.where(at_hand, units[..., : n - 1, 0], jnp.inf).argmin(-1)
            of_worst = lambda x: jnp.take_along_axis(x, worst[..., None], -1)[..., 0]
            ready = of_worst(at_hand & near[..., : n - 1]) & (of_worst(units[..., : n - 1, 0]) < 1)
            to_mate = jnp.where(at_hand.any(-1)[..., None], take_row(delta[..., : n - 1, :], worst), goal - position)
            mate = jnp.take_along_axis(jnp.broadcast_to(mates, (*worst.shape, n - 1)), worst[..., None], -1)[..., 0]
            healer_action = jnp.where(ready, MOVES + mate, heading(to_mate[..., 0], to_mate[..., 1]))
            action = jnp.where(healer[:, 0], healer_action, action)
        return (target, goal, jnp.ones_like(started)), action

    def carry(count: int) -> Carry:
        shape = (count, n)
        return jnp.full(shape, -1), jnp.zeros((*shape, 2)), jnp.zeros(shape, bool)

    return controller(act, carry)


def take_row(x: Float[Array, "B N K 2"], index: Int[Array, "B N"]) -> Float[Array, "B N 2"]:
    """For every agent the entry `index` of K vectors."""
    return jnp.take_along_axis(x, index[..., None, None], -2)[..., 0, :]

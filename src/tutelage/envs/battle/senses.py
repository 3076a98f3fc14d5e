"""Observations, available actions and world state of battles, with the batch axis first.

The columns are SMAX's, in its order. Maps with other units have more type columns, maps with shields a shield column.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tutelage.envs.battle.healing import ENERGY
from tutelage.envs.battle.rules import MOVES, Battle, Rules, Traits
from tutelage.envs.battle.space import distances
from tutelage.envs.battle.units import MAP_SIZE
from tutelage.envs.parts import NOTHING, Segment, entity_columns, xy
from tutelage.types import Sensed

UNIT, OWN = 7, 4
"""Columns before the type bits: of another unit (health, relative x and y, last move x and y, last attack, cooldown)
and of the own unit (health, x, y, cooldown)."""
PLACE = 1
"""Column of another unit at which the relative position begins."""


def n_unit_columns(rules: Rules) -> int:
    """Number of columns for the type of a unit, and for its shield where units have one."""
    return len(rules.map.types) + rules.shielded


def named_columns(rules: Rules, see_enemy_actions: bool) -> tuple[Segment, ...]:
    """The columns of an agent's observation with their names: other allies, enemies, the own unit."""
    healers = rules.healer.any()
    health = "health [share of maximum]"
    waits = "weapon cooldown left [share of the time between attacks]"
    if healers:
        waits = "weapon cooldown left, or a healer's energy [share of the time between attacks, or of full energy]"
    kinds = tuple(f"type is {name} [0 or 1]" for name in rules.map.types)
    if rules.shielded:
        kinds = (*kinds, "shield [share of maximum]")
    attack = f"last attack{' or healing' if healers else ''}, 0 for none [action number / highest action number]"

    def another(*last: str) -> tuple[str, ...]:
        return health, *xy("relative", "share of own sight range"), *last, waits, *kinds

    did, n = (*xy("last move", "-1, 0 or 1"), attack), n_unit_columns(rules)
    of_ally, of_enemy = another(*did), another(*(did if see_enemy_actions else (NOTHING,) * len(did)))
    return (
        *entity_columns("ally", rules.allies - 1, UNIT + n, PLACE, of_ally),
        *entity_columns("enemy", rules.enemies, UNIT + n, PLACE, of_enemy),
        Segment("own", OWN + n, columns=(health, *xy("position", "map widths"), waits, *kinds)),
    )


def n_actions(rules: Rules) -> int:
    """Number of actions: five moves and one per enemy; on maps with healers one per unit of the larger team."""
    return MOVES + (max(rules.allies, rules.enemies) if rules.healer.any() else rules.enemies)


def unit_columns(rules: Rules, state: Battle) -> Array:
    """(U, columns, B): one-hot type, and the share of the shield that is left."""
    types = rules.map.types
    if rules.map.draws_units:
        return (state.kind[:, None] == jnp.arange(len(types))[None, :, None]).astype(jnp.float32)
    one = np.array([[name == t for t in types] for name in rules.map.roster], np.float32)[..., None]
    bits = jnp.broadcast_to(one, (*one.shape[:2], state.x.shape[-1]))
    if not rules.shielded:
        return bits
    full = rules.traits(state.kind).shield
    share = jnp.where(full > 0, state.shield / jnp.maximum(full, 1.0), 0.0)
    return jnp.concatenate([bits, share[:, None]], 1)


def cooldown_share(rules: Rules, state: Battle, traits: Traits) -> Array:
    """(U, B) remaining share of the cooldown; for healers the share of their energy."""
    left = jnp.clip(state.cooldown / traits.period, 0.0, 1.0)
    return jnp.where(rules.healer[:, None], state.cooldown / ENERGY, left) if rules.healer.any() else left


def sense(rules: Rules, state: Battle, limit: int, see_enemy_actions: bool) -> Sensed:
    """Observations, world state, available actions and who is alive, of B battles."""
    traits, alive = rules.traits(state.kind), state.health > 0
    n = rules.allies
    health, cooldown, kind = (
        state.health / traits.health,
        cooldown_share(rules, state, traits),
        unit_columns(rules, state),
    )
    offsets = distances(state.x, state.y, slice(0, n), slice(None))
    columns = [health, state.x / MAP_SIZE, state.y / MAP_SIZE, cooldown, *kind.swapaxes(0, 1)]
    own = jnp.stack([jnp.where(alive, column, 0.0) for column in columns], 1)
    shared = health, cooldown, kind
    others = other_units(rules, state, traits.sight[:n, None], offsets, shared, see_enemy_actions)
    world = jnp.concatenate([own.reshape(-1, own.shape[-1]), state.time[None] / limit])
    first = lambda x: jnp.moveaxis(x, -1, 0)
    return Sensed(
        obs=first(jnp.concatenate([others, own[:n]], 1)),
        state=first(world),
        avail=first(available(rules, traits, alive, offsets[2])),
        alive=first(alive[:n]),
    )


def other_units(
    rules: Rules,
    state: Battle,
    sight: Array,
    offsets: tuple[Array, Array, Array],
    shared: tuple[Array, Array, Array],
    see_enemy_actions: bool,
) -> Array:
    """(N, (U - 1) * columns, B) what each ally sees of the other units, in order; zeros where it does not see one."""
    n, units = rules.allies, len(rules.units)
    (dx, dy, distance), (health, cooldown, kind), alive = offsets, shared, state.health > 0
    shown = np.array([[True]] * n + [[see_enemy_actions]] * rules.enemies)
    last_actions = (
        jnp.where(shown, x, 0.0) for x in (state.move_x, state.move_y, state.attack / highest_action(rules))
    )
    columns = [health, dx / sight, dy / sight, *last_actions, cooldown, *kind.swapaxes(0, 1)]
    seen = alive[:n, None] & alive[None] & (distance < sight)
    # Masked column by column: masking the stacked block takes the compiler several times longer.
    block = jnp.stack([jnp.where(seen, column, 0.0) for column in columns], 2)
    others = jnp.stack([jnp.concatenate([block[i, :i], block[i, i + 1 :]]) for i in range(n)])
    return others.reshape(n, (units - 1) * len(columns), -1)


def highest_action(rules: Rules) -> np.ndarray:
    """(U, 1): highest action of a unit, by which its last action is divided."""
    ally_actions = n_actions(rules) - 1
    enemy_actions = ally_actions if rules.healer.any() else MOVES + rules.allies - 1
    return np.array([[ally_actions]] * rules.allies + [[enemy_actions]] * rules.enemies, np.float32)


def available(rules: Rules, traits: Traits, alive: Array, distance: Array) -> Array:
    """(N, A, B): living units may move and act on units in range; all units may stop."""
    n, last = rules.allies, n_actions(rules)
    reach = alive[:n, None] & alive[None] & (distance < traits.range[:n, None])
    moves = jnp.broadcast_to(alive[:n, None], (n, MOVES - 1, alive.shape[-1]))
    targets = reach[:, n:] & rules.can_hit[:n, n:, None]
    if rules.healer.any():
        width = last - MOVES
        pad = lambda x: jnp.pad(x, ((0, 0), (0, width - x.shape[1]), (0, 0)))
        targets = pad(targets) | pad(reach[:, :n] & rules.can_heal[:n, :n, None])
    return jnp.concatenate([moves, jnp.ones_like(moves[:, :1]), targets], 1)

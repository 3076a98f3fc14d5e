"""Goals in FireCommander: one per region."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from tutelage.envs.fire_commander.rules import Blaze, Rules
from tutelage.envs.fire_commander.senses import belief, distances, offset_to, summarise_regions
from tutelage.types import Goals

RECENT = 10
"""A region counts as scouted if every cell was seen within so many steps."""


def goals(rules: Rules, state: Blaze, oracle: bool, limit: int) -> Goals:
    """Goals of all agents, with the batch axis *last*: goal j is region j.

    An action agent goes to the nearest known fire of the region and puts it out; valid while a fire is known. A
    perception agent goes to the cell that the team has not seen for longest; valid until the region is scouted.
    """
    n, p, r = rules.agents, rules.perception, rules.regions
    distance = distances(rules, state.x, state.y)
    burning = summarise_regions(rules, belief(rules, state, oracle)[None], distance, state.time, limit)
    team = state.known.max(0)
    seen = summarise_regions(rules, team[None], distance, state.time, limit)
    acts = (np.arange(n) >= p)[:, None, None]
    cell = jnp.where(acts, burning.fire, seen.stale)
    dx, dy = offset_to(rules, state, cell)
    path = (jnp.abs(dx) + jnp.abs(dy)) / rules.size
    each = lambda x: jnp.broadcast_to(x, (n, r, path.shape[-1]))
    count, fresh = each(burning.fires), each(seen.fresh)
    oldest = jnp.stack([(team[a:b] >> 1).min(0) for a, b in rules.spans]).astype(jnp.int32)
    scouted = (oldest > 0) & (oldest + RECENT > state.time + 1)
    features = [each(acts), dx / rules.size, dy / rules.size, path, count / 4, fresh]
    return Goals(
        features=jnp.stack([x.astype(jnp.float32) for x in features], 2),
        valid=jnp.where(acts, count > 0, ~scouted[None]),
        potential=jnp.where(acts, -0.5 * count - path, 2 * fresh - path),
        reached=jnp.where(acts, count == 0, scouted[None]),
        thing=each(np.arange(r)[None, :, None] + r * acts),
    )

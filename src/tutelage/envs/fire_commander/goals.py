"""What agents of FireCommander can be sent to do: a region each."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from tutelage.envs.fire_commander.rules import Blaze, Rules
from tutelage.envs.fire_commander.senses import belief, distances, summed, way_to
from tutelage.types import Goals

RECENT = 10
"""Steps: a region of which every cell was seen that lately has been scouted."""


def goals(rules: Rules, state: Blaze, oracle: bool, limit: int) -> Goals:
    """Region j as a goal, arrays with the episodes *last*.

    An action agent goes to the region's nearest known fire and puts out what burns there: possible while something is
    known to burn. A perception agent goes to the cell that the team has not seen for longest: possible until the region
    is scouted.
    """
    n, p, r = rules.agents, rules.perception, rules.regions
    away = distances(rules, state.x, state.y)
    burning = summed(rules, belief(rules, state, oracle)[None], away, state.time, limit)
    team = state.known.max(0)
    looks = summed(rules, team[None], away, state.time, limit)
    acts = (np.arange(n) >= p)[:, None, None]
    cell = jnp.where(acts, burning.fire, looks.stale)
    dx, dy = way_to(rules, state, cell)
    far = (jnp.abs(dx) + jnp.abs(dy)) / rules.size
    each = lambda x: jnp.broadcast_to(x, (n, r, far.shape[-1]))
    count, fresh = each(burning.fires), each(looks.fresh)
    oldest = jnp.stack([(team[a:b] >> 1).min(0) for a, b in rules.spans]).astype(jnp.int32)
    scouted = (oldest > 0) & (oldest + RECENT > state.time + 1)
    features = [each(acts), dx / rules.size, dy / rules.size, far, count / 4, fresh]
    return Goals(
        features=jnp.stack([x.astype(jnp.float32) for x in features], 2),
        valid=jnp.where(acts, count > 0, ~scouted[None]),
        potential=jnp.where(acts, -0.5 * count - far, 2 * fresh - far),
        reached=jnp.where(acts, count == 0, scouted[None]),
        thing=each(np.arange(r)[None, :, None] + r * acts),
    )

"""Views: what a policy reads of a timestep. Students have `local` views only."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tutelage.errors import BadInput, unknown
from tutelage.types import Environment, Goals, Spec, TimeStep


class View(NamedTuple):
    """A named function from a timestep to a network's input.

    Attributes:
        width: spec -> number of columns.
        read: timestep -> (B, N, width), or (B, width) for a view of the whole team.
        decentralised: whether each agent's row is made of what it observes itself.
    """

    name: str
    width: Callable[[Spec], int]
    read: Callable[[TimeStep], Array]
    decentralised: bool


def _local(timestep: TimeStep) -> Array:
    n = timestep.obs.shape[-2]
    number = jnp.broadcast_to(jnp.eye(n, dtype=timestep.obs.dtype), (*timestep.obs.shape[:-1], n))
    return jnp.concatenate([timestep.obs, number], -1)


def _history(timestep: TimeStep) -> Array:
    """`_local` and the agent's own last action, one-hot."""
    scores = timestep.avail.shape[-1]
    taken = timestep.action[..., None] == jnp.arange(scores)
    taken = jnp.where(timestep.first[..., None, None], False, taken)
    return jnp.concatenate([_local(timestep), taken.astype(timestep.obs.dtype)], -1)


def _with_state(timestep: TimeStep, local: Array | None = None) -> Array:
    local = _local(timestep) if local is None else local
    state = timestep.state[..., None, :]
    return jnp.concatenate([local, jnp.broadcast_to(state, (*local.shape[:-1], state.shape[-1]))], -1)


def _state_per_agent(timestep: TimeStep) -> Array:
    """State, own observation and agent number; of a dead agent only its number is left."""
    n, alive = timestep.obs.shape[-2], timestep.alive[..., None]
    state = timestep.state[..., None, :]
    seen = [jnp.broadcast_to(state, (*timestep.obs.shape[:-1], state.shape[-1])), timestep.obs]
    number = jnp.broadcast_to(jnp.eye(n, dtype=timestep.obs.dtype), (*timestep.obs.shape[:-1], n))
    return jnp.concatenate([jnp.where(alive, x, 0.0) for x in seen] + [number], -1)


VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        View("local", lambda s: s.obs_width + s.n_agents, _local, True),
        View("local+action", lambda s: s.obs_width + s.n_agents + s.n_actions, _history, True),
        View("local-no-id", lambda s: s.obs_width, lambda ts: ts.obs, True),
        View("local+state", lambda s: s.obs_width + s.n_agents + s.state_width, _with_state, False),
        View(
            "local+action+state",
            lambda s: s.obs_width + s.n_agents + s.n_actions + s.state_width,
            lambda ts: _with_state(ts, _history(ts)),
            False,
        ),
        View("state", lambda s: s.state_width, lambda ts: ts.state, False),
        View("state per agent", lambda s: s.state_width + s.obs_width + s.n_agents, _state_per_agent, False),
    )
}
"""Views by name.

`local`: own observation and one-hot agent number. `local+action`: these and the own last action (zeros on a first
step). `local-no-id`: the observation alone. `local+state`, `local+action+state`: with the world state. `state`: the
world state, once for the team. `state per agent`: as `local+state`, zeros for the dead except their number.
"""


def goal_shapes(env: Environment) -> Goals:
    """Shapes of an environment's `Goals` in one state (N, M, ...); raises BadInput where it has none."""
    goals = env.goals
    if goals is None:
        raise BadInput(
            "this environment offers no goals (it has no method `goals`); fire_commander, marine, smax, mpe and "
            "predator_prey do"
        )
    return jax.eval_shape(lambda key: goals(env.reset(key)[0]), jax.random.key(0))


def state_and_goals(env: Environment) -> View:
    """A view of the world state and the features of all pairs of agent and goal, zero where the goal is not valid."""

    def read(timestep: TimeStep) -> Array:
        goals = timestep.goals
        real = jnp.concatenate([goals.features, jnp.ones((*goals.valid.shape, 1))], -1) * goals.valid[..., None]
        return jnp.concatenate([timestep.state, real.reshape(*timestep.state.shape[:-1], -1)], -1)

    n, m, f = goal_shapes(env).features.shape
    return View("state and goals", lambda spec: spec.state_width + n * m * (f + 1), read, False)


def view(name: str) -> View:
    """Look a view up; raises BadInput naming the nearest ones."""
    if name not in VIEWS:
        raise unknown("view", name, VIEWS)
    return VIEWS[name]

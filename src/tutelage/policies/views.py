"""Views: what a policy reads of a timestep, as columns with a source. Students have `local` views only."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tutelage.errors import BadInput, unknown
from tutelage.policies.columns import Columns, Entities, OneHot, PairGoals, Slice, View, Zeros
from tutelage.types import Environment, Goals, Spec, TimeStep


def read_view(view: View, timestep: TimeStep) -> Array:
    """A network's input: (..., N, width), or (..., width) for a view of the whole team."""
    parts = [read_columns(columns, timestep, view.each) for columns in view.columns]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, -1)


def read_columns(columns: Columns, timestep: TimeStep, each: bool) -> Array:
    """Some columns of a view of each agent, or of the whole team."""
    obs = timestep.obs
    match columns:
        case Slice(source="state"):
            part = part_of(timestep.state, columns)
            if each:
                part = jnp.broadcast_to(part[..., None, :], (*obs.shape[:-1], columns.width))
            return of_the_living(part, timestep) if columns.living else part
        case Slice():
            part = part_of(obs, columns)
            return of_the_living(part, timestep) if columns.living else part
        case OneHot(source="agent"):
            return jnp.broadcast_to(jnp.eye(columns.width, dtype=obs.dtype), (*obs.shape[:-1], columns.width))
        case OneHot():
            taken = timestep.action[..., None] == jnp.arange(columns.width)
            return jnp.where(timestep.first[..., None, None], False, taken).astype(obs.dtype)
        case Zeros():
            return jnp.zeros((*obs.shape[:-1], columns.width), obs.dtype)
        case Entities():
            return visible_entities(obs, columns)
        case PairGoals():
            goals = timestep.goals
            real = jnp.concatenate([goals.features, jnp.ones((*goals.valid.shape, 1))], -1) * goals.valid[..., None]
            return real.reshape(*timestep.state.shape[:-1], -1)


def part_of(x: Array, columns: Slice) -> Array:
    return x if (columns.start, columns.stop) == (0, x.shape[-1]) else x[..., columns.start : columns.stop]


def of_the_living(x: Array, timestep: TimeStep) -> Array:
    return jnp.where(timestep.alive[..., None], x, 0.0)


def visible_entities(obs: Float[Array, "... D"], group: Entities) -> Float[Array, "... E"]:
    """The entities of one group after a restriction; hidden ones are zeros or left out.

    Entities that the environment itself does not show are rows of zeros, and never among the nearest.
    """
    shown = jnp.stack([obs[..., start : start + group.columns] for start in group.starts], -2)
    n = len(group.starts)
    distance = jnp.linalg.norm(shown[..., group.place : group.place + 2], axis=-1)
    distance = jnp.where((shown != 0).any(-1), distance, jnp.inf)
    if group.radius is not None:
        distance = jnp.where(distance <= group.radius, distance, jnp.inf)
    shown = jnp.where(jnp.isfinite(distance)[..., None], shown, 0.0)
    if group.chosen:
        order = distance.argsort(-1)
        if group.compact:
            index = order[..., : group.chosen]
            which = jnp.where(jnp.isfinite(distance)[..., None], jnp.eye(n), 0.0)
            shown = jnp.take_along_axis(jnp.concatenate([shown, which], -1), index[..., None], -2)
        else:
            shown = jnp.where((order.argsort(-1) < group.chosen)[..., None], shown, 0.0)
    return shown.reshape(*shown.shape[:-2], -1)


def _obs(spec: Spec, living: bool = False) -> Slice:
    return Slice("obs", 0, spec.obs_width, living)


def _state(spec: Spec, living: bool = False) -> Slice:
    return Slice("state", 0, spec.state_width, living)


def _number(spec: Spec) -> OneHot:
    return OneHot("agent", spec.n_agents)


def _action(spec: Spec) -> OneHot:
    return OneHot("action", spec.n_actions)


VIEWS: dict[str, Callable[[Spec], tuple[Columns, ...]]] = {
    "local": lambda s: (_obs(s), _number(s)),
    "local+action": lambda s: (_obs(s), _number(s), _action(s)),
    "local-no-id": lambda s: (_obs(s),),
    "local+state": lambda s: (_obs(s), _number(s), _state(s)),
    "local+action+state": lambda s: (_obs(s), _number(s), _action(s), _state(s)),
    "state": lambda s: (_state(s),),
    "state per agent": lambda s: (_state(s, living=True), _obs(s, living=True), _number(s)),
}
"""Columns of the views by name.

`local`: own observation and one-hot agent number. `local+action`: these and the own last action (zeros on a first
step). `local-no-id`: the observation alone. `local+state`, `local+action+state`: with the world state. `state`: the
world state, once for the team. `state per agent`: as `local+state`, zeros for the dead except their number.
"""


def view(name: str, spec: Spec) -> View:
    """The view of a name in an environment; raises BadInput naming the nearest ones."""
    if name not in VIEWS:
        raise unknown("view", name, VIEWS)
    return View(name, VIEWS[name](spec), each=name != "state")


def whole_row(width: int) -> View:
    """A view of an observation that is an input already, as networks behind another one read it."""
    return View("row", (Slice("obs", 0, width),))


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
    agents, goals, features = goal_shapes(env).features.shape
    return View("state and goals", (_state(env.spec), PairGoals(agents, goals, features)), each=False)

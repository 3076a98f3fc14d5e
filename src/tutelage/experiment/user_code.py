"""Checks of a user's own methods, teachers and controllers.

An error in a user's code is reported with the name of the part that was called. What the user's policies return is
checked against the environment's `spec`: shapes and types when they are traced, values in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from tutelage.data.vector import make_vector_env
from tutelage.data.watch import FINE, OUTSIDE, Watch, fault_of
from tutelage.envs.parts import one_hot_scores
from tutelage.errors import BadInput, users
from tutelage.networks.cores import mask_logits
from tutelage.registry import method_row, resolve
from tutelage.types import Behaviour, Carry, Environment, Frozen, Method, Out, Params, Policy, Stage, TimeStep


def make_method(name: str, env: Environment, config: Any, teacher: Frozen | None) -> Method:
    """A method, ready to be fitted.

    Raises:
        BadInput: it cannot be had with these settings; or it is the user's own and raises, or gives no `Method`.
    """
    row = method_row(name)
    factory = resolve(row.factory)
    if row.factory != name:
        return factory(env, config, teacher)
    with users(f"method {name}: making it"):
        made = factory(env, config, teacher)
    if not isinstance(made, Method):
        raise BadInput(f"method {name}: gives a {type(made).__name__}, must be a tutelage.types.Method")
    told = lambda part, function: users(f"method {name}: {part}")(function)

    def of_policy(role: str, policy: Policy) -> Policy:
        replay = policy.replay and told(f"replay of {role}", policy.replay)
        init, step = told(f"init of {role}", policy.init), told(f"step of {role}", policy.step)
        return policy._replace(init=init, step=step, replay=replay)

    def of_behaviour(part: str, behaviour: Behaviour) -> Behaviour:
        plays, record = told(f"plays of {part}", behaviour.plays), told(f"record of {part}", behaviour.record)
        return behaviour._replace(policy=of_policy(part, behaviour.policy), plays=plays, record=record)

    def of_stage(stage: Stage) -> Stage:
        behaviours = {part: of_behaviour(part, one) for part, one in stage.behaviours.items()}
        return stage._replace(behaviours=behaviours, update=told(f"update of {stage.name}", stage.update))

    return made._replace(
        init=told("init", made.init),
        stages=tuple(map(of_stage, made.stages)),
        roles={role: of_policy(role, policy) for role, policy in made.roles.items()},
        params=told("params", made.params),
    )


def is_(value: Any) -> str:
    """What something is, in a few words."""
    if hasattr(value, "dtype"):
        return f"{value.dtype.name} {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"


def age_of(timestep: TimeStep) -> Any:
    """Steps since the episode began, -1 where the environment does not count them."""
    return timestep.watch.age if timestep.watch != () else jnp.full(timestep.reward.shape, -1, jnp.int32)


def acting_by(told: str, act: Callable[[TimeStep], Any], env: Environment) -> Policy:
    """A function of the user's from timesteps to actions, as a policy.

    An action that does not exist is not taken: it is told, and the first one available is taken instead.

    Raises:
        BadInput: it raises, or gives something else than whole numbers (B, N).
    """
    n, most = env.spec.n_agents, env.spec.n_actions - 1
    name = f"an action of {told} (allowed: 0 to {most})"

    def step(params: Params, carry: Carry, timestep: TimeStep, key: Array) -> tuple[Carry, Out]:
        with users(told):
            action = act(timestep)
        shape = timestep.alive.shape
        if getattr(action, "shape", None) != shape or not jnp.issubdtype(action.dtype, jnp.integer):
            must = f"whole numbers from 0 to {most} of shape (environments, agents = {n}), here {shape}"
            raise BadInput(f"{told}: gives {is_(action)}, must give {must}")
        fine = (action >= 0) & (action <= most)
        wrong = jnp.where(fine.all(-1), FINE, OUTSIDE).astype(jnp.int8)
        scores = one_hot_scores(jnp.where(fine, action, 0).astype(jnp.int32), timestep.avail)
        return carry, Out(scores, watch=Watch(age_of(timestep), {name: wrong}))

    policy = Policy(init=lambda key: (), carry=lambda count: (), step=step, watched=(name,))
    try_out(told, policy, (), env)
    return policy


def guarded(told: str, policy: Policy, params: Params, env: Environment, acts: bool = True) -> Policy:
    """A user's policy, its scores and features looked at in every step and its scores masked.

    Args:
        params: its parameters, or their shapes.
        acts: whether it gives scores, or is a critic and gives values.

    Raises:
        BadInput: it raises, or what it gives has another shape or kind.
    """
    if not isinstance(policy, Policy):
        raise BadInput(f"{told}: is {is_(policy)}, must be a tutelage.types.Policy")
    n, actions = env.spec.n_agents, env.spec.n_actions
    names = (f"a score of {told}", f"a feature of {told}") if acts else (f"a value of {told}",)

    def checked(shapes: tuple[tuple[int, ...], ...], value: Any, must: str) -> Array:
        if getattr(value, "shape", None) not in shapes or not jnp.issubdtype(value.dtype, jnp.floating):
            raise BadInput(f"{told}: gives {is_(value)}, must give {must}")
        return value

    def step(params: Params, carry: Carry, timestep: TimeStep, key: Array) -> tuple[Carry, Out]:
        with users(told):
            given = policy.step(params, carry, timestep, key)
        if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], Out):
            raise BadInput(f"{told}: step gives {is_(given)}, must give (carry, tutelage.types.Out)")
        carry, out = given
        lead, avail = timestep.alive.shape[0], timestep.avail
        if acts:
            must = f"float scores of shape (environments, agents = {n}, actions = {actions})"
            scores = checked((avail.shape,), out.scores, must).astype(jnp.float32)
            # Minus infinity is a usual mask; ours is finite, so that it can be multiplied by 0.
            scores = mask_logits(jnp.maximum(scores, -1e9), avail)
            faults = [fault_of(scores, 1), jnp.zeros(lead, jnp.int8)]
            for features in out.features:
                faults[1] = jnp.maximum(faults[1], fault_of(features, 1))
            out = out._replace(scores=scores)
        else:
            must = f"float values of shape (environments,) or (environments, agents = {n})"
            faults = [fault_of(checked(((lead,), (lead, n)), out.value, must), 1)]
        return carry, out._replace(watch=Watch(age_of(timestep), dict(zip(names, faults, strict=True))))

    made = policy._replace(step=step, replay=None, watched=names)
    try_out(told, made, params, env)
    return made


def try_out(told: str, policy: Policy, params: Params, env: Environment) -> None:
    """Let a policy act on shapes alone, in other numbers of environments than there are agents."""
    vector = make_vector_env(env, env.spec.n_agents + 1, policy.goals)

    def once(params: Params, key: Array) -> tuple[Carry, Carry]:
        with users(f"{told}: its memory"):
            before = policy.carry(vector.n)
        return before, policy.step(params, before, vector.reset(key)[1], key)[0]

    before, after = jax.eval_shape(once, params, jax.random.key(0))
    shapes = [jax.tree.map(lambda x: f"{x.dtype.name} {x.shape}", carry) for carry in (before, after)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"{told}: its memory is {shapes[0]} before a step and {shapes[1]} after it, must stay the same")


def controller_of(env: Environment, name: str) -> Policy:
    """A scripted controller of an environment; of a user's own, its scores are looked at."""
    policy = env.scripted(name)
    return guarded(f"controller {name!r} of {env.watched}", policy, (), env) if hasattr(env, "watched") else policy


PROVIDED = {"logits", "features", "critic"}
"""What a teacher can offer beside its actions."""


def guarded_team(told: str, frozen: Frozen, env: Environment) -> Frozen:
    """A user's own team, its policies looked at.

    Raises:
        BadInput: it has nobody who acts, no parameters for a role, offers what there is not, or see `guarded`.
    """
    roles, params = frozen.roles, frozen.params
    if not isinstance(roles, Mapping) or not isinstance(params, Mapping) or not {"student", "teacher"} & roles.keys():
        raise BadInput(f"{told}: roles and params must be dicts with a 'teacher' or a 'student', roles is {roles!r}")
    if roles.keys() - params.keys():
        raise BadInput(f"{told}: params of {', '.join(sorted(roles.keys() - params.keys()))} are missing")
    if set(frozen.provides) - PROVIDED:
        raise BadInput(f"{told}: provides {sorted(frozen.provides)}, allowed are {', '.join(sorted(PROVIDED))}")
    team = {}
    for role, policy in roles.items():
        team[role] = guarded(f"{told} ({role})", policy, params[role], env, acts=role != "critic")
    return frozen._replace(roles=team, provides=frozenset(frozen.provides))

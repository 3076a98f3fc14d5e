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
from tutelage.errors import BadInput, reports_user_error
from tutelage.methods.normalising import with_normalising
from tutelage.methods.rewards import with_rewards
from tutelage.networks.cores import mask_logits
from tutelage.registry import check_teacher, method_row, resolve
from tutelage.types import Behaviour, Carry, Critic, Environment, Frozen, Method, Out, Params, Policy, Stage, TimeStep


def make_method(name: str, env: Environment, config: Any, teacher: Frozen | None) -> Method:
    """A method for an environment, with the rewards and the normalised inputs that its config asks for.

    Raises:
        BadInput: the settings are impossible; or the method is the user's own, and raises or returns no `Method`.
    """
    method = with_rewards(call_factory(name, env, config, teacher), env, config)
    return with_normalising(method, env, config, own=not method_row(name).ours, taught=teacher is not None)


def call_factory(name: str, env: Environment, config: Any, teacher: Frozen | None) -> Method:
    """The method that its factory makes; what raises in a user's own names the part that was called."""
    row = method_row(name)
    check_teacher(name, teacher)
    factory = resolve(row.factory)
    if row.ours:
        return factory(env, config, teacher)
    with reports_user_error(f"method {name}: making it"):
        built = factory(env, config, teacher)
    if not isinstance(built, Method):
        raise BadInput(f"method {name}: gives a {type(built).__name__}, must be a tutelage.types.Method")
    named = lambda part, function: reports_user_error(f"method {name}: {part}")(function)

    def name_policy(role: str, policy: Policy) -> Policy:
        replay = policy.replay and named(f"replay of {role}", policy.replay)
        init, step = named(f"init of {role}", policy.init), named(f"step of {role}", policy.step)
        return policy._replace(init=init, step=step, replay=replay)

    def name_behaviour(part: str, behaviour: Behaviour) -> Behaviour:
        plays, record = named(f"plays of {part}", behaviour.plays), named(f"record of {part}", behaviour.record)
        return behaviour._replace(policy=name_policy(part, behaviour.policy), plays=plays, record=record)

    def name_stage(stage: Stage) -> Stage:
        behaviours = {part: name_behaviour(part, one) for part, one in stage.behaviours.items()}
        return stage._replace(behaviours=behaviours, update=named(f"update of {stage.name}", stage.update))

    return built._replace(
        init=named("init", built.init),
        stages=tuple(map(name_stage, built.stages)),
        roles={role: name_policy(role, policy) for role, policy in built.roles.items()},
        params=named("params", built.params),
        with_params=built.with_params and named("with_params", built.with_params),
        copy_targets=named("copy_targets", built.copy_targets),
    )


def describe(value: Any) -> str:
    """Type, and for arrays the shape, of a value, for error messages."""
    if hasattr(value, "dtype"):
        return f"{value.dtype.name} {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"


def episode_age(timestep: TimeStep) -> Any:
    """Steps since the episode began, -1 where the environment does not count them."""
    return timestep.watch.age if timestep.watch != () else jnp.full(timestep.reward.shape, -1, jnp.int32)


def policy_from_function(label: str, act: Callable[[TimeStep], Any], env: Environment) -> Policy:
    """A policy made of a user's function from timesteps to actions (B, N).

    An action out of range is marked as a fault in the output's `watch` and replaced by an available one.

    Args:
        label: name of the function in error messages.

    Raises:
        BadInput: the function raises, or does not return integers (B, N).
    """
    n, largest = env.spec.n_agents, env.spec.n_actions - 1
    name = f"an action of {label} (allowed: 0 to {largest})"

    def step(params: Params, carry: Carry, timestep: TimeStep, key: Array) -> tuple[Carry, Out]:
        with reports_user_error(label):
            action = act(timestep)
        shape = timestep.alive.shape
        if getattr(action, "shape", None) != shape or not jnp.issubdtype(action.dtype, jnp.integer):
            expected = f"whole numbers from 0 to {largest} of shape (environments, agents = {n}), here {shape}"
            raise BadInput(f"{label}: gives {describe(action)}, must give {expected}")
        in_range = (action >= 0) & (action <= largest)
        fault = jnp.where(in_range.all(-1), FINE, OUTSIDE).astype(jnp.int8)
        scores = one_hot_scores(jnp.where(in_range, action, 0).astype(jnp.int32), timestep.avail)
        return carry, Out(scores, watch=Watch(episode_age(timestep), {name: fault}))

    policy = Policy(init=lambda key: (), carry=lambda count: (), step=step, watched=(name,))
    check_memory(label, policy, (), env)
    return policy


def check_array(label: str, value: Any, shapes: tuple[tuple[int, ...], ...], expected: str) -> Array:
    """A float array of one of the shapes; raises BadInput for anything else."""
    if getattr(value, "shape", None) not in shapes or not jnp.issubdtype(value.dtype, jnp.floating):
        raise BadInput(f"{label}: gives {describe(value)}, must give {expected}")
    return value


def checked_policy(label: str, policy: Policy, params: Params, env: Environment) -> Policy:
    """A user's policy whose outputs are checked in every step and whose scores are masked.

    Args:
        label: name of the policy in error messages.
        params: its parameters, or their shapes.

    Raises:
        BadInput: it raises, or its output has another shape or type.
    """
    if not isinstance(policy, Policy):
        raise BadInput(f"{label}: is {describe(policy)}, must be a tutelage.types.Policy")
    expected = f"float scores of shape (environments, agents = {env.spec.n_agents}, actions = {env.spec.n_actions})"
    names = (f"a score of {label}", f"a feature of {label}")

    def step(params: Params, carry: Carry, timestep: TimeStep, key: Array) -> tuple[Carry, Out]:
        with reports_user_error(label):
            returned = policy.step(params, carry, timestep, key)
        if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], Out):
            raise BadInput(f"{label}: step gives {describe(returned)}, must give (carry, tutelage.types.Out)")
        carry, out = returned
        scores = check_array(label, out.scores, (timestep.avail.shape,), expected).astype(jnp.float32)
        # Minus infinity is a usual mask; ours is finite, so that it can be multiplied by 0.
        scores = mask_logits(jnp.maximum(scores, -1e9), timestep.avail)
        faults = [fault_of(scores, 1), jnp.zeros(timestep.alive.shape[0], jnp.int8)]
        for features in out.features:
            faults[1] = jnp.maximum(faults[1], fault_of(features, 1))
        watch = Watch(episode_age(timestep), dict(zip(names, faults, strict=True)))
        return carry, out._replace(scores=scores, watch=watch)

    checked = policy._replace(step=step, replay=None, watched=names, blueprint=None)
    check_memory(label, checked, params, env)
    return checked


def checked_critic(label: str, critic: Critic, params: Params, env: Environment) -> Critic:
    """A user's critic whose values are checked; raises BadInput where it raises, or gives another shape or type."""
    if not isinstance(critic, Critic):
        raise BadInput(f"{label}: is {describe(critic)}, must be a tutelage.types.Critic")
    n = env.spec.n_agents
    expected = f"float values of shape (environments,) or (environments, agents = {n})"

    def value(params: Params, timestep: TimeStep) -> Array:
        with reports_user_error(label):
            value = critic.value(params, timestep)
        batch_size = timestep.alive.shape[0]
        return check_array(label, value, ((batch_size,), (batch_size, n)), expected)

    checked = Critic(critic.init, value, watched=(f"a value of {label}",))
    vector = make_vector_env(env, n + 1)
    jax.eval_shape(lambda params, key: checked.value(params, vector.reset(key)[1]), params, jax.random.key(0))
    return checked


def check_memory(label: str, policy: Policy, params: Params, env: Environment) -> None:
    """Trace one step of a policy, and raise BadInput where it changes the shape or type of its memory.

    The batch has another size than the number of agents, so that the two axes cannot be confused.
    """
    vector = make_vector_env(env, env.spec.n_agents + 1, policy.goals)

    def step_once(params: Params, key: Array) -> tuple[Carry, Carry]:
        with reports_user_error(f"{label}: its memory"):
            before = policy.carry(vector.n)
        return before, policy.step(params, before, vector.reset(key)[1], key)[0]

    before, after = jax.eval_shape(step_once, params, jax.random.key(0))
    shapes = [jax.tree.map(lambda x: f"{x.dtype.name} {x.shape}", carry) for carry in (before, after)]
    if shapes[0] != shapes[1]:
        raise BadInput(f"{label}: its memory is {shapes[0]} before a step and {shapes[1]} after it, must stay the same")


def find_controller(env: Environment, name: str) -> Policy:
    """A scripted controller of an environment; for a user's own environment, its outputs are checked."""
    policy = env.scripted(name)
    return checked_policy(f"controller {name!r} of {env.watched}", policy, (), env) if env.watched else policy


PROVIDED = {"logits", "features", "critic"}
"""What a teacher can provide beside its actions."""


def checked_team(label: str, frozen: Frozen, env: Environment) -> Frozen:
    """A user's own team with all policies checked, see `checked_policy`.

    Raises:
        BadInput: it has no acting role, lacks parameters of a role, or provides something unknown.
    """
    roles, params = frozen.roles, frozen.params
    if not isinstance(roles, Mapping) or not isinstance(params, Mapping) or not {"student", "teacher"} & roles.keys():
        raise BadInput(f"{label}: roles and params must be dicts with a 'teacher' or a 'student', roles is {roles!r}")
    needed = {*roles, *(["critic"] if frozen.critic is not None else [])}
    if needed - params.keys():
        raise BadInput(f"{label}: params of {', '.join(sorted(needed - params.keys()))} are missing")
    if set(frozen.provides) - PROVIDED:
        raise BadInput(f"{label}: provides {sorted(frozen.provides)}, allowed are {', '.join(sorted(PROVIDED))}")
    named = lambda role: f"{label} ({role})"
    team = {role: checked_policy(named(role), policy, params[role], env) for role, policy in roles.items()}
    critic = frozen.critic
    if critic is not None:
        critic = checked_critic(named("critic"), critic, params["critic"], env)
    return frozen._replace(roles=team, provides=frozenset(frozen.provides), critic=critic)

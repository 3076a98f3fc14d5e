"""Vectorised environments: B instances of an environment stepped together, with automatic resets."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.data.trees import choose
from tutelage.data.watch import watch_timestep
from tutelage.errors import BadInput
from tutelage.types import Environment, EnvState, Spec, TimeStep, VectorEnv


def make_vector_env(env: Environment, n: int, goals: bool = False) -> VectorEnv:
    """Make a vectorised environment of `n` instances; the step after a `last` one opens a new episode.

    The action given at a `last` step is ignored, so nothing of an ending episode is lost and no transition leads
    from one episode into the next. An environment that plays many instances faster than `vmap` says so by a method
    `vector(n) -> VectorEnv` of its own, which keeps to the same.

    Args:
        goals: put the goals that agents can be given into the timesteps.

    Raises:
        BadInput: goals are asked of an environment that has none.
    """
    vector = env.vector(n) if env.vector else vmap_env(env, n)
    vector = with_goals(vector) if goals else vector
    return with_watch(vector, env.watched, env.spec) if env.watched else vector


def with_watch(env: VectorEnv, name: str, spec: Spec) -> VectorEnv:
    """Fill in `TimeStep.watch`, which says what is wrong with the values of a user's environment."""
    watched = lambda timestep, age: timestep._replace(watch=watch_timestep(name, spec, timestep, age))

    def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        state, timestep = env.reset(key)
        return state, watched(timestep, jnp.zeros(env.n, jnp.int32))

    def step(
        key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
    ) -> tuple[EnvState, TimeStep]:
        state, following = env.step(key, state, timestep._replace(watch=()), action)
        return state, watched(following, jnp.where(following.first, 0, timestep.watch.age + 1))

    return env._replace(reset=reset, step=step)


def with_goals(env: VectorEnv) -> VectorEnv:
    """Fill in `TimeStep.goals`; raises BadInput where the environment has none."""
    if env.goals is None:
        raise BadInput("goals: this environment has none; a method that assigns goals cannot be trained on it")
    goals_of = env.goals
    with_them = lambda state, timestep: (state, timestep._replace(goals=goals_of(state)))
    return env._replace(
        reset=lambda key: with_them(*env.reset(key)),
        step=lambda key, state, timestep, action: with_them(*env.step(key, state, timestep._replace(goals=()), action)),
    )


def vmap_env(env: Environment, n: int) -> VectorEnv:
    """`n` instances by `vmap`, as `make_vector_env` makes them of an environment without a `vector` of its own."""

    def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        return jax.vmap(env.reset)(jax.random.split(key, n))

    def step(
        key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
    ) -> tuple[EnvState, TimeStep]:
        key_reset, key_step = jax.random.split(key)
        going = jax.vmap(env.step)(jax.random.split(key_step, n), state, action)
        state, following = choose(timestep.last, reset(key_reset), going)
        # Observing once, after the choice, lets the compiler drop the observations of both branches.
        return state, following._replace(**jax.vmap(env.sense)(state)._asdict())

    goals = jax.vmap(env.goals) if env.goals else None
    return VectorEnv(reset, step, n, pack=lambda state: state, sense=jax.vmap(env.sense), goals=goals)

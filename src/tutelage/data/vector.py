"""B instances of an environment at once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.data.trees import choose
from tutelage.data.watch import of_timestep
from tutelage.errors import BadInput
from tutelage.types import Environment, EnvState, Spec, TimeStep, VectorEnv


def batch(env: Environment, n: int, goals: bool = False) -> VectorEnv:
    """Run `n` instances side by side; the step after a `last` one opens a new episode.

    The action given at a `last` step is ignored, so nothing of an ending episode is lost and no transition leads
    from one episode into the next. An environment that plays many instances faster than `vmap` says so by a method
    `vector(n) -> VectorEnv` of its own, which keeps to the same.

    Args:
        goals: put what agents could be sent to do into the timesteps.

    Raises:
        BadInput: goals of an environment that has none.
    """
    vector = env.vector(n) if hasattr(env, "vector") else mapped(env, n)
    vector = with_goals(vector) if goals else vector
    return with_watch(vector, env.watched, env.spec) if hasattr(env, "watched") else vector


def with_watch(env: VectorEnv, name: str, spec: Spec) -> VectorEnv:
    """Timesteps that tell what is wrong with them, for an environment of a user's."""
    watched = lambda timestep, age: timestep._replace(watch=of_timestep(name, spec, timestep, age))

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
    """Timesteps that tell of goals."""
    if env.goals is None:
        raise BadInput("goals: this environment has none; a method that assigns goals cannot be trained on it")
    find = env.goals
    told = lambda state, timestep: (state, timestep._replace(goals=find(state)))
    return env._replace(
        reset=lambda key: told(*env.reset(key)),
        step=lambda key, state, timestep, action: told(*env.step(key, state, timestep._replace(goals=()), action)),
    )


def mapped(env: Environment, n: int) -> VectorEnv:
    """`n` instances by `vmap`."""

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

    goals = jax.vmap(env.goals) if hasattr(env, "goals") else None
    return VectorEnv(reset, step, n, pack=lambda state: state, sense=jax.vmap(env.sense), goals=goals)

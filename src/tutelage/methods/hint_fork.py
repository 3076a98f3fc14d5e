"""HINT's exact filter: from states that students reach both play on with the same luck, and the outcomes are compared.

It needs an environment that can be restarted anywhere, as ours can; the steps that it plays are not in the budget.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.data.collect import CollectorState, collect
from tutelage.data.episodes import Episodes, play_on
from tutelage.policies.acting import sample, with_shadow
from tutelage.types import Params, Policy, Rollout, VectorEnv


def outcome(teacher: Episodes, student: Episodes, margin: Any) -> Bool[Array, " B"]:
    """Where the teacher wins what students lose, or earns more by `margin` and does not lose what they win."""
    gains = teacher.success & ~student.success
    loses = student.success & ~teacher.success
    return gains | (~loses & (teacher.returns - student.returns > margin))


def same_episode(first: Bool[Array, "K B"]) -> Bool[Array, "K B"]:
    """Of consecutive steps, those of the episode that the first of them belongs to."""
    begun = jnp.cumsum(first[1:], 0) > 0
    return jnp.concatenate([jnp.ones_like(first[:1]), ~begun])


def walk(
    env: VectorEnv,
    student: tuple[Policy, Params],
    teacher: tuple[Policy, Params],
    collector: CollectorState,
    key: PRNGKeyArray,
    steps: int,
    every: int,
    margin: Any,
) -> tuple[CollectorState, Rollout, Bool[Array, "T B"], Array]:
    """Students play on from where `collector` stands, and every so many steps the future is tried out with either.

    Args:
        collector: of both at once; its memory is (students', teacher's).
        margin: by how much more the teacher must earn.

    Returns:
        Where it stands, what students lived through, the steps on which the teacher is worth listening to, and how many
        environment steps it took.
    """
    both, params = with_shadow(student[0], teacher[0]), (student[1], teacher[1])

    def future(i: int, collector: CollectorState, key: PRNGKeyArray) -> Episodes:
        policy, own = (student, teacher)[i]
        return play_on(
            env, policy, own, sample, collector._replace(carry=collector.carry[i]), collector.timestep.last, key
        )

    def stretch(collector: CollectorState, key: PRNGKeyArray) -> tuple[CollectorState, tuple[Rollout, Array, Array]]:
        keys = jax.random.split(key)
        theirs, its = (future(i, collector, keys[0]) for i in range(2))
        better = outcome(its, theirs, margin) & ~collector.timestep.last
        collector, rollout = collect(env, both, params, sample, collector, keys[1], every)
        worth = better & same_episode(rollout.steps.first[:-1])
        return collector, (rollout, worth, (theirs.length + its.length).sum() + worth.size)

    end, (parts, worth, played) = jax.lax.scan(stretch, collector, jax.random.split(key, steps // every))
    flat = lambda x: x.reshape(steps, *x.shape[2:])
    timesteps = jax.tree.map(lambda x, y: jnp.concatenate([flat(x[:, :-1]), y[None]]), parts.steps, end.timestep)
    rollout = Rollout(timesteps, flat(parts.log_prob), (), collector.carry[0], flat(parts.valid))
    return end, rollout, flat(worth), played.sum()

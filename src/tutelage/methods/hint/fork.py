"""HINT's exact filter: from states that students reach, teacher and students play on with the same random numbers.

The outcomes are compared. It needs an environment that can start from any state, as those of the package can. Its steps
do not count for the budget.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.data.collect import CollectorState, collect
from tutelage.data.episodes import Episodes, play_on_each
from tutelage.policies.acting import sample
from tutelage.policies.compose import with_shadow
from tutelage.types import Params, Policy, Rollout, VectorEnv


def teacher_does_better(teacher: Episodes, student: Episodes) -> Bool[Array, " B"]:
    """Where the teacher succeeds and students fail, or its return is higher and it does not fail alone."""
    gains = teacher.success & ~student.success
    loses = student.success & ~teacher.success
    return gains | (~loses & (teacher.returns > student.returns))


def same_episode(first: Bool[Array, "K B"]) -> Bool[Array, "K B"]:
    """Of K consecutive steps, those that belong to the episode of the first."""
    new_episode = jnp.cumsum(first[1:], 0) > 0
    return jnp.concatenate([jnp.ones_like(first[:1]), ~new_episode])


def collect_with_forks(
    env: VectorEnv,
    student: tuple[Policy, Params],
    teacher: tuple[Policy, Params],
    collector: CollectorState,
    key: PRNGKeyArray,
    steps: int,
    every: int,
) -> tuple[CollectorState, Rollout, Bool[Array, "T B"], Array]:
    """Collect a rollout of students; every so many steps, students and teacher each play to the episode's end.

    Args:
        collector: for both policies; its memory is (students', teacher's).
        every: steps between two such forks.

    Returns:
        The collector after the last step, the students' rollout, the steps (T, B) from whose fork on the teacher does
        better, and the number of environment steps taken.
    """
    both, params = with_shadow(student[0], teacher[0]), (student[1], teacher[1])

    def segment(collector: CollectorState, key: PRNGKeyArray) -> tuple[CollectorState, tuple[Rollout, Array, Array]]:
        keys = jax.random.split(key)
        of_student, of_teacher = play_on_each(
            env, (student, teacher), sample, collector, collector.timestep.last, keys[0]
        )
        does_better = teacher_does_better(of_teacher, of_student) & ~collector.timestep.last
        collector, rollout = collect(env, both, params, sample, collector, keys[1], every)
        teacher_better = does_better & same_episode(rollout.steps.first[:-1])
        return collector, (rollout, teacher_better, (of_student.length + of_teacher.length).sum() + teacher_better.size)

    end, (rollouts, teacher_better, steps_played) = jax.lax.scan(
        segment, collector, jax.random.split(key, steps // every)
    )
    flat = lambda x: x.reshape(steps, *x.shape[2:])
    timesteps = jax.tree.map(lambda x, y: jnp.concatenate([flat(x[:, :-1]), y[None]]), rollouts.steps, end.timestep)
    rollout = Rollout(timesteps, flat(rollouts.log_prob), (), collector.carry[0], flat(rollouts.valid))
    return end, rollout, flat(teacher_better), steps_played.sum()

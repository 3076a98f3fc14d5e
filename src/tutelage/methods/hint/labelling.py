"""HINT's second step: both rollouts are labelled by the teacher, and filtered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.data.transitions import transitions
from tutelage.data.watch import first_faults
from tutelage.learning.losses import masked_mean
from tutelage.methods.hint.experience import Experience, student_experience
from tutelage.methods.hint.fork import collect_with_forks
from tutelage.methods.hint.labels import LabelledExperience, concatenated, label_and_filter
from tutelage.methods.hint.state import HintComponents, HintState
from tutelage.methods.hint.students import StudentExperience, make_student_experience
from tutelage.policies.hierarchy import teacher_policy
from tutelage.types import Metrics, Rollout


def label_both(
    components: HintComponents,
    state: HintState,
    value_fn: Callable[[Experience], Array],
    own: Experience,
    other: Experience,
    rollouts: Mapping[str, Rollout],
    key: PRNGKeyArray,
) -> tuple[LabelledExperience, StudentExperience | None, Any, Metrics]:
    """Label the teacher's and the students' experience, and mark what students learn from.

    Args:
        value_fn: experience -> the students' expected return from each step on.
        own, other: experience of the teacher and of the students.

    Returns:
        Both, labelled; the students' own for PPO (None without that term); the collector of forks; metrics.
    """
    networks, collector, metrics = components.networks, state.walk, {}
    config, student_rollout, keep = networks.config, rollouts["student"], other.valid
    if components.fork_env:
        teacher = teacher_policy(networks.hierarchy, explore=False)
        pairs = (components.student, state.student.params), (teacher, state.teacher.params)
        keys = jax.random.split(key)
        collector, student_rollout, keep, steps = collect_with_forks(
            components.fork_env, *pairs, collector, keys[0], config.rollout, config.every
        )
        other = student_experience(networks, state.teacher.params, student_rollout, keys[1])
        metrics = {"forked_steps": steps} | first_faults((student_rollout.steps.watch,))
    of_teacher = label_and_filter(networks, state.teacher, own, value_fn(own), True, rollouts["teacher"].carry[1])
    student_value = value_fn(other)
    of_students = label_and_filter(networks, state.teacher, other, student_value, False, student_rollout.carry)
    of_students = of_students._replace(keep=of_students.keep & keep[..., None])
    latest = None
    if config.rl:
        latest = make_student_experience(config, other, student_value, student_rollout.log_prob, student_rollout.carry)
    share_kept = lambda x, source: masked_mean(x.keep.astype(jnp.float32), transitions(source).counts)
    metrics |= {"kept_own": share_kept(of_teacher, own), "kept_student": share_kept(of_students, other)}
    return concatenated(of_teacher, of_students), latest, collector, metrics

"""HINT: a hierarchical teacher that also learns from its students' experience, and students distilled from it.

Before all else, executors are trained on random goals. Then, in every iteration, teacher and students each collect a
rollout, and

1. the teacher's own rollout and the students' become experience of the teacher: of the students', goals are inferred
   from their actions (`experience`);
2. the teacher is updated on both, with V-trace on the students' (pseudo off-policy learning; `teacher`);
3. the teacher labels both rollouts, and a filter marks what students learn from (`labelling`);
4. the students' value function is updated on their own rollout (`students`);
5. students are fitted to the labels of the last iterations (DAgger; `students`).

Only the students run at deployment.
Reference: HINT (arXiv 2601.05407), as far as its abstract and second-hand reports go; see docs/methods/hint.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import annealed
from tutelage.methods.hint.experience import student_experience, teacher_experience
from tutelage.methods.hint.labelling import label_both
from tutelage.methods.hint.state import HintComponents, HintState, init_state, make_components
from tutelage.methods.hint.students import expected_return, store_iteration, update_student, update_student_value
from tutelage.methods.hint.teacher import make_teacher_batch, update_teacher
from tutelage.policies.acting import sample
from tutelage.policies.compose import with_shadow
from tutelage.policies.hierarchy import teacher_policy
from tutelage.types import Behaviour, Environment, Frozen, Method, Metrics, Params, Policy, Rollout, Stage


def update_iteration(
    components: HintComponents, state: HintState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
) -> tuple[HintState, Metrics]:
    """One iteration, numbered as above."""
    networks, config, teacher = components.networks, components.networks.config, state.teacher
    keys, lr = jax.random.split(key, 5), annealed(config, progress)

    # 1. Both rollouts as experience of the teacher.
    own = teacher_experience(networks, teacher.params, rollouts["teacher"])
    other = student_experience(networks, teacher.params, rollouts["student"], keys[0])

    # 2. The teacher learns from both.
    batches = [make_teacher_batch(networks, teacher, own, 1.0)]
    if config.off_policy:
        batches.append(make_teacher_batch(networks, teacher, other, config.off_policy))
    # The students' value is in units of the returns that it was fitted to, before this iteration's are included.
    value_fn = partial(expected_return, networks, state.value.params, teacher.returns)
    teacher, teacher_metrics = update_teacher(networks, teacher, batches, keys[1], lr, goals=not config.flat)
    state = state._replace(teacher=teacher)

    # 3. It labels both, and the filter marks what students learn from.
    labelled, latest, walk, filter_metrics = label_both(components, state, value_fn, own, other, rollouts, keys[3])
    store = store_iteration(state.store, labelled, state.iterations % config.store)

    # 4. The students' value function.
    value, value_metrics = update_student_value(
        networks, teacher.returns, state.value, other, value_fn(other), keys[4], lr
    )

    # 5. The students.
    student_lr = lr * (config.student_lr / config.lr)
    student, student_metrics = update_student(
        networks, components.student, state.student, store, state.iterations, latest, keys[2], student_lr
    )

    rates = {
        "teacher_success": rollouts["teacher"].success_rate,
        "student_success": rollouts["student"].success_rate,
        "ratio": masked_mean(jnp.minimum(other.ratio, 1.0), other.valid[..., None]),
    }
    metrics = teacher_metrics | value_metrics | filter_metrics | student_metrics | rates
    return HintState(teacher, student, value, store, state.iterations + 1, walk), metrics


def pretrain_executors(
    components: HintComponents, state: HintState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any
) -> tuple[HintState, Metrics]:
    """Update the executors and their values on experience with random goals."""
    networks = components.networks
    experience = teacher_experience(networks, state.teacher.params, rollouts["random goals"])
    batches = [make_teacher_batch(networks, state.teacher, experience, 1.0)]
    teacher, metrics = update_teacher(networks, state.teacher, batches, key, networks.config.lr, goals=False)
    return state._replace(teacher=teacher), metrics


def make_stages(components: HintComponents) -> tuple[Stage, ...]:
    """Executors on random goals, then teacher and students together, each in half of the environments."""
    (networks, student, _), config = components, components.networks.config
    half = config.envs // 2
    explores = partial(teacher_policy, networks.hierarchy, explore=True)
    record_goals = lambda timestep, carry, out: out.extra

    def behaviour(policy: Policy, params: Any, envs: int, record: Any) -> Behaviour:
        plays = lambda state, progress: (params(state), sample)
        return Behaviour(policy, plays, envs, config.rollout, record=record, goals=True)

    both = {
        "teacher": behaviour(
            with_shadow(explores(), student), lambda s: (s.teacher.params, s.student.params), half, record_goals
        ),
        "student": behaviour(student, lambda s: s.student.params, half, lambda *_: ()),
    }
    train, pretrain = partial(update_iteration, components), partial(pretrain_executors, components)
    if config.flat or not config.pretrain:
        return (Stage("train", both, train, config.steps),)
    random_goals = behaviour(explores(random_goals=True), lambda s: s.teacher.params, config.envs, record_goals)
    fixed = ("student", "value", "store", "iterations", "walk")
    return (
        Stage("pretrain", {"random goals": random_goals}, pretrain, config.pretrain, evaluated=False, fixed=fixed),
        Stage("train", both, train, config.steps - config.pretrain),
    )


def with_params(state: HintState, given: Mapping[str, Params]) -> HintState:
    """The same with given parameters of students and teacher."""
    learner, teacher = state.student, state.teacher
    new = {"student": learner.params, "teacher": teacher.params, **given}
    networks = {name: getattr(teacher, name)._replace(params=params) for name, params in new["teacher"].items()}
    return state._replace(student=learner._replace(params=new["student"]), teacher=teacher._replace(**networks))


def hint(env: Environment, config: HintConfig, teacher: Frozen | None = None) -> Method:
    """A hierarchical teacher and its students, which learn together.

    Raises:
        BadInput: the environment has no goals.
    """
    components = make_components(env, config)
    return Method(
        init=lambda key: init_state(components, env, key),
        stages=make_stages(components),
        roles={"student": components.student, "teacher": teacher_policy(components.networks.hierarchy, explore=False)},
        params=lambda state: {"student": state.student.params, "teacher": state.teacher.params},
        also_tested=("teacher",),
        with_params=with_params,
    )

"""HINT: a hierarchical teacher that also learns from its students' experience, and students distilled from it.

In every iteration teacher and students each collect a rollout. Then

1. the teacher is updated on its own rollout, and on the students' with V-trace and goals inferred from their actions
   (pseudo off-policy learning; `hint_experience`, `hint_teacher`);
2. it labels both rollouts, and a filter marks what students learn from (`hint_labels`, `hint_fork`);
3. students are fitted to its distributions on the labelled rollouts of the last iterations (DAgger; `hint_student`).

Before that, executors are trained on random goals. Only the students run at deployment.
Reference: HINT (arXiv 2601.05407), as far as its abstract and second-hand reports go; see docs/methods/hint.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.data.collect import init_collector as init_collector
from tutelage.data.replay import size_of
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import first_faults
from tutelage.errors import BadInput
from tutelage.learning.losses import masked_mean
from tutelage.learning.normaliser import Normaliser, init_normaliser
from tutelage.learning.optim import Learner, annealed, clipped_adam, init_learner
from tutelage.methods.hint_experience import Experience, HintNetworks, student_experience, teacher_experience
from tutelage.methods.hint_fork import collect_with_forks
from tutelage.methods.hint_labels import LabelledExperience, concatenated, label_and_filter
from tutelage.methods.hint_student import (
    StudentExperience,
    make_student_experience,
    store_iteration,
    update_student,
    update_student_value,
)
from tutelage.methods.hint_teacher import TeacherState, make_teacher_batch, team_value, update_teacher
from tutelage.networks.cores import value_net
from tutelage.policies.acting import sample, with_shadow
from tutelage.policies.build import build_team
from tutelage.policies.hierarchy import make_hierarchy, teacher_policy
from tutelage.policies.views import goal_shapes, view
from tutelage.types import (
    Behaviour,
    Environment,
    Frozen,
    Method,
    Metrics,
    Params,
    Policy,
    Rollout,
    Stage,
    TimeStep,
    VectorEnv,
)


class HintState(NamedTuple):
    """Train state of HINT.

    Attributes:
        value: the students' value function V(s).
        store: labelled experience of the last iterations, leaves (R, ...). iterations: how many there have been.
        walk: collector state of the filter by forks (`hint_fork`); () without that filter.
    """

    teacher: TeacherState
    student: Learner
    value: Learner
    store: LabelledExperience
    iterations: Array
    walk: Any


class HintComponents(NamedTuple):
    """HINT's networks, the students' team, and the environments of the filter by forks (None without it)."""

    networks: HintNetworks
    student: Policy
    fork_env: VectorEnv | None


def make_components(env: Environment, config: HintConfig) -> HintComponents:
    """Make teacher and students; raises BadInput where the environment has no goals."""
    spec = env.spec
    executor_view = view(config.teacher_view)
    sizes = (config.teacher_width, config.pair_width)
    hierarchy = make_hierarchy(spec, goal_shapes(env), executor_view, *sizes, config.every, config.spread, config.flat)
    networks = HintNetworks(config, hierarchy, value_net(spec.state_width, config.teacher_width))
    fork_env = make_vector_env(env, config.fork_envs, goals=True) if config.filter_student == "fork" else None
    return HintComponents(networks, build_team(spec, config, view("local")), fork_env)


def init_state(components: HintComponents, env: Environment, key: PRNGKeyArray) -> HintState:
    """Initial train state, with an empty store."""
    networks, student, fork_env = components
    config = networks.config
    keys = jax.random.split(key, 6)
    init = lambda params: init_learner(clipped_adam(config.grad_clip), params)
    policy = teacher_policy(networks.hierarchy, explore=True).init(keys[0])
    both = with_shadow(student, teacher_policy(networks.hierarchy, explore=False))
    values = {"each": networks.hierarchy.value.init(keys[1]), "team": networks.value.init(keys[2])}
    teacher = TeacherState(init(policy["coordinator"]), init(policy["executor"]), init(values), init_normaliser())
    return HintState(
        teacher,
        init(student.init(keys[3])),
        init(networks.value.init(keys[4])),
        init_store(components, env),
        jnp.zeros((), jnp.int32),
        init_collector(fork_env, both, keys[5]) if fork_env else (),
    )


def init_store(components: HintComponents, env: Environment) -> LabelledExperience:
    """An empty store; raises BadInput where it would not fit into `memory_gb`."""
    config = components.networks.config
    size = size_of(jax.eval_shape(lambda: empty_store(components, env)))
    if size > config.memory_gb * 1e9:
        raise BadInput(
            f"store: {config.store} iterations of {config.rollout} steps in {config.envs} environments would take "
            f"{size / 1e9:.2f} GB, allowed are memory_gb = {config.memory_gb:g}"
        )
    return empty_store(components, env)


def empty_store(components: HintComponents, env: Environment) -> LabelledExperience:
    """A store of zeros for the last iterations."""
    config, spec = components.networks.config, env.spec
    r, t, n = config.store, config.rollout, spec.n_agents
    b = config.envs // 2 + (config.fork_envs if components.fork_env else config.envs // 2)
    zeros = lambda *shape, dtype=jnp.float32: jnp.zeros((r, t, b, *shape), dtype)
    nothing: Any = ()
    steps = TimeStep(
        obs=zeros(n, spec.obs_width),
        state=nothing,
        avail=zeros(n, spec.n_actions, dtype=bool),
        alive=zeros(n, dtype=bool),
        action=zeros(n, dtype=jnp.int32),
        reward=nothing,
        discount=nothing,
        first=zeros(dtype=bool),
        last=nothing,
        success=nothing,
        links=zeros(n, n, dtype=bool) if spec.links else (),
    )
    carry = jax.tree.map(
        lambda x: jnp.zeros((r, *x.shape), x.dtype), jax.eval_shape(lambda: components.student.carry(b))
    )
    return LabelledExperience(steps, carry, zeros(n, spec.n_actions), zeros(n, dtype=bool))


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
        margin, keys = config.margin * state.teacher.returns.deviation, jax.random.split(key)
        collector, student_rollout, keep, steps = collect_with_forks(
            components.fork_env, *pairs, collector, keys[0], config.rollout, config.every, margin
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
    counts = lambda source: source.valid[..., None] & source.steps.acts[:-1]
    share_kept = lambda x, source: masked_mean(x.keep.astype(jnp.float32), counts(source))
    metrics |= {"kept_own": share_kept(of_teacher, own), "kept_student": share_kept(of_students, other)}
    return concatenated(of_teacher, of_students), latest, collector, metrics


def expected_return(networks: HintNetworks, students: Params, returns: Normaliser, experience: Experience) -> Array:
    """The students' expected return from each step on, (T+1, B), in raw reward units."""
    return team_value(networks, students, returns, experience.steps.state)


def success_rate(rollout: Rollout) -> Array:
    """Success rate of the episodes that end in a rollout."""
    return masked_mean(rollout.steps.success[1:].astype(jnp.float32), rollout.ended)


def update_all(
    components: HintComponents, state: HintState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
) -> tuple[HintState, Metrics]:
    """One iteration: update the teacher, label experience, update the students."""
    networks, config = components.networks, components.networks.config
    keys, lr = jax.random.split(key, 5), annealed(config, progress)
    own = teacher_experience(networks, state.teacher.params, rollouts["teacher"])
    other = student_experience(networks, state.teacher.params, rollouts["student"], keys[0])
    batches = [make_teacher_batch(networks, state.teacher, own, 1.0)]
    if config.off_policy:
        batches.append(make_teacher_batch(networks, state.teacher, other, config.off_policy))
    # The students' value is in units of the returns that it was fitted to, before this iteration's are included.
    value_fn = partial(expected_return, networks, state.value.params, state.teacher.returns)
    teacher, metrics = update_teacher(networks, state.teacher, batches, keys[1], lr, goals=not config.flat)
    state = state._replace(teacher=teacher)

    new, latest, collector, filter_metrics = label_both(components, state, value_fn, own, other, rollouts, keys[3])
    value, value_metrics = update_student_value(
        networks, teacher.returns, state.value, other, value_fn(other), keys[4], lr
    )
    state = state._replace(value=value)
    store = store_iteration(state.store, new, state.iterations % config.store)
    student_lr = lr * (config.student_lr / config.lr)
    student, student_metrics = update_student(
        config, components.student, state.student, store, state.iterations, latest, keys[2], student_lr
    )
    metrics |= (
        value_metrics
        | filter_metrics
        | student_metrics
        | {
            "teacher_success": success_rate(rollouts["teacher"]),
            "student_success": success_rate(rollouts["student"]),
            "ratio": masked_mean(jnp.minimum(other.ratio, 1.0), other.valid[..., None]),
        }
    )
    return state._replace(student=student, store=store, iterations=state.iterations + 1, walk=collector), metrics


def hint(env: Environment, config: HintConfig, teacher: Frozen | None = None) -> Method:
    """A hierarchical teacher and its students, which learn together.

    Raises:
        BadInput: a teacher was named, or the environment has no goals.
    """
    if teacher is not None:
        raise BadInput("teacher: hint trains its own; distil a finished one with kd_marl, kl or bc")
    components = make_components(env, config)
    networks, student, _ = components
    half = config.envs // 2
    record_goals = lambda timestep, carry, out: out.extra

    def pretrain(state: HintState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any) -> Any:
        experience = teacher_experience(networks, state.teacher.params, rollouts["random goals"])
        batches = [make_teacher_batch(networks, state.teacher, experience, 1.0)]
        updated, metrics = update_teacher(networks, state.teacher, batches, key, config.lr, goals=False)
        return state._replace(teacher=updated), metrics

    def behaviour(policy: Policy, plays: Any, envs: int, record: Any) -> Behaviour:
        return Behaviour(policy, plays, envs, config.rollout, record=record, goals=True)

    acting_policy = teacher_policy(networks.hierarchy, explore=True)
    random_goals_policy = teacher_policy(networks.hierarchy, explore=True, random_goals=True)
    stages = []
    if config.pretrain and not config.flat:
        random_behaviour = behaviour(
            random_goals_policy, lambda s, progress: (s.teacher.params, sample), config.envs, record_goals
        )
        fixed = ("student", "value", "store", "iterations", "walk")
        stages.append(
            Stage(
                "pretrain", {"random goals": random_behaviour}, pretrain, config.pretrain, evaluated=False, fixed=fixed
            )
        )
    both = {
        "teacher": behaviour(
            with_shadow(acting_policy, student),
            lambda s, progress: ((s.teacher.params, s.student.params), sample),
            half,
            record_goals,
        ),
        "student": behaviour(student, lambda s, progress: (s.student.params, sample), half, lambda *_: ()),
    }
    budget = config.steps - sum(stage.budget for stage in stages)
    stages.append(Stage("train", both, lambda s, p, key, progress: update_all(components, s, p, key, progress), budget))
    return Method(
        init=lambda key: init_state(components, env, key),
        stages=tuple(stages),
        roles={"student": student, "teacher": teacher_policy(networks.hierarchy, explore=False)},
        params=lambda state: {"student": state.student.params, "teacher": state.teacher.params},
        also_tested=("teacher",),
    )

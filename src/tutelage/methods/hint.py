"""HINT: a hierarchical teacher that goes on learning from its students' experience, and teaches what changes outcomes.

Teacher and students play side by side. Then

1. the teacher learns from its own episodes, and from its students' with V-trace and goals that explain what they did
   (pseudo off-policy learning; `hint_teacher`);
2. it labels both, and a filter keeps what is worth learning (`hint_labels`);
3. students match its distributions on what was kept in the last iterations (DAgger; `hint_student`).

Before that, executors are trained on random goals. Executed are the students alone.
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
from tutelage.methods.hint_experience import Parts, Told, of_students, of_teacher
from tutelage.methods.hint_fork import walk
from tutelage.methods.hint_labels import Labelled, joined, teach
from tutelage.methods.hint_student import Acted, acted, distil, learn_student_value, put
from tutelage.methods.hint_teacher import Teacher, learn, lesson, team_value
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
    """Everything that learns.

    Attributes:
        value: of the students, V(s).
        store: the last iterations, leaves (R, ...). iterations: how many there have been.
        walk: where the episodes stand that both play on from; () without that filter.
    """

    teacher: Teacher
    student: Learner
    value: Learner
    store: Labelled
    iterations: Array
    walk: Any


class Cast(NamedTuple):
    """Who plays: settings, the teacher's parts, and the students; where both play on, for that filter."""

    parts: Parts
    student: Policy
    walks: VectorEnv | None


def build(env: Environment, config: HintConfig) -> Cast:
    """Teacher and students; raises BadInput where the environment offers no goals."""
    spec = env.spec
    seen = view(config.teacher_view)
    sizes = (config.teacher_width, config.pair_width)
    tree = make_hierarchy(spec, goal_shapes(env), seen, *sizes, config.every, config.spread, config.flat)
    parts = Parts(config, tree, value_net(spec.state_width, config.teacher_width))
    walks = make_vector_env(env, config.fork_envs, goals=True) if config.filter_student == "fork" else None
    return Cast(parts, build_team(spec, config, view("local")), walks)


def start(cast: Cast, env: Environment, key: PRNGKeyArray) -> HintState:
    """New teacher and students, nothing stored."""
    parts, student, walks = cast
    config = parts.config
    keys = jax.random.split(key, 6)
    begin = lambda params: init_learner(clipped_adam(config.grad_clip), params)
    policy = teacher_policy(parts.tree, explore=True).init(keys[0])
    both = with_shadow(student, teacher_policy(parts.tree, explore=False))
    values = {"each": parts.tree.value.init(keys[1]), "team": parts.team.init(keys[2])}
    teacher = Teacher(begin(policy["coordinator"]), begin(policy["executor"]), begin(values), init_normaliser())
    return HintState(
        teacher,
        begin(student.init(keys[3])),
        begin(parts.team.init(keys[4])),
        room(cast, env),
        jnp.zeros((), jnp.int32),
        init_collector(walks, both, keys[5]) if walks else (),
    )


def room(cast: Cast, env: Environment) -> Labelled:
    """An empty store; raises BadInput where it would not fit into `memory_gb`."""
    config = cast.parts.config
    size = size_of(jax.eval_shape(lambda: blank(cast, env)))
    if size > config.memory_gb * 1e9:
        raise BadInput(
            f"store: {config.store} iterations of {config.rollout} steps in {config.envs} environments would take "
            f"{size / 1e9:.2f} GB, allowed are memory_gb = {config.memory_gb:g}"
        )
    return blank(cast, env)


def blank(cast: Cast, env: Environment) -> Labelled:
    """A store with room for the last iterations."""
    config, spec = cast.parts.config, env.spec
    r, t, n = config.store, config.rollout, spec.n_agents
    b = config.envs // 2 + (config.fork_envs if cast.walks else config.envs // 2)
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
    carry = jax.tree.map(lambda x: jnp.zeros((r, *x.shape), x.dtype), jax.eval_shape(lambda: cast.student.carry(b)))
    return Labelled(steps, carry, zeros(n, spec.n_actions), zeros(n, dtype=bool))


def taught(
    cast: Cast,
    state: HintState,
    expect: Callable[[Told], Array],
    own: Told,
    other: Told,
    played: Mapping[str, Rollout],
    key: PRNGKeyArray,
) -> tuple[Labelled, Acted | None, Any, Metrics]:
    """Label both sources and keep what is worth learning; also what PPO learns from, and where the walk stands now.

    Args:
        expect: what students are expected to earn from each step on.
    """
    parts, collector, more = cast.parts, state.walk, {}
    config, theirs, worth = parts.config, played["student"], other.valid
    if cast.walks:
        teacher = teacher_policy(parts.tree, explore=False)
        pairs = (cast.student, state.student.params), (teacher, state.teacher.params)
        margin, keys = config.margin * state.teacher.returns.deviation, jax.random.split(key)
        collector, theirs, worth, steps = walk(
            cast.walks, *pairs, collector, keys[0], config.rollout, config.every, margin
        )
        other = of_students(parts, state.teacher.params, theirs, keys[1])
        more = {"forked_steps": steps} | first_faults((theirs.steps.watch,))
    first = teach(parts, state.teacher, own, expect(own), True, played["teacher"].carry[1])
    earns = expect(other)
    second = teach(parts, state.teacher, other, earns, False, theirs.carry)
    second = second._replace(keep=second.keep & worth[..., None])
    latest = acted(config, other, earns, theirs.log_prob, theirs.carry) if config.rl else None
    kept = lambda x, told: masked_mean(x.keep.astype(jnp.float32), told.valid[..., None] & told.steps.acts[:-1])
    more |= {"kept_own": kept(first, own), "kept_student": kept(second, other)}
    return joined(first, second), latest, collector, more


def expected(parts: Parts, students: Params, scale: Normaliser, told: Told) -> Array:
    """What students are expected to earn from each step on, (T+1, B)."""
    return team_value(parts, students, scale, told.steps.state)


def rate(rollout: Rollout) -> Array:
    """Share of the episodes ending in a rollout that succeed."""
    return masked_mean(rollout.steps.success[1:].astype(jnp.float32), rollout.ended)


def update(
    cast: Cast, state: HintState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
) -> tuple[HintState, Metrics]:
    """One iteration: the teacher learns, labels, and the students learn."""
    parts, config = cast.parts, cast.parts.config
    keys, lr = jax.random.split(key, 5), annealed(config, progress)
    own = of_teacher(parts, state.teacher.params, played["teacher"])
    other = of_students(parts, state.teacher.params, played["student"], keys[0])
    lessons = [lesson(parts, state.teacher, own, 1.0)]
    if config.off_policy:
        lessons.append(lesson(parts, state.teacher, other, config.off_policy))
    # The students' value speaks in units of the returns that it was fitted to, before these are seen.
    expect = partial(expected, parts, state.value.params, state.teacher.returns)
    teacher, told = learn(parts, state.teacher, lessons, keys[1], lr, goals=not config.flat)
    state = state._replace(teacher=teacher)

    new, latest, collector, kept = taught(cast, state, expect, own, other, played, keys[3])
    value, more = learn_student_value(parts, teacher.returns, state.value, other, expect(other), keys[4], lr)
    state = state._replace(value=value)
    store = put(state.store, new, state.iterations % config.store)
    theirs = lr * (config.student_lr / config.lr)
    student, last = distil(config, cast.student, state.student, store, state.iterations, latest, keys[2], theirs)
    told |= (
        more
        | kept
        | last
        | {
            "teacher_success": rate(played["teacher"]),
            "student_success": rate(played["student"]),
            "ratio": masked_mean(jnp.minimum(other.ratio, 1.0), other.valid[..., None]),
        }
    )
    return state._replace(student=student, store=store, iterations=state.iterations + 1, walk=collector), told


def hint(env: Environment, config: HintConfig, teacher: Frozen | None = None) -> Method:
    """A hierarchical teacher and its students, learning together.

    Raises:
        BadInput: a teacher was named, or the environment offers no goals.
    """
    if teacher is not None:
        raise BadInput("teacher: hint trains its own; distil a finished one with kd_marl, kl or bc")
    cast = build(env, config)
    parts, student, _ = cast
    half = config.envs // 2
    drawn = lambda timestep, carry, out: out.extra

    def before(state: HintState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any) -> Any:
        told = of_teacher(parts, state.teacher.params, played["random goals"])
        now, metrics = learn(
            parts, state.teacher, [lesson(parts, state.teacher, told, 1.0)], key, config.lr, goals=False
        )
        return state._replace(teacher=now), metrics

    def behaviour(policy: Policy, plays: Any, envs: int, record: Any) -> Behaviour:
        return Behaviour(policy, plays, envs, config.rollout, record=record, goals=True)

    acting = teacher_policy(parts.tree, explore=True)
    trying = teacher_policy(parts.tree, explore=True, random_goals=True)
    stages = []
    if config.pretrain and not config.flat:
        wandering = behaviour(trying, lambda s, progress: (s.teacher.params, sample), config.envs, drawn)
        fixed = ("student", "value", "store", "iterations", "walk")
        stages.append(
            Stage("pretrain", {"random goals": wandering}, before, config.pretrain, evaluated=False, fixed=fixed)
        )
    both = {
        "teacher": behaviour(
            with_shadow(acting, student),
            lambda s, progress: ((s.teacher.params, s.student.params), sample),
            half,
            drawn,
        ),
        "student": behaviour(student, lambda s, progress: (s.student.params, sample), half, lambda *_: ()),
    }
    budget = config.steps - sum(stage.budget for stage in stages)
    stages.append(Stage("train", both, lambda s, p, key, progress: update(cast, s, p, key, progress), budget))
    return Method(
        init=lambda key: start(cast, env, key),
        stages=tuple(stages),
        roles={"student": student, "teacher": teacher_policy(parts.tree, explore=False)},
        params=lambda state: {"student": state.student.params, "teacher": state.teacher.params},
        also_tested=("teacher",),
    )

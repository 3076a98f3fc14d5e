"""KD-MARL: distils a frozen expert into small students that act alone, without a critic for the students.

1. Stage `gather`: the expert acts (in a share of environments at a higher temperature, so that the data have states in
   which it recovers from mistakes), and every step is labelled once with its logits, features and advantage (`data`).
2. Stage `distil`: students descend the sum of the terms (`losses`) on the gathered sequences, epoch after epoch.

With `data = dagger` the first stage has rounds: students act more and more of the time themselves, the expert labels,
and students learn between rounds. `kl`, `bc` and `dagger_kl` are the same with one term.

Reference: KD-MARL (arXiv 2604.06691) names the terms; every formula here is a reconstruction, see docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.minibatches import shuffles, take_sequences
from tutelage.errors import BadInput
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend
from tutelage.methods.kd_marl.components import KdComponents, coverage_notes, make_components, term_weights
from tutelage.methods.kd_marl.data import (
    KdState,
    critic_faults,
    dagger_behaviour,
    expert_behaviour,
    make_init,
    store_rollout,
)
from tutelage.methods.kd_marl.losses import student_loss
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Rollout, Stage

Rollouts = Mapping[str, Rollout]


def update_student(
    components: KdComponents, state: KdState, index: Int[Array, "count size"], lr: Any
) -> tuple[KdState, Metrics]:
    """One gradient step per row of `index`, each on the sequences of these numbers."""
    tx = clipped_adam(components.config.grad_clip)

    def step(students: Learner, index: Array) -> tuple[Learner, Metrics]:
        memory = state.memory
        data = take_sequences(memory._replace(carry=()), index)._replace(carry=take_sequences(memory.carry, index, 0))
        return descend(tx, students, lambda params: student_loss(components, params, data, state.prototypes), lr)

    students, metrics = jax.lax.scan(step, state.student, index)
    return state._replace(student=students), jax.tree.map(jnp.mean, metrics)


def one_epoch(components: KdComponents, state: KdState, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
    """One epoch over all gathered sequences, in shuffled minibatches."""
    config, total = components.config, components.sequences
    size = min(config.batch, total)
    count = total // size
    index = shuffles(key, 1, total)[0, : count * size].reshape(count, size)
    return update_student(components, state, index, annealed(config, progress))


def dagger_round(
    components: KdComponents, state: KdState, rollout: Rollout, key: PRNGKeyArray
) -> tuple[KdState, Metrics]:
    """One round of DAgger: store a rollout, then update the students on sequences of all rounds so far.

    All rounds together take half of the gradient steps; the other half follows in epochs over all data.
    """
    config = components.config
    state = store_rollout(components, state, rollout, key)
    size = min(config.batch, components.sequences)
    count = max(1, config.passes * (components.sequences // size) // (2 * components.rollouts))
    index = jax.random.randint(key, (count, size), 0, state.filled * config.envs)
    return update_student(components, state, index, config.lr)


def make_stages(components: KdComponents) -> tuple[Stage, ...]:
    """The stages: gather, then distil; with DAgger half of the gradient steps are taken between its rounds."""
    config = components.config

    def gather(state: KdState, rollouts: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        expert = rollouts["expert"]
        return store_rollout(components, state, expert, key), critic_faults(components, state, expert)

    def dagger(state: KdState, rollouts: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        after, metrics = dagger_round(components, state, rollouts["mixture"], key)
        return after, metrics | critic_faults(components, state, rollouts["mixture"])

    def distil(state: KdState, rollouts: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        return one_epoch(components, state, key, progress)

    if config.data == "offline":
        behaviours, passes = {"expert": expert_behaviour(components)}, config.passes
        first = Stage("gather", behaviours, gather, components.rollouts, "updates", evaluated=False, fixed=("teacher",))
    else:
        behaviours, passes = {"mixture": dagger_behaviour(components)}, max(1, config.passes // 2)
        first = Stage("dagger", behaviours, dagger, components.rollouts, "updates", fixed=("teacher",))
    fixed = ("teacher", "memory", "filled", "prototypes")
    return first, Stage("distil", {}, distil, passes, unit="updates", fixed=fixed)


def with_params(state: KdState, given: Mapping[str, Params]) -> KdState:
    """The same with given parameters of students, teacher and critic."""
    student = {**state.student.params, "net": given.get("student", state.student.params["net"])}
    teacher = {name: given.get(name, params) for name, params in state.teacher.items()}
    return state._replace(student=state.student._replace(params=student), teacher=teacher)


def kd_marl(env: Environment, config: KdMarlConfig, teacher: Frozen | None = None) -> Method:
    """Distil `teacher` into students.

    Raises:
        BadInput: no teacher, or a term that needs what it does not provide.
            From `init`: gathered data would not fit into `memory_gb`.
    """
    if teacher is None:
        raise BadInput("kd_marl needs a teacher: a run, scripted:NAME or module:factory")
    weight, notes = term_weights(config, teacher.provides)
    notes += coverage_notes(config, env.spec.max_steps, teacher.provenance.get("length_mean", env.spec.max_steps))
    components = make_components(env, config, teacher, weight)
    frozen = {"teacher": teacher.params[teacher.actor]}
    if teacher.critic is not None:
        frozen["critic"] = teacher.params["critic"]
    return Method(
        init=make_init(components, env, frozen),
        stages=make_stages(components),
        roles={"student": components.student, "teacher": components.expert},
        params=lambda state: {"student": state.student.params["net"], **state.teacher},
        notes=notes,
        critic=teacher.critic,
        with_params=with_params,
    )

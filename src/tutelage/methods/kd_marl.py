"""KD-MARL: distils a frozen expert into small students that act alone, without a critic for the students.

Stage `gather`: the expert acts (in a share of environments at a higher temperature, so that the data have states in
which it recovers from mistakes), and every step is labelled once with its logits, features and advantage. Stage
`distil`: students learn from the gathered sequences alone. With `data = dagger` students act more and more of the time
themselves, and learn between rounds of play. `kl`, `bc` and `dagger_kl` are the same with one term.

Reference: KD-MARL (arXiv 2604.06691) names the terms; every formula here is a reconstruction, see docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.collect import shuffles, take_sequences, unroll
from tutelage.errors import BadInput
from tutelage.learning.losses import (
    advantage_weighted,
    alignment_loss,
    clipped_surrogate,
    cosines,
    cross_entropy,
    entropy,
    kl_divergence,
    log_prob_of,
    prototype_loss,
    relation_loss,
)
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.methods.kd_data import (
    KdState,
    LabelledExperience,
    critic_faults,
    dagger_behaviour,
    expert_behaviour,
    memory_shapes,
    store_rollout,
)
from tutelage.methods.kd_parts import KdComponents, coverage_notes, feature_width, make_components, term_weights
from tutelage.policies.agent import in_agent_order
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Rollout, Stage

Rollouts = Mapping[str, Rollout]


def loss_terms(components: KdComponents, params: Params, data: LabelledExperience, prototypes: Any) -> dict[str, Array]:
    """The terms of the students' loss that have a weight, by name, before weighting; and the entropy."""
    student, weight, config = components.student, components.weight, components.config
    carry = data.carry or student.carry(data.action.shape[1])
    out = unroll(student, params["net"], carry, data.inputs, data.inputs.first)
    logits, alive = out.scores, data.alive
    assert logits is not None
    terms = {"entropy": entropy(logits, alive)}
    if weight["adv"]:
        log_prob = log_prob_of(logits, data.action)
        if config.adv_form == "clip":
            terms["adv"] = clipped_surrogate(log_prob, data.log_prob, data.advantage, alive, config.clip)
        else:
            terms["adv"] = advantage_weighted(log_prob, data.advantage, alive, config.awr_beta)
    if weight["kl"]:
        terms["kl"] = kl_divergence(data.logits, logits, data.inputs.avail, alive, config.temperature)
    if weight["ce"]:
        terms["ce"] = cross_entropy(logits, data.logits.argmax(-1), alive)
    if components.projectors:
        features, projector = columns_by_group(components, out.features), stack_projectors(params["projectors"])
        if weight["rel"]:
            terms["rel"] = relation_loss(data.relations, cosines(features, projector @ projector.T), alive)
        if components.roles_by_prototype:
            terms["role"] = prototype_loss(data.features, features @ projector, prototypes, alive)
        elif weight["role"]:
            terms["role"] = alignment_loss(data.features, features, alive, projector)
    return terms


def columns_by_group(components: KdComponents, features: tuple[Array, ...]) -> Array:
    """Features of all agents as (..., N, C): each group has its own columns, for its features and a 1 for the bias.

    An agent has zeros in the columns of other groups. So one product with `stack_projectors` projects all groups.
    """
    widths = [h.shape[-1] + 1 for h in features]
    padded = []
    for i, h in enumerate(features):
        own = jnp.concatenate([h, jnp.ones((*h.shape[:-1], 1))], -1)
        padded.append(jnp.pad(own, [(0, 0)] * (h.ndim - 1) + [(sum(widths[:i]), sum(widths[i + 1 :]))]))
    return in_agent_order(components.student.groups, padded)


def stack_projectors(projectors: list[Params]) -> Array:
    """The projectors of all groups as one matrix (C, H), for features of `columns_by_group`."""
    return jnp.concatenate([jnp.concatenate([p["kernel"], p["bias"][None]]) for p in projectors])


def student_loss(
    components: KdComponents, params: Params, data: LabelledExperience, prototypes: Any
) -> tuple[Array, Metrics]:
    """The students' loss: weighted sum of the terms, less the entropy bonus."""
    metrics = loss_terms(components, params, data, prototypes)
    total = sum((w * metrics[name] for name, w in components.weight.items() if w), jnp.zeros(()))
    return total - components.config.entropy * metrics["entropy"], metrics


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
        return store_rollout(components, state, rollouts["expert"], key), critic_faults(
            components, state, rollouts["expert"]
        )

    def dagger(state: KdState, rollouts: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        after, metrics = dagger_round(components, state, rollouts["mixture"], key)
        return after, metrics | critic_faults(components, state, rollouts["mixture"])

    def distil(state: KdState, rollouts: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        return one_epoch(components, state, key, progress)

    if config.data == "offline":
        behaviours, passes = {"expert": expert_behaviour(components)}, config.passes
        first = Stage("gather", behaviours, gather, components.rollouts, unit="updates", evaluated=False)
    else:
        behaviours, passes = {"mixture": dagger_behaviour(components)}, max(1, config.passes // 2)
        first = Stage("dagger", behaviours, dagger, components.rollouts, unit="updates")
    fixed = ("teacher", "memory", "filled", "prototypes")
    return first, Stage("distil", {}, distil, passes, unit="updates", fixed=fixed)


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
    roles = {"student": components.student, "teacher": components.expert}
    frozen = {"teacher": teacher.params[teacher.actor]}
    if "critic" in teacher.roles:
        roles["critic"], frozen["critic"] = teacher.roles["critic"], teacher.params["critic"]
    # Only training needs them, and tracing takes a second.
    shapes = cache(lambda: memory_shapes(components, env, frozen))

    def init(key: PRNGKeyArray) -> KdState:
        key_net, *keys = jax.random.split(key, 1 + len(components.projectors))
        projectors = [p(k) for p, k in zip(components.projectors, keys, strict=True)]
        params = {"net": components.student.init(key_net), "projectors": projectors}
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes())
        centres = (
            jnp.zeros((config.prototypes, feature_width(components.expert))) if components.roles_by_prototype else ()
        )
        student = init_learner(clipped_adam(config.grad_clip), params)
        return KdState(student, frozen, memory, jnp.zeros((), jnp.int32), centres)

    return Method(
        init=init,
        stages=make_stages(components),
        roles=roles,
        params=lambda state: {"student": state.student.params["net"], **state.teacher},
        notes=notes,
    )

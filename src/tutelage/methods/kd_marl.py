"""KD-MARL: a frozen expert is distilled into small students that act alone. No critic for the students.

Stage `gather`: the expert plays (a share of environments at a higher temperature, so that recovery states exist) and
every step is labelled once with its logits, features and advantage. Stage `distil`: students learn from the gathered
sequences alone. With `data = dagger` the learning students play more and more of the rounds themselves, and learn
between them. `kl`, `bc` and `dagger_kl` are the same with one term.

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
from tutelage.methods.kd_data import KdState, Labelled, empty_memory, expert_plays, faults, remember, students_play
from tutelage.methods.kd_parts import Parts, assemble, feature_width, reach, weights
from tutelage.policies.agent import in_agent_order
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Rollout, Stage

Rollouts = Mapping[str, Rollout]


def terms(parts: Parts, params: Params, data: Labelled, prototypes: Any) -> dict[str, Array]:
    """Every term of the objective that has a weight, unweighted."""
    student, weight, config = parts.student, parts.weight, parts.config
    carry = data.carry or student.carry(data.action.shape[1])
    out = unroll(student, params["net"], carry, data.inputs, data.inputs.first)
    logits, alive = out.scores, data.alive
    assert logits is not None
    told = {"entropy": entropy(logits, alive)}
    if weight["adv"]:
        log_prob = log_prob_of(logits, data.action)
        if config.adv_form == "clip":
            told["adv"] = clipped_surrogate(log_prob, data.log_prob, data.advantage, alive, config.clip)
        else:
            told["adv"] = advantage_weighted(log_prob, data.advantage, alive, config.awr_beta)
    if weight["kl"]:
        told["kl"] = kl_divergence(data.logits, logits, data.inputs.avail, alive, config.temperature)
    if weight["ce"]:
        told["ce"] = cross_entropy(logits, data.logits.argmax(-1), alive)
    if parts.projectors:
        features, projector = side_by_side(parts, out.features), stacked(params["projectors"])
        if weight["rel"]:
            told["rel"] = relation_loss(data.relations, cosines(features, projector @ projector.T), alive)
        if parts.roles_by_prototype:
            told["role"] = prototype_loss(data.features, features @ projector, prototypes, alive)
        elif weight["role"]:
            told["role"] = alignment_loss(data.features, features, alive, projector)
    return told


def side_by_side(parts: Parts, features: tuple[Array, ...]) -> Array:
    """(..., N, C): every agent's features and a 1 in the columns of its group, zeros in those of the others."""
    widths = [h.shape[-1] + 1 for h in features]
    padded = []
    for i, h in enumerate(features):
        own = jnp.concatenate([h, jnp.ones((*h.shape[:-1], 1))], -1)
        padded.append(jnp.pad(own, [(0, 0)] * (h.ndim - 1) + [(sum(widths[:i]), sum(widths[i + 1 :]))]))
    return in_agent_order(parts.student.groups, padded)


def stacked(projectors: list[Params]) -> Array:
    """(C, H): the maps that go with those columns, kernels over biases."""
    return jnp.concatenate([jnp.concatenate([p["kernel"], p["bias"][None]]) for p in projectors])


def objective(parts: Parts, params: Params, data: Labelled, prototypes: Any) -> tuple[Array, Metrics]:
    """The weighted sum of the terms, less the entropy bonus."""
    told = terms(parts, params, data, prototypes)
    total = sum((w * told[name] for name, w in parts.weight.items() if w), jnp.zeros(()))
    return total - parts.config.entropy * told["entropy"], told


def learn(parts: Parts, state: KdState, index: Int[Array, "count size"], lr: Any) -> tuple[KdState, Metrics]:
    """One gradient step per row of `index`, each on those sequences of the memory."""
    tx = clipped_adam(parts.config.grad_clip)

    def minibatch(students: Learner, index: Array) -> tuple[Learner, Metrics]:
        memory = state.memory
        data = take_sequences(memory._replace(carry=()), index)._replace(carry=take_sequences(memory.carry, index, 0))
        return descend(tx, students, lambda params: objective(parts, params, data, state.prototypes), lr)

    students, metrics = jax.lax.scan(minibatch, state.student, index)
    return state._replace(student=students), jax.tree.map(jnp.mean, metrics)


def one_epoch(parts: Parts, state: KdState, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
    """One pass over everything gathered, in shuffled minibatches of sequences."""
    config, total = parts.config, parts.sequences
    size = min(config.batch, total)
    count = total // size
    index = shuffles(key, 1, total)[0, : count * size].reshape(count, size)
    return learn(parts, state, index, annealed(config, progress))


def one_round(parts: Parts, state: KdState, rollout: Rollout, key: PRNGKeyArray) -> tuple[KdState, Metrics]:
    """DAgger: take in what was played, then learn from all rounds so far.

    All rounds together take half of the gradient steps; the other half follows in passes over everything.
    """
    config = parts.config
    state = remember(parts, state, rollout, key)
    size = min(config.batch, parts.sequences)
    count = max(1, config.passes * (parts.sequences // size) // (2 * parts.rollouts))
    index = jax.random.randint(key, (count, size), 0, state.filled * config.envs)
    return learn(parts, state, index, config.lr)


def stages(parts: Parts) -> tuple[Stage, ...]:
    """Gather, then distil; under DAgger half of the distilling happens between the rounds."""
    config = parts.config

    def gather(state: KdState, played: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        return remember(parts, state, played["expert"], key), faults(parts, state, played["expert"])

    def dagger(state: KdState, played: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        after, told = one_round(parts, state, played["mixture"], key)
        return after, told | faults(parts, state, played["mixture"])

    def distil(state: KdState, played: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        return one_epoch(parts, state, key, progress)

    if config.data == "offline":
        behaviours, passes = {"expert": expert_plays(parts)}, config.passes
        first = Stage("gather", behaviours, gather, parts.rollouts, unit="updates", evaluated=False)
    else:
        behaviours, passes = {"mixture": students_play(parts)}, max(1, config.passes // 2)
        first = Stage("dagger", behaviours, dagger, parts.rollouts, unit="updates")
    kept = ("teacher", "memory", "filled", "prototypes")
    return first, Stage("distil", {}, distil, passes, unit="updates", fixed=kept)


def kd_marl(env: Environment, config: KdMarlConfig, teacher: Frozen | None = None) -> Method:
    """Distil `teacher`.

    Raises:
        BadInput: no teacher, or a term it cannot feed. From `init`: gathered data would not fit into `memory_gb`.
    """
    if teacher is None:
        raise BadInput("kd_marl needs a teacher: a run, scripted:NAME or module:factory")
    weight, notes = weights(config, teacher.provides)
    notes += reach(config, env.spec.max_steps, teacher.provenance.get("length_mean", env.spec.max_steps))
    parts = assemble(env, config, teacher, weight)
    roles = {"student": parts.student, "teacher": parts.expert}
    frozen = {"teacher": teacher.params[teacher.actor]}
    if "critic" in teacher.roles:
        roles["critic"], frozen["critic"] = teacher.roles["critic"], teacher.params["critic"]
    shapes = cache(lambda: empty_memory(parts, env, frozen))  # only training needs them, and tracing takes a second

    def init(key: PRNGKeyArray) -> KdState:
        key_net, *keys = jax.random.split(key, 1 + len(parts.projectors))
        projectors = [p(k) for p, k in zip(parts.projectors, keys, strict=True)]
        params = {"net": parts.student.init(key_net), "projectors": projectors}
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes())
        centres = jnp.zeros((config.prototypes, feature_width(parts.expert))) if parts.roles_by_prototype else ()
        start = init_learner(clipped_adam(config.grad_clip), params)
        return KdState(start, frozen, memory, jnp.zeros((), jnp.int32), centres)

    return Method(
        init=init,
        stages=stages(parts),
        roles=roles,
        params=lambda state: {"student": state.student.params["net"], **state.teacher},
        notes=notes,
    )

"""KD-MARL: a frozen expert is distilled into small students that act alone. No critic for the students.

Stage `gather`: the expert plays (a share of environments at a higher temperature, so that recovery states exist) and
every step is labelled once with its logits, features and advantage. Stage `distil`: students learn from the gathered
sequences alone. `kl` and `bc` are the same with one term.

Reference: KD-MARL (arXiv 2604.06691) names the terms; every formula here is a reconstruction, see docs/methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.collect import begin as begin_episodes
from tutelage.data.collect import play, rows, shuffles, unroll
from tutelage.data.vector import batch
from tutelage.errors import BadInput
from tutelage.learning.losses import (
    alignment_loss,
    clipped_surrogate,
    cross_entropy,
    entropy,
    kl_divergence,
    log_prob_of,
    normalise,
    relation_loss,
)
from tutelage.learning.optim import Learner, clipped_adam, descend, learner
from tutelage.learning.returns import expand_like, gae
from tutelage.networks.cores import Net, projector
from tutelage.policies.acting import tempered
from tutelage.policies.agent import group_actor, merge
from tutelage.policies.cost import agent_cost
from tutelage.policies.size import Shape, by_type, solve
from tutelage.policies.views import view
from tutelage.types import (
    Behaviour,
    Environment,
    Frozen,
    Method,
    Metrics,
    Out,
    Params,
    Policy,
    Rollout,
    Spec,
    Stage,
    TimeStep,
)

DEFAULTS = {"adv": 0.5, "kl": 1.0, "ce": 0.5, "rel": 0.1, "role": 0.1}
NEEDS = {"adv": ("logits", "critic"), "kl": ("logits",), "ce": (), "rel": ("features",), "role": ("features",)}

Rollouts = Mapping[str, Rollout]


class Labelled(NamedTuple):
    """Expert experience with its labels, leaves (T, sequences, ...).

    Attributes:
        inputs: what students read (the world state is dropped).
        action, log_prob: what was done and its probability under the tempered expert.
        logits, features: the expert's; features () where it has none.
        advantage: the expert's, normalised and clipped; 0 without a critic.
        alive: which decisions count.
    """

    inputs: TimeStep
    action: Array
    log_prob: Array
    logits: Array
    features: Any
    advantage: Array
    alive: Array


class KdState(NamedTuple):
    """The students with their projectors, the frozen teacher, and what it was seen doing."""

    student: Learner
    teacher: Params
    memory: Labelled
    filled: Array


def weights(config: KdMarlConfig, provides: frozenset[str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """The weight of every term, and a note on those that this teacher cannot feed.

    Raises:
        BadInput: a term was asked for that the teacher cannot feed, or no term is left.
    """
    chosen, dropped = {}, []
    for name, default in DEFAULTS.items():
        asked: float | None = getattr(config, name)
        missing = [need for need in NEEDS[name] if need not in provides]
        if missing and asked:
            raise BadInput(f"{name} = {asked}: this teacher provides no {' and no '.join(missing)}; leave it at 0")
        if missing and asked is None:
            dropped.append(name)
        if name == "ce" and asked is None and not provides:
            default = 1.0
        chosen[name] = default if asked is None and not missing else (asked or 0.0)
    if not any(chosen.values()):
        raise BadInput("all terms have weight 0: set at least one of adv, kl, ce, rel, role")
    note = f"this teacher has no {' or '.join(sorted({'logits', 'features', 'critic'} - provides))}: "
    return chosen, (note + f"{', '.join(dropped)} set to 0",) if dropped else ()


def build_student(spec: Spec, config: KdMarlConfig, teacher: Policy) -> Policy:
    """The team of students that the config describes; a ratio is solved against the teacher's costliest agent."""
    seen = view(config.student_view)
    macs = None
    if teacher.groups:
        macs = max(agent_cost(group.agent).macs for group in teacher.groups)
    tiers = solve(config.size, Shape(config.core, seen.width(spec), spec.n_actions), spec, macs)
    if config.share == "type":
        tiers = by_type(tiers, spec.agent_types)
    return group_actor(spec, config.core, seen, tiers)


@dataclass(frozen=True)
class Parts:
    """Who is in a distillation, and how it is set up.

    Attributes:
        config: the settings.
        expert, critic: the teacher's actor, and its critic where the advantage term needs it.
        student: the team that learns.
        weight: of every term.
        projectors: one linear map per student group onto the expert's feature width; none where no term reads
            features. They are not part of the student.
        steps, rollouts: length of a gathered sequence, and how often `config.envs` of them are gathered.
    """

    config: KdMarlConfig
    expert: Policy
    critic: Policy | None
    student: Policy
    weight: dict[str, float]
    projectors: tuple[Net, ...]
    steps: int
    rollouts: int


def assemble(env: Environment, config: KdMarlConfig, teacher: Frozen, weight: dict[str, float]) -> Parts:
    """Build students and projectors for a teacher; raises BadInput where its features cannot be read."""
    expert = teacher.roles[teacher.actor]
    student = build_student(env.spec, config, expert)
    needs_features = bool(weight["rel"] or weight["role"])
    if needs_features and not expert.groups:
        raise BadInput("rel, role: this teacher has no features agent by agent (no groups); set both to 0")
    steps = env.spec.max_steps
    width = feature_width(expert)
    return Parts(
        config=config,
        expert=expert,
        critic=teacher.roles.get("critic") if weight["adv"] else None,
        student=student,
        weight=weight,
        projectors=tuple(projector(g.agent.width, width) for g in student.groups) if needs_features else (),
        steps=steps,
        rollouts=max(1, round(config.gather / (config.envs * steps))),
    )


def feature_width(expert: Policy) -> int:
    """The widest group's."""
    return max((group.agent.width for group in expert.groups), default=0)


# ---- gather ------------------------------------------------------------------------------------------------------


def gathering(parts: Parts) -> Behaviour:
    """The expert plays new episodes, a share of the environments at a higher temperature."""
    config, width = parts.config, feature_width(parts.expert)
    hot = round(config.tempered * config.envs)
    heat = jnp.where(jnp.arange(config.envs) < hot, config.hot, 1.0)

    def record(timestep: TimeStep, carry: Any, out: Out) -> tuple[Any, Any]:
        """Logits (B, N, A) and features (B, N, H), narrower groups padded; () where no term reads them."""
        if not parts.projectors:
            return out.scores, ()
        padded = [jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]) for x in out.features]
        return out.scores, merge(parts.expert.groups, padded)

    return Behaviour(
        parts.expert,
        plays=lambda state, progress: (state.teacher["teacher"], tempered(heat)),
        envs=config.envs,
        steps=parts.steps,
        fresh=True,
        record=record,
    )


def label(parts: Parts, teacher: Params, rollout: Rollout) -> Labelled:
    """Everything the objective needs to know of a rollout, computed once."""
    config, steps = parts.config, rollout.steps
    inputs = jax.tree.map(lambda x: x[:-1], steps)
    logits, features = rollout.out
    alive = rollout.valid[..., None] & inputs.alive
    advantage = jnp.zeros(alive.shape)
    if parts.critic is not None:
        value = unroll(parts.critic, teacher["critic"], (), steps, steps.first).value
        assert value is not None
        raw = gae(steps.reward[1:], steps.discount[1:], value, rollout.valid, config.gamma, config.lam)
        advantage = normalise(jnp.broadcast_to(expand_like(raw, alive), alive.shape), alive, limit=5.0)
    inputs = inputs._replace(state=inputs.state[..., :0])
    return Labelled(inputs, steps.action[1:], rollout.log_prob, logits, features, advantage, alive)


def empty_memory(parts: Parts, env: Environment, teacher: Params) -> Labelled:
    """Shapes of what will be gathered; raises BadInput where it would not fit into `memory_gb`."""
    config, behaviour = parts.config, gathering(parts)
    vector = batch(env, config.envs)

    def one(teacher: Params, key: PRNGKeyArray) -> Labelled:
        here = begin_episodes(vector, parts.expert, key)
        state = KdState(Learner((), ()), teacher, None, None)  # type: ignore[arg-type]
        return label(parts, teacher, play(vector, behaviour, state, 0.0, here, key)[1])

    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((x.shape[0], parts.rollouts * x.shape[1], *x.shape[2:]), x.dtype),
        jax.eval_shape(one, teacher, jax.random.key(0)),
    )
    size = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    if size > config.memory_gb * 1e9:
        raise BadInput(
            f"gather = {config.gather}: the data would take {size / 1e9:.1f} GB, "
            f"allowed are memory_gb = {config.memory_gb:g}"
        )
    return shapes


# ---- distil ------------------------------------------------------------------------------------------------------


def terms(parts: Parts, params: Params, data: Labelled) -> dict[str, Array]:
    """Every term of the objective that has a weight, unweighted."""
    student, weight, config = parts.student, parts.weight, parts.config
    carry = student.carry(data.action.shape[1])
    out = unroll(student, params["net"], carry, data.inputs, data.inputs.first)
    logits, alive = out.scores, data.alive
    assert logits is not None
    told = {"entropy": entropy(logits, alive)}
    if weight["adv"]:
        log_prob = log_prob_of(logits, data.action)
        told["adv"] = clipped_surrogate(log_prob, data.log_prob, data.advantage, alive, config.clip)
    if weight["kl"]:
        told["kl"] = kl_divergence(data.logits, logits, data.inputs.avail, alive, config.temperature)
    if weight["ce"]:
        told["ce"] = cross_entropy(logits, data.logits.argmax(-1), alive)
    if parts.projectors:
        projected = zip(parts.projectors, params["projectors"], out.features, strict=True)
        features = merge(student.groups, [p.apply(w, h) for p, w, h in projected])
        if weight["rel"]:
            told["rel"] = relation_loss(data.features, features, alive)
        if weight["role"]:
            told["role"] = alignment_loss(data.features, features, alive)
    return told


def objective(parts: Parts, params: Params, data: Labelled) -> tuple[Array, Metrics]:
    """The weighted sum of the terms, less the entropy bonus."""
    told = terms(parts, params, data)
    total = sum((w * told[name] for name, w in parts.weight.items() if w), jnp.zeros(()))
    return total - parts.config.entropy * told["entropy"], told


def one_pass(parts: Parts, state: KdState, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
    """One pass over everything gathered, in shuffled minibatches of sequences."""
    config = parts.config
    total = parts.rollouts * config.envs
    size = min(config.batch, total)
    count = total // size
    lr = config.lr * (1 - progress) if config.anneal else config.lr
    tx = clipped_adam(config.grad_clip)

    def minibatch(students: Learner, index: Array) -> tuple[Learner, Metrics]:
        data = rows(state.memory, index)
        return descend(tx, students, lambda params: objective(parts, params, data), lr)

    index = shuffles(key, 1, total)[0, : count * size].reshape(count, size)
    students, metrics = jax.lax.scan(minibatch, state.student, index)
    return state._replace(student=students), jax.tree.map(jnp.mean, metrics)


def kd_marl(env: Environment, config: KdMarlConfig, teacher: Frozen | None = None) -> Method:
    """Distil `teacher`.

    Raises:
        BadInput: no teacher, or a term it cannot feed. From `init`: gathered data would not fit into `memory_gb`.
    """
    if teacher is None:
        raise BadInput("kd_marl needs a teacher: a run, scripted:NAME or module:factory")
    weight, notes = weights(config, teacher.provides)
    parts = assemble(env, config, teacher, weight)
    roles = {"student": parts.student, "teacher": parts.expert}
    frozen = {"teacher": teacher.params[teacher.actor]}
    if "critic" in teacher.roles:
        roles["critic"], frozen["critic"] = teacher.roles["critic"], teacher.params["critic"]
    shapes = cache(lambda: empty_memory(parts, env, frozen))  # only training needs them, and tracing takes a second

    def init(key: PRNGKeyArray) -> KdState:
        key_net, *keys = jax.random.split(key, 1 + len(parts.projectors))
        projectors = [p.init(k) for p, k in zip(parts.projectors, keys, strict=True)]
        params = {"net": parts.student.init(key_net), "projectors": projectors}
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes())
        return KdState(learner(clipped_adam(config.grad_clip), params), frozen, memory, jnp.zeros((), jnp.int32))

    def gather(state: KdState, played: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        new, at = label(parts, state.teacher, played["expert"]), state.filled * config.envs
        memory = jax.tree.map(lambda m, x: jax.lax.dynamic_update_slice_in_dim(m, x, at, 1), state.memory, new)
        return state._replace(memory=memory, filled=state.filled + 1), {}

    def distil(state: KdState, played: Rollouts, key: PRNGKeyArray, progress: Array) -> tuple[KdState, Metrics]:
        return one_pass(parts, state, key, progress)

    behaviours = {"expert": gathering(parts)}
    return Method(
        init=init,
        stages=(
            Stage("gather", behaviours, gather, parts.rollouts, unit="updates", evaluated=False),
            Stage("distil", {}, distil, config.passes, unit="updates", fixed=("teacher", "memory", "filled")),
        ),
        roles=roles,
        params=lambda state: {"student": state.student.params["net"], **state.teacher},
        notes=notes,
    )

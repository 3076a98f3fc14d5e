"""Training data of a distillation: experience, labelled once by the frozen expert and stored in one block of memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.collect import init_collector as init_collector
from tutelage.data.collect import play, settled
from tutelage.data.experience import experience
from tutelage.data.replay import size_of
from tutelage.data.transitions import transitions
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import Watch, fault_of, first_faults
from tutelage.errors import BadInput
from tutelage.learning.clusters import kmeans
from tutelage.learning.losses import cosines, normalise, unit
from tutelage.learning.optim import Learner, clipped_adam, init_learner
from tutelage.learning.returns import expand_like, gae
from tutelage.methods.kd_marl.components import LONGEST_WHOLE_EPISODE, KdComponents, feature_width, rollout_lengths
from tutelage.networks.cores import mask_logits
from tutelage.policies.acting import sample, tempered
from tutelage.policies.agent import in_agent_order
from tutelage.policies.critic import values_of
from tutelage.types import Behaviour, Carry, Environment, Metrics, Out, Params, Policy, Rollout, TimeStep


@experience
class LabelledExperience(NamedTuple):
    """Sequences of experience with the expert's labels, leaves (T, sequences, ...).

    Attributes:
        inputs: timesteps without world state and goals.
        action, log_prob: (.., N) actions and their log-probabilities under the policy that acted.
        logits: (.., N, A) the expert's.
        relations: (.., N, N) cosines between its agents' features; () without the relation term.
        features: (.., N, H) the expert's, of length 1; () without the role term.
        advantage: (.., N) by the expert's critic, normalised and clipped; 0 without a critic.
        alive: (.., N) decisions that count.
        carry: the students' memory entering each sequence, leaves (sequences, ...), where it was recorded; else (), and
            sequences start with an empty memory.
    """

    inputs: TimeStep
    action: Array
    log_prob: Array
    logits: Array
    relations: Any
    features: Any
    advantage: Array
    alive: Array
    carry: Any = ()


class KdState(NamedTuple):
    """Train state: students with their projectors, the frozen teacher, and the gathered data.

    Attributes:
        memory: the data, allocated for all rollouts.
        filled: rollouts gathered so far.
        prototypes: (K, H) centres of the teacher's features in the first rollout; () where no term reads them.
    """

    student: Learner
    teacher: Params
    memory: LabelledExperience
    filled: Array
    prototypes: Any


def teacher_labels(components: KdComponents, logits: Any, features: tuple[Array, ...]) -> tuple[Any, Any]:
    """Logits (B, N, A) and features (B, N, H) of the expert in a step, narrower groups padded with zeros.

    The features are () where no term reads them.
    """
    if not components.keeps_features:
        return logits, ()
    width = feature_width(components.expert)
    padded = [jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]) for x in features]
    return logits, in_agent_order(components.expert.groups, padded)


def expert_behaviour(components: KdComponents) -> Behaviour:
    """The expert acts, in a share of the environments at a higher temperature."""
    config = components.config
    n_hot = round(config.tempered * config.envs)
    temperature = jnp.where(jnp.arange(config.envs) < n_hot, config.hot, 1.0)
    return Behaviour(
        components.expert,
        plays=lambda state, progress: (state.teacher["teacher"], tempered(temperature)),
        envs=config.envs,
        steps=components.steps,
        fresh=components.whole_episodes,
        record=lambda timestep, carry, out: teacher_labels(components, out.scores, out.features),
    )


def dagger_behaviour(components: KdComponents) -> Behaviour:
    """DAgger: every agent follows the expert with probability beta^round at every step, its student otherwise."""
    config = components.config
    return Behaviour(
        mixture_policy(components.expert, components.student),
        plays=lambda state, progress: (
            (state.teacher["teacher"], state.student.params["net"], config.beta ** state.filled.astype(jnp.float32)),
            sample,
        ),
        envs=config.envs,
        steps=components.steps,
        fresh=components.whole_episodes,
        record=lambda timestep, carry, out: teacher_labels(components, out.features[0], out.features[1:]),
    )


def mixture_policy(expert: Policy, student: Policy) -> Policy:
    """A policy with probabilities `share` x expert + (1 - share) x student; scores are their logarithms.

    Parameters are (expert's, student's, share). The features of its output are the expert's logits, then its features.
    """

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        of_expert, of_student, share = params
        expert_carry, expert_out = expert.step(of_expert, carry[0], timestep, key)
        student_carry, student_out = student.step(of_student, carry[1], timestep, key)
        assert expert_out.scores is not None and student_out.scores is not None
        probability = share * jax.nn.softmax(expert_out.scores) + (1 - share) * jax.nn.softmax(student_out.scores)
        scores = mask_logits(jnp.log(jnp.maximum(probability, 1e-30)), timestep.avail)
        return (expert_carry, student_carry), Out(
            scores, (expert_out.scores, *expert_out.features), watch=expert_out.watch
        )

    init = lambda key: (expert.init(key), student.init(key), jnp.ones(()))
    carry = lambda n: (expert.carry(n), student.carry(n))
    return Policy(init, carry, step, goals=expert.goals, watched=expert.watched)


def label_rollout(components: KdComponents, teacher: Params, rollout: Rollout) -> LabelledExperience:
    """Label a rollout with all that the students' loss reads.

    In a sequence that begins within an episode, the first steps are burn-in of the students' memory.
    """
    config = components.config
    now, action, reward, discount, valid, alive = transitions(rollout)
    logits, features = rollout.out
    if not components.whole_episodes:
        alive &= settled(now.first, components.student.carry(1))
    advantage = jnp.zeros(alive.shape)
    if components.critic is not None:
        value = values_of(components.critic, teacher["critic"], rollout.steps)
        raw = gae(reward, discount, value, valid, config.gamma, config.lam)
        advantage = normalise(jnp.broadcast_to(expand_like(raw, alive), alive.shape), alive, limit=5.0)
    return LabelledExperience(
        inputs=now._replace(state=now.state[..., :0], goals=(), watch=()),
        action=action,
        log_prob=rollout.log_prob,
        logits=logits,
        relations=cosines(features) if components.weight["rel"] else (),
        features=unit(features) if components.weight["role"] or (components.term and components.keeps_features) else (),
        advantage=advantage,
        alive=alive,
        carry=() if components.whole_episodes or config.data == "offline" else rollout.carry[1],
    )


def critic_faults(components: KdComponents, state: KdState, rollout: Rollout) -> Metrics:
    """Faults in the values of a user's critic, by name; empty for a critic of the package."""
    if components.critic is None or not components.critic.watched:
        return {}
    value = values_of(components.critic, state.teacher["critic"], rollout.steps)
    return first_faults((Watch(-1, {components.critic.watched[0]: fault_of(value, 2)}),))


def store_rollout(components: KdComponents, state: KdState, rollout: Rollout, key: PRNGKeyArray) -> KdState:
    """Label a rollout and write it behind those already stored."""
    new, at = label_rollout(components, state.teacher, rollout), state.filled * components.config.envs
    write = lambda axis: lambda m, x: jax.lax.dynamic_update_slice_in_dim(m, x, at, axis)
    memory = jax.tree.map(write(1), state.memory._replace(carry=()), new._replace(carry=()))
    memory = memory._replace(carry=jax.tree.map(write(0), state.memory.carry, new.carry))
    if components.roles_by_prototype:
        fit = lambda: fit_prototypes(components, new.features, new.alive, key)
        state = state._replace(prototypes=jax.lax.cond(state.filled == 0, fit, lambda: state.prototypes))
    return state._replace(memory=memory, filled=state.filled + 1)


def fit_prototypes(
    components: KdComponents, features: Float[Array, "T B N H"], alive: Bool[Array, "T B N"], key: PRNGKeyArray
) -> Float[Array, "K H"]:
    """Prototypes: centres of the teacher's features, by k-means."""
    return kmeans(features.reshape(-1, features.shape[-1]), alive.reshape(-1), components.config.prototypes, key)


def memory_shapes(components: KdComponents, env: Environment, teacher: Params) -> LabelledExperience:
    """Shapes of the data of all rollouts; raises BadInput where they would not fit into `memory_gb`."""
    config, behaviour = components.config, expert_behaviour(components)
    vector = make_vector_env(env, config.envs, components.expert.goals)

    def labels_of(teacher: Params, key: PRNGKeyArray) -> LabelledExperience:
        collector = init_collector(vector, components.expert, key)
        state = KdState(Learner((), ()), teacher, None, None, ())  # type: ignore[arg-type]
        rollout = play(vector, behaviour, state, 0.0, collector, key)[1]
        return label_rollout(components, teacher, rollout._replace(carry=((), components.student.carry(config.envs))))

    def times_rollouts(axis: int) -> Any:
        return lambda x: jax.ShapeDtypeStruct(
            (*x.shape[:axis], components.rollouts * x.shape[axis], *x.shape[axis + 1 :]), x.dtype
        )

    each = jax.eval_shape(labels_of, teacher, jax.random.key(0))
    shapes = jax.tree.map(times_rollouts(1), each._replace(carry=()))._replace(
        carry=jax.tree.map(times_rollouts(0), each.carry)
    )
    size = size_of(shapes)
    if size > config.memory_gb * 1e9:
        advice = size_advice(config, env.spec.max_steps, size / (components.sequences * components.steps))
        raise BadInput(
            f"gather = {config.gather}: the data would take {size / 1e9:.3g} GB, allowed are memory_gb = "
            f"{config.memory_gb:g}; {advice}"
        )
    return shapes


def size_advice(config: KdMarlConfig, max_steps: int, each: float) -> str:
    """Settings to suggest to the user that fit into memory, where a step takes `each` bytes."""
    most_steps = int(config.memory_gb * 1e9 / each)

    def steps_taken(gather: int, envs: int) -> int:
        return envs * math.prod(rollout_lengths(replace(config, gather=gather, envs=envs), max_steps))

    for envs in (config.envs, max(1, most_steps // min(max_steps, LONGEST_WHOLE_EPISODE))):
        gather = max(1, most_steps // envs * envs)
        while gather > envs and steps_taken(gather, envs) > most_steps:
            gather -= envs
        if steps_taken(gather, envs) <= most_steps:
            return f"gather = {gather}" + (f" with envs = {envs} fits" if envs != config.envs else " fits")
    return "more memory_gb is needed"


def init_student(components: KdComponents, key: PRNGKeyArray) -> Learner:
    """New students, and projectors where a term reads features, with their optimiser's state."""
    key_net, *keys = jax.random.split(key, 1 + len(components.projectors))
    projectors = [p(k) for p, k in zip(components.projectors, keys, strict=True)]
    params = {"net": components.student.init(key_net), "projectors": projectors}
    return init_learner(clipped_adam(components.config.grad_clip), params)


def make_init(components: KdComponents, env: Environment, frozen: Params) -> Callable[[PRNGKeyArray], KdState]:
    """`init` of the train state: new students beside the frozen teacher's parameters, and memory for all data."""
    config = components.config
    # Only training needs them, and tracing takes a second.
    shapes = cache(lambda: memory_shapes(components, env, frozen))

    def init(key: PRNGKeyArray) -> KdState:
        memory = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes())
        width = feature_width(components.expert)
        centres = jnp.zeros((config.prototypes, width)) if components.roles_by_prototype else ()
        return KdState(init_student(components, key), frozen, memory, jnp.zeros((), jnp.int32), centres)

    return init

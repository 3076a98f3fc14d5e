"""What a distillation learns from: experience, labelled once by the frozen expert, in one block of memory."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.data.collect import init_collector as init_collector
from tutelage.data.collect import play, settled, unroll
from tutelage.data.replay import size_of
from tutelage.data.vector import make_vector_env
from tutelage.data.watch import Watch, fault_of, first_faults
from tutelage.errors import BadInput
from tutelage.learning.clusters import kmeans
from tutelage.learning.losses import cosines, normalise, unit
from tutelage.learning.optim import Learner
from tutelage.learning.returns import expand_like, gae
from tutelage.methods.kd_parts import WHOLE, Parts, feature_width, lengths
from tutelage.networks.cores import mask_logits
from tutelage.policies.acting import sample, tempered
from tutelage.policies.agent import in_agent_order
from tutelage.types import Behaviour, Carry, Environment, Metrics, Out, Params, Policy, Rollout, TimeStep


class Labelled(NamedTuple):
    """Experience with the expert's labels, leaves (T, sequences, ...).

    Attributes:
        inputs: what students read (the world state is dropped).
        action, log_prob: what was done and its probability under who did it.
        logits: the expert's.
        relations: (.., N, N) cosines between its agents' features; () without the relation term.
        features: the expert's, of length 1; () without the role term.
        advantage: by the expert's critic, normalised and clipped; 0 without one.
        alive: which decisions count.
        carry: the students' memory entering each sequence, leaves (sequences, ...), where it was known when they were
            played; else (), and it begins empty.
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
    """The students with their projectors, the frozen teacher, and what was seen.

    Attributes:
        memory: room for everything that will be gathered.
        filled: rollouts gathered so far.
        prototypes: (K, H) of the teacher's features, fitted to the first rollout; () where no term reads them.
    """

    student: Learner
    teacher: Params
    memory: Labelled
    filled: Array
    prototypes: Any


def recorded(parts: Parts, logits: Any, features: tuple[Array, ...]) -> tuple[Any, Any]:
    """Logits (B, N, A) and features (B, N, H), narrower groups padded; () where no term reads them."""
    if not parts.projectors:
        return logits, ()
    width = feature_width(parts.expert)
    padded = [jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])]) for x in features]
    return logits, in_agent_order(parts.expert.groups, padded)


def expert_plays(parts: Parts) -> Behaviour:
    """The expert plays, a share of the environments at a higher temperature."""
    config = parts.config
    hot = round(config.tempered * config.envs)
    heat = jnp.where(jnp.arange(config.envs) < hot, config.hot, 1.0)
    return Behaviour(
        parts.expert,
        plays=lambda state, progress: (state.teacher["teacher"], tempered(heat)),
        envs=config.envs,
        steps=parts.steps,
        fresh=parts.whole,
        record=lambda timestep, carry, out: recorded(parts, out.scores, out.features),
    )


def students_play(parts: Parts) -> Behaviour:
    """DAgger: every agent follows the expert with probability beta^round at every step, its student otherwise."""
    config = parts.config
    return Behaviour(
        mixture(parts.expert, parts.student),
        plays=lambda state, progress: (
            (state.teacher["teacher"], state.student.params["net"], config.beta ** state.filled.astype(jnp.float32)),
            sample,
        ),
        envs=config.envs,
        steps=parts.steps,
        fresh=parts.whole,
        record=lambda timestep, carry, out: recorded(parts, out.features[0], out.features[1:]),
    )


def mixture(expert: Policy, student: Policy) -> Policy:
    """Both at once: log-probabilities of `share` x expert + (1 - share) x student.

    Parameters are (expert's, student's, share); the features begin with the expert's logits.
    """

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        of_expert, of_student, share = params
        mine, told = expert.step(of_expert, carry[0], timestep, key)
        theirs, guessed = student.step(of_student, carry[1], timestep, key)
        assert told.scores is not None and guessed.scores is not None
        chance = share * jax.nn.softmax(told.scores) + (1 - share) * jax.nn.softmax(guessed.scores)
        scores = mask_logits(jnp.log(jnp.maximum(chance, 1e-30)), timestep.avail)
        return (mine, theirs), Out(scores, (told.scores, *told.features), watch=told.watch)

    init = lambda key: (expert.init(key), student.init(key), jnp.ones(()))
    carry = lambda n: (expert.carry(n), student.carry(n))
    return Policy(init, carry, step, goals=expert.goals, watched=expert.watched)


def label(parts: Parts, teacher: Params, rollout: Rollout) -> Labelled:
    """Everything the objective needs to know of a rollout, computed once.

    Of a sequence that begins within an episode the first steps only warm the students' memory up.
    """
    config, steps = parts.config, rollout.steps
    inputs = jax.tree.map(lambda x: x[:-1], steps)
    logits, features = rollout.out
    alive = rollout.valid[..., None] & inputs.acts
    if not parts.whole:
        alive &= settled(inputs.first, parts.student.carry(1))
    advantage = jnp.zeros(alive.shape)
    if parts.critic is not None:
        value = unroll(parts.critic, teacher["critic"], (), steps, steps.first).value
        assert value is not None
        raw = gae(steps.reward[1:], steps.discount[1:], value, rollout.valid, config.gamma, config.lam)
        advantage = normalise(jnp.broadcast_to(expand_like(raw, alive), alive.shape), alive, limit=5.0)
    return Labelled(
        inputs=inputs._replace(state=inputs.state[..., :0], goals=(), watch=()),
        action=steps.action[1:],
        log_prob=rollout.log_prob,
        logits=logits,
        relations=cosines(features) if parts.weight["rel"] else (),
        features=unit(features) if parts.weight["role"] else (),
        advantage=advantage,
        alive=alive,
        carry=() if parts.whole or config.data == "offline" else rollout.carry[1],
    )


def faults(parts: Parts, state: KdState, rollout: Rollout) -> Metrics:
    """What is wrong with the values of a user's critic; nothing of another's."""
    if parts.critic is None or not parts.critic.watched:
        return {}
    value = unroll(parts.critic, state.teacher["critic"], (), rollout.steps, rollout.steps.first).value
    assert value is not None
    return first_faults((Watch(-1, {parts.critic.watched[0]: fault_of(value, 2)}),))


def remember(parts: Parts, state: KdState, rollout: Rollout, key: PRNGKeyArray) -> KdState:
    """Label a rollout and put it behind what is already there."""
    new, at = label(parts, state.teacher, rollout), state.filled * parts.config.envs
    put = lambda axis: lambda m, x: jax.lax.dynamic_update_slice_in_dim(m, x, at, axis)
    memory = jax.tree.map(put(1), state.memory._replace(carry=()), new._replace(carry=()))
    memory = memory._replace(carry=jax.tree.map(put(0), state.memory.carry, new.carry))
    if parts.roles_by_prototype:
        fit = lambda: prototypes(parts, new.features, new.alive, key)
        state = state._replace(prototypes=jax.lax.cond(state.filled == 0, fit, lambda: state.prototypes))
    return state._replace(memory=memory, filled=state.filled + 1)


def prototypes(
    parts: Parts, features: Float[Array, "T B N H"], alive: Bool[Array, "T B N"], key: PRNGKeyArray
) -> Float[Array, "K H"]:
    """Centres of the teacher's features."""
    return kmeans(features.reshape(-1, features.shape[-1]), alive.reshape(-1), parts.config.prototypes, key)


def empty_memory(parts: Parts, env: Environment, teacher: Params) -> Labelled:
    """Shapes of what will be gathered; raises BadInput where it would not fit into `memory_gb`."""
    config, behaviour = parts.config, expert_plays(parts)
    vector = make_vector_env(env, config.envs, parts.expert.goals)

    def one(teacher: Params, key: PRNGKeyArray) -> Labelled:
        collector = init_collector(vector, parts.expert, key)
        state = KdState(Learner((), ()), teacher, None, None, ())  # type: ignore[arg-type]
        rollout = play(vector, behaviour, state, 0.0, collector, key)[1]
        return label(parts, teacher, rollout._replace(carry=((), parts.student.carry(config.envs))))

    def room(axis: int) -> Any:
        return lambda x: jax.ShapeDtypeStruct(
            (*x.shape[:axis], parts.rollouts * x.shape[axis], *x.shape[axis + 1 :]), x.dtype
        )

    each = jax.eval_shape(one, teacher, jax.random.key(0))
    shapes = jax.tree.map(room(1), each._replace(carry=()))._replace(carry=jax.tree.map(room(0), each.carry))
    size = size_of(shapes)
    if size > config.memory_gb * 1e9:
        raise BadInput(
            f"gather = {config.gather}: the data would take {size / 1e9:.3g} GB, allowed are memory_gb = "
            f"{config.memory_gb:g}; {fitting(config, env.spec.max_steps, size / (parts.sequences * parts.steps))}"
        )
    return shapes


def fitting(config: KdMarlConfig, max_steps: int, each: float) -> str:
    """What to ask for instead, where a step takes so many bytes."""
    most = int(config.memory_gb * 1e9 / each)

    def taken(gather: int, envs: int) -> int:
        return envs * math.prod(lengths(replace(config, gather=gather, envs=envs), max_steps))

    for envs in (config.envs, max(1, most // min(max_steps, WHOLE))):
        gather = max(1, most // envs * envs)
        while gather > envs and taken(gather, envs) > most:
            gather -= envs
        if taken(gather, envs) <= most:
            return f"gather = {gather}" + (f" with envs = {envs} fits" if envs != config.envs else " fits")
    return "more memory_gb is needed"

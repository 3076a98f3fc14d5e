"""DDN, CTDS, IGM-DA: a value-based teacher that sees the state, and students that learn from it while it learns.

The teacher's utilities are fitted as in `qlearning`; it reads the state as its fusion makes it. The students read what
an agent sees and are fitted to the detached teacher on the same sequences, at three levels: first layer, recurrent
layer, action values. Curiosity pays the teacher for next states that a predictor does not know yet.
Reference: DDN (arXiv 2502.03125); Zhao et al. 2022 (CTDS); Hong et al. 2022 (IGM-DA). What of DDN is a reconstruction
is said in docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from tutelage.configs.ddn import DdnConfig
from tutelage.data.collect import unroll
from tutelage.data.replay import Replay
from tutelage.errors import BadInput
from tutelage.learning.losses import cross_entropy, masked_mean
from tutelage.learning.normaliser import Normaliser, init_normaliser, update_normaliser
from tutelage.learning.optim import Learner, annealed, descend, init_learner
from tutelage.methods.central import build_teacher, first_layer
from tutelage.methods.off_policy import (
    Sequences,
    follow,
    learn_on,
    once_warm,
    remembered,
    room,
)
from tutelage.methods.qlearning import (
    Parts,
    assemble,
    explore,
    scores_of,
    td_loss,
)
from tutelage.networks.cores import Net
from tutelage.networks.fusion import curiosity_net
from tutelage.types import (
    Behaviour,
    Carry,
    Environment,
    Frozen,
    Method,
    Metrics,
    Out,
    Params,
    Policy,
    Rollout,
    Stage,
    TimeStep,
)

USUAL = {"curiosity_share": (0.02, 0.3)}
"""Mean bonus over mean reward: below it curiosity is too small to matter, above it drowns the task."""


class Learning(NamedTuple):
    """What gradient steps change.

    Attributes:
        teacher: agent and mixer. target: their copy. steps: gradient steps so far.
        student: the local team.
        predictor: of the frozen network's output. errors: the running scale of its errors.
    """

    teacher: Learner
    target: Params
    steps: Array
    student: Learner
    predictor: Learner
    errors: Normaliser


class DdnState(NamedTuple):
    """These; the frozen network of curiosity; how often play succeeded lately; and what was seen."""

    learning: Learning
    frozen: Params
    success: Array
    replay: Replay


@dataclass(frozen=True)
class Teaching:
    """Who learns, and how.

    Attributes:
        td: the teacher's side as in `qlearning`; its agent is the teacher.
        student: the local team.
        curious: the network whose output is predicted.
    """

    config: DdnConfig
    td: Parts
    student: Policy
    curious: Net


def student_params(parts: Teaching, learning: Learning) -> Params:
    """The students' parameters; with `copied` all but the first layer is the teacher's."""
    own = learning.student.params
    if not parts.config.copied:
        return own
    return ({**learning.teacher.params["agent"]["team"][0], "encode": own[0]["encode"]},)


def taught(parts: Teaching, params: Params, goal: Out, data: Sequences, carry: Carry) -> tuple[Array, Metrics]:
    """The students' loss: every level's squared difference to the detached teacher, over living agents.

    Args:
        goal: the teacher's Out over the sequences, as its `read` gives it.
        carry: the students' memory entering the sequences.
    """
    config, steps, goal = parts.config, data.steps, jax.lax.stop_gradient(goal)
    own = unroll(parts.student, params, carry, steps, steps.first)
    assert goal.scores is not None and own.scores is not None
    where = data.counts[..., None] & steps.acts[:-1]
    apart = lambda a, b: masked_mean(jnp.square(a - b).mean(-1)[:-1], where)
    told: Metrics = {}
    if config.encoder:
        told["encoder"] = apart(first_layer(parts.student, params, steps), goal.features[1])
    if config.features:
        told["features"] = apart(own.features[0], goal.features[0])
    if config.values:
        gap = jnp.where(steps.avail, jnp.square(own.scores - goal.scores), 0.0).sum(-1)
        told["values"] = masked_mean((gap / jnp.maximum(steps.avail.sum(-1), 1))[:-1], where)
    if config.imitate:
        told["imitate"] = cross_entropy(own.scores[:-1], goal.scores[:-1].argmax(-1), where)
    loss = sum((getattr(config, name) * x for name, x in told.items()), jnp.zeros(()))
    return loss, {f"student_{name}": x for name, x in told.items()}


def surprise(parts: Teaching, predictor: Params, frozen: Params, state: Float[Array, "... S"]) -> Float[Array, "..."]:
    """Mean squared error of the prediction."""
    return jnp.square(parts.curious.apply(predictor, state) - parts.curious.apply(frozen, state)).mean(-1)


def wonder(
    parts: Teaching, now: Learning, state: DdnState, data: Sequences, key: PRNGKeyArray, lr: Any
) -> tuple[Array, Learner, Normaliser, Metrics]:
    """Curiosity: the bonus (T, C) of every next state, and what was learned about them."""
    config, following, counts = parts.config, data.steps.state[1:], data.counts
    error = surprise(parts, now.predictor.params, state.frozen, following)
    errors = update_normaliser(now.errors, error, counts)
    # At least a share of the mean, as errors fall by orders of magnitude; where all are alike a deviation says nothing.
    scale = errors.deviation_above(0.1 * errors.mean + 1e-9)
    drawn = jax.random.bernoulli(key, config.mu, error.shape)
    factor = {"reward_mask": drawn.astype(jnp.float32), "scale": jnp.full(error.shape, config.mu)}.get(
        config.mu_form, jnp.ones(error.shape)
    )
    beta = config.beta * (1 - state.success) if config.adaptive else config.beta
    bonus = beta * factor * error / scale
    learns = counts & drawn if config.mu_form == "predictor_mask" else counts

    def loss(params: Params) -> tuple[Array, Metrics]:
        value = masked_mean(surprise(parts, params, state.frozen, following), learns)
        return value, {"novelty": value}

    predictor, told = descend(parts.td.tx, now.predictor, loss, lr)
    paid = masked_mean(jnp.abs(parts.td.scale * data.steps.reward[1:]), counts)
    told["curiosity_share"] = masked_mean(bonus, counts) / jnp.maximum(paid, 1e-6)
    return jax.lax.stop_gradient(bonus), predictor, errors, told


def learn(parts: Teaching, state: DdnState, key: PRNGKeyArray, progress: Any) -> tuple[Learning, Metrics]:
    """The gradient steps that follow a rollout: curiosity, teacher, students, each with its own optimiser."""
    config, tx = parts.config, parts.td.tx
    lr = annealed(config, progress)

    def step(now: Learning, key: PRNGKeyArray) -> tuple[Learning, Metrics]:
        key_draw, key_mask = jax.random.split(key)
        return learn_on(parts.td, state.replay, key_draw, lambda data: on(now, data, key_mask))

    def on(now: Learning, data: Sequences, key: PRNGKeyArray) -> tuple[Learning, Metrics]:
        of_teacher, of_student = data.carry
        data = data._replace(carry=of_teacher)
        told: Metrics = {}
        predictor, errors, paid = now.predictor, now.errors, data
        if config.beta:
            bonus, predictor, errors, told = wonder(parts, now, state, data, key, lr)
            reward = data.steps.reward.at[1:].add(bonus / parts.td.scale)
            paid = data._replace(steps=data.steps._replace(reward=reward))
        best = None
        if config.chooses == "student":
            params = student_params(parts, now)
            best = unroll(parts.student, params, of_student, data.steps, data.steps.first).scores

        def teach(params: Params) -> tuple[Array, tuple[Metrics, Out]]:
            out = parts.td.read(params["agent"], paid)
            loss, told = td_loss(parts.td, scores_of(out), params, now.target, paid, best)
            return loss, (told, out)

        teacher, (told_too, goal) = descend(tx, now.teacher, teach, lr)
        student, told_three = descend(tx, now.student, lambda p: taught(parts, p, goal, data, of_student), lr)
        target = follow(config, now.target, teacher.params, now.steps + 1)
        return Learning(teacher, target, now.steps + 1, student, predictor, errors), told | told_too | told_three

    after, told = jax.lax.scan(step, state.learning, jax.random.split(key, config.updates))
    return after, jax.tree.map(jnp.mean, told)


def both(teacher: Policy, student: Policy, who: Array) -> Policy:
    """Teacher and students side by side; in environments that `who` marks the teacher's scores count.

    Parameters and memories are pairs: both memories advance, so that both can be replayed.
    """

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        mine, told = teacher.step(params[0], carry[0], timestep, key)
        theirs, guessed = student.step(params[1], carry[1], timestep, key)
        assert told.scores is not None and guessed.scores is not None
        return (mine, theirs), Out(jnp.where(who[:, None, None], told.scores, guessed.scores))

    init = lambda key: (teacher.init(key), student.init(key))
    return Policy(init, lambda n: (teacher.carry(n), student.carry(n)), step)


def playing(parts: Teaching) -> Behaviour:
    """Both play epsilon-greedily, each in its share of the environments."""
    config = parts.config
    share = {"mix": 0.5, "teacher": 1.0, "student": 0.0}[config.acts]
    who = jnp.arange(config.envs) < round(share * config.envs)

    def plays(state: DdnState, progress: Any) -> Any:
        teacher = state.learning.teacher.params["agent"]
        return (teacher, student_params(parts, state.learning)), explore(config, progress)

    return parts.td.behaviour(both(parts.td.agent, parts.student, who), plays)


def ddn(env: Environment, config: DdnConfig, teacher: Frozen | None = None) -> Method:
    """A teacher and its students, learning together.

    Raises:
        BadInput: a teacher was named, or students of several networks. From `init`: replay would not fit.
    """
    if teacher is not None:
        raise BadInput("teacher: ddn trains its own; distil a finished one with kd_marl, kl or bc")
    local = assemble(env, config)
    if len(local.agent.groups) != 1:
        raise BadInput(f"size = {config.size!r}, share = {config.share!r}: ddn needs one network for all students")
    central, read = build_teacher(env.spec, config, local.agent.groups[0].agent.width)
    td = local.of(central, read)
    parts = Teaching(config, td, local.agent, curiosity_net(env.spec.state_width))
    behaviour = playing(parts)

    def init(key: PRNGKeyArray) -> DdnState:
        keys = jax.random.split(key, 5)
        params = {"agent": central.init(keys[0]), "mix": td.mix.init(keys[1])}
        start = lambda p: init_learner(td.tx, p)
        student, predictor = parts.student.init(keys[2]), parts.curious.init(keys[3])
        zero = jnp.zeros((), jnp.int32)
        learning = Learning(start(params), params, zero, start(student), start(predictor), init_normaliser())
        blank = DdnState(learning, parts.curious.init(keys[4]), jnp.zeros(()), ())  # type: ignore[arg-type]
        return blank._replace(replay=room(td, env, behaviour, blank))

    def update(
        state: DdnState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[DdnState, Metrics]:
        rollout = played["both"]
        rate = masked_mean(rollout.steps.success[1:].astype(jnp.float32), rollout.ended)
        success = jnp.where(rollout.ended.any(), 0.9 * state.success + 0.1 * rate, state.success)
        state = state._replace(replay=remembered(td, state.replay, rollout), success=success)
        go = lambda: learn(parts, state, key, progress)
        learning, told = once_warm(td, state.replay, go, state.learning)
        return state._replace(learning=learning), told

    return Method(
        init=init,
        stages=(Stage("train", {"both": behaviour}, update, config.steps, usual=USUAL if config.beta else {}),),
        roles={"student": parts.student, "teacher": central},
        params=lambda state: {
            "student": student_params(parts, state.learning),
            "teacher": state.learning.teacher.params["agent"],
        },
        also_tested=("teacher",),
    )

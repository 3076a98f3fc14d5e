"""DDN, CTDS, IGM-DA: a value-based teacher that reads the state, and students distilled from it while it learns.

The teacher's utilities are fitted as in `qlearning`; each of its agents reads a personalised state. The students read
their own observations. They are fitted to the detached teacher on the same sequences, at three levels: first layer,
recurrent layer, action values. A curiosity bonus rewards the teacher for next states that a predictor does not know.
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
from tutelage.methods.central import first_layer, make_teacher
from tutelage.methods.off_policy import (
    Sequences,
    add_rollout,
    after_warm_up,
    init_replay,
    update_from_replay,
    update_target,
)
from tutelage.methods.qlearning import exploration_rule, make_networks
from tutelage.methods.td_loss import QNetworks, scores_of, td_loss
from tutelage.networks.cores import Net
from tutelage.networks.curiosity import curiosity_net
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

USUAL_METRICS = {"curiosity_share": (0.02, 0.3)}
"""Mean bonus over mean absolute reward: below this range curiosity has no effect, above it the bonus dominates."""


class DdnTrainState(NamedTuple):
    """What gradient steps change.

    Attributes:
        teacher: team and mixing network. target: parameters of its target network. steps: gradient steps so far.
        student: the students' team.
        predictor: network that predicts the frozen network's output. errors: moments of its errors.
    """

    teacher: Learner
    target: Params
    steps: Array
    student: Learner
    predictor: Learner
    errors: Normaliser


class DdnState(NamedTuple):
    """Train state, the frozen network of curiosity, the recent success rate of play, and the replay buffer."""

    learning: DdnTrainState
    frozen: Params
    success: Array
    replay: Replay


@dataclass(frozen=True)
class DdnNetworks:
    """Settings and networks of DDN.

    Attributes:
        td: networks of Q-learning, as in `qlearning`; their team is the teacher.
        student: the students' team.
        curiosity: the network whose output is predicted.
    """

    config: DdnConfig
    td: QNetworks
    student: Policy
    curiosity: Net


def student_params(networks: DdnNetworks, learning: DdnTrainState) -> Params:
    """The students' parameters; with the setting `copied` all layers but the first are the teacher's."""
    student = learning.student.params
    if not networks.config.copied:
        return student
    return ({**learning.teacher.params["agent"]["team"][0], "encode": student[0]["encode"]},)


def student_loss(
    networks: DdnNetworks, params: Params, teacher_output: Out, data: Sequences, carry: Carry
) -> tuple[Array, Metrics]:
    """The students' loss: squared differences to the detached teacher at every level, over living agents.

    Args:
        teacher_output: on the sequences, as the teacher's `read` returns it.
        carry: the students' memory entering the sequences.
    """
    config, steps, teacher_output = networks.config, data.steps, jax.lax.stop_gradient(teacher_output)
    output = unroll(networks.student, params, carry, steps, steps.first)
    assert teacher_output.scores is not None and output.scores is not None
    where = data.counts[..., None] & steps.acts[:-1]
    squared_difference = lambda a, b: masked_mean(jnp.square(a - b).mean(-1)[:-1], where)
    terms: Metrics = {}
    if config.encoder:
        terms["encoder"] = squared_difference(first_layer(networks.student, params, steps), teacher_output.features[1])
    if config.features:
        terms["features"] = squared_difference(output.features[0], teacher_output.features[0])
    if config.values:
        squared = jnp.where(steps.avail, jnp.square(output.scores - teacher_output.scores), 0.0).sum(-1)
        terms["values"] = masked_mean((squared / jnp.maximum(steps.avail.sum(-1), 1))[:-1], where)
    if config.imitate:
        terms["imitate"] = cross_entropy(output.scores[:-1], teacher_output.scores[:-1].argmax(-1), where)
    loss = sum((getattr(config, name) * x for name, x in terms.items()), jnp.zeros(()))
    return loss, {f"student_{name}": x for name, x in terms.items()}


def prediction_error(
    networks: DdnNetworks, predictor: Params, frozen: Params, state: Float[Array, "... S"]
) -> Float[Array, "..."]:
    """Mean squared error of the predictor's output against the frozen network's."""
    return jnp.square(networks.curiosity.apply(predictor, state) - networks.curiosity.apply(frozen, state)).mean(-1)


def curiosity_bonus(
    networks: DdnNetworks, learning: DdnTrainState, state: DdnState, data: Sequences, key: PRNGKeyArray, lr: Any
) -> tuple[Array, Learner, Normaliser, Metrics]:
    """The curiosity bonus (T, C) of every next state, and one gradient step of the predictor.

    Returns:
        The bonus, the predictor, the moments of its errors, and metrics.
    """
    config, following, counts = networks.config, data.steps.state[1:], data.counts
    error = prediction_error(networks, learning.predictor.params, state.frozen, following)
    errors = update_normaliser(learning.errors, error, counts)
    # At least a tenth of the mean error: errors fall by orders of magnitude, and the deviation may be 0.
    scale = errors.deviation_above(0.1 * errors.mean + 1e-9)
    selected = jax.random.bernoulli(key, config.mu, error.shape)
    factor = {"reward_mask": selected.astype(jnp.float32), "scale": jnp.full(error.shape, config.mu)}.get(
        config.mu_form, jnp.ones(error.shape)
    )
    beta = config.beta * (1 - state.success) if config.adaptive else config.beta
    bonus = beta * factor * error / scale
    fitted = counts & selected if config.mu_form == "predictor_mask" else counts

    def loss(params: Params) -> tuple[Array, Metrics]:
        value = masked_mean(prediction_error(networks, params, state.frozen, following), fitted)
        return value, {"novelty": value}

    predictor, metrics = descend(networks.td.tx, learning.predictor, loss, lr)
    mean_reward = masked_mean(jnp.abs(networks.td.scale * data.steps.reward[1:]), counts)
    metrics["curiosity_share"] = masked_mean(bonus, counts) / jnp.maximum(mean_reward, 1e-6)
    return jax.lax.stop_gradient(bonus), predictor, errors, metrics


def update_networks(
    networks: DdnNetworks, state: DdnState, key: PRNGKeyArray, progress: Any
) -> tuple[DdnTrainState, Metrics]:
    """The gradient steps after a rollout: predictor, teacher, students, each with its own optimiser."""
    config, tx = networks.config, networks.td.tx
    lr = annealed(config, progress)

    def step(before: DdnTrainState, key: PRNGKeyArray) -> tuple[DdnTrainState, Metrics]:
        key_draw, key_mask = jax.random.split(key)
        return update_from_replay(networks.td, state.replay, key_draw, lambda data: update(before, data, key_mask))

    def update(before: DdnTrainState, data: Sequences, key: PRNGKeyArray) -> tuple[DdnTrainState, Metrics]:
        teacher_carry, student_carry = data.carry
        data = data._replace(carry=teacher_carry)
        metrics: Metrics = {}
        predictor, errors, rewarded = before.predictor, before.errors, data
        if config.beta:
            bonus, predictor, errors, metrics = curiosity_bonus(networks, before, state, data, key, lr)
            reward = data.steps.reward.at[1:].add(bonus / networks.td.scale)
            rewarded = data._replace(steps=data.steps._replace(reward=reward))
        chooser = None
        if config.chooses == "student":
            params = student_params(networks, before)
            chooser = unroll(networks.student, params, student_carry, data.steps, data.steps.first).scores

        def teacher_loss(params: Params) -> tuple[Array, tuple[Metrics, Out]]:
            out = networks.td.read(params["agent"], rewarded)
            loss, metrics = td_loss(networks.td, scores_of(out), params, before.target, rewarded, chooser)
            return loss, (metrics, out)

        teacher, (teacher_metrics, teacher_output) = descend(tx, before.teacher, teacher_loss, lr)
        student, student_metrics = descend(
            tx, before.student, lambda p: student_loss(networks, p, teacher_output, data, student_carry), lr
        )
        target = update_target(config, before.target, teacher.params, before.steps + 1)
        after = DdnTrainState(teacher, target, before.steps + 1, student, predictor, errors)
        return after, metrics | teacher_metrics | student_metrics

    after, metrics = jax.lax.scan(step, state.learning, jax.random.split(key, config.updates))
    return after, jax.tree.map(jnp.mean, metrics)


def mixed_policy(teacher: Policy, student: Policy, teacher_acts: Array) -> Policy:
    """Acts as the teacher in environments marked by `teacher_acts` (B,), and as the students in the others.

    Parameters and memories are pairs (teacher's, students'): both memories advance, so that both are recorded.
    """

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        teacher_carry, teacher_out = teacher.step(params[0], carry[0], timestep, key)
        student_carry, student_out = student.step(params[1], carry[1], timestep, key)
        assert teacher_out.scores is not None and student_out.scores is not None
        scores = jnp.where(teacher_acts[:, None, None], teacher_out.scores, student_out.scores)
        return (teacher_carry, student_carry), Out(scores)

    init = lambda key: (teacher.init(key), student.init(key))
    return Policy(init, lambda n: (teacher.carry(n), student.carry(n)), step)


def make_behaviour(networks: DdnNetworks) -> Behaviour:
    """Teacher and students act epsilon-greedily, each in its share of the environments."""
    config = networks.config
    share = {"mix": 0.5, "teacher": 1.0, "student": 0.0}[config.acts]
    teacher_acts = jnp.arange(config.envs) < round(share * config.envs)

    def plays(state: DdnState, progress: Any) -> Any:
        teacher = state.learning.teacher.params["agent"]
        return (teacher, student_params(networks, state.learning)), exploration_rule(config, progress)

    return networks.td.behaviour(mixed_policy(networks.td.agent, networks.student, teacher_acts), plays)


def ddn(env: Environment, config: DdnConfig, teacher: Frozen | None = None) -> Method:
    """A value-based teacher and its students, which learn together.

    Raises:
        BadInput: students of several networks. From `init`: replay would not fit.
    """
    students = make_networks(env, config)
    if len(students.agent.groups) != 1:
        raise BadInput(f"size = {config.size!r}, share = {config.share!r}: ddn needs one network for all students")
    teacher_team, read = make_teacher(env.spec, config, students.agent.groups[0].agent.width)
    td = students.with_team(teacher_team, read)
    networks = DdnNetworks(config, td, students.agent, curiosity_net(env.spec.state_width))
    behaviour = make_behaviour(networks)

    def init(key: PRNGKeyArray) -> DdnState:
        keys = jax.random.split(key, 5)
        params = {"agent": teacher_team.init(keys[0]), "mix": td.mix.init(keys[1])}
        init = lambda p: init_learner(td.tx, p)
        student, predictor = networks.student.init(keys[2]), networks.curiosity.init(keys[3])
        zero = jnp.zeros((), jnp.int32)
        learning = DdnTrainState(init(params), params, zero, init(student), init(predictor), init_normaliser())
        no_replay = DdnState(learning, networks.curiosity.init(keys[4]), jnp.zeros(()), ())  # type: ignore[arg-type]
        return no_replay._replace(replay=init_replay(td, env, behaviour, no_replay))

    def update(
        state: DdnState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[DdnState, Metrics]:
        rollout = rollouts["both"]
        success = jnp.where(rollout.ended.any(), 0.9 * state.success + 0.1 * rollout.success_rate, state.success)
        state = state._replace(replay=add_rollout(td, state.replay, rollout), success=success)
        do_update = lambda: update_networks(networks, state, key, progress)
        learning, metrics = after_warm_up(td, state.replay, do_update, state.learning)
        return state._replace(learning=learning), metrics

    return Method(
        init=init,
        stages=(Stage("train", {"both": behaviour}, update, config.steps, usual=USUAL_METRICS if config.beta else {}),),
        roles={"student": networks.student, "teacher": teacher_team},
        params=lambda state: {
            "student": student_params(networks, state.learning),
            "teacher": state.learning.teacher.params["agent"],
        },
        also_tested=("teacher",),
    )

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
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ddn import DdnConfig
from tutelage.data.collect import unroll
from tutelage.errors import BadInput
from tutelage.learning.losses import cross_entropy, masked_mean
from tutelage.learning.normaliser import init_normaliser
from tutelage.learning.optim import Learner, descend, init_learner
from tutelage.methods.central import first_layer, make_teacher
from tutelage.methods.curiosity import USUAL_SHARE, Predictor, novelty, share_of_reward
from tutelage.methods.off_policy import (
    OffPolicyState,
    Sequences,
    replay_training,
    update_target,
)
from tutelage.methods.qlearning import exploration_rule, make_networks
from tutelage.methods.td_loss import QNetworks, scores_of, td_loss
from tutelage.methods.terms import Term, TermInput, own_term, with_term
from tutelage.networks.cores import Net
from tutelage.networks.curiosity import curiosity_net
from tutelage.policies.normalising import normalised_net, state_rows
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
    TimeStep,
)


class DdnTrainState(NamedTuple):
    """What gradient steps change.

    Attributes:
        teacher: team and mixing network. target: parameters of its target network. steps: gradient steps so far.
        student: the students' team.
        predictor: of the frozen network's output, see `methods.curiosity`. frozen: that network's parameters.
        success: the recent success rate of play.
    """

    teacher: Learner
    target: Params
    steps: Array
    student: Learner
    predictor: Predictor
    frozen: Params
    success: Array


@dataclass(frozen=True)
class DdnNetworks:
    """Settings and networks of DDN.

    Attributes:
        td: networks of Q-learning, as in `qlearning`; their team is the teacher.
        student: the students' team.
        curiosity: the network whose output is predicted.
        term: a user's own term of the students' loss.
    """

    config: DdnConfig
    td: QNetworks
    student: Policy
    curiosity: Net
    term: Term | None = None


OWN = ("encode", "normaliser")
"""Parameters that students keep to themselves with the setting `copied`."""


def student_params(networks: DdnNetworks, learning: DdnTrainState) -> Params:
    """The students' parameters; with the setting `copied` all layers but the first are the teacher's."""
    student = learning.student.params
    if not networks.config.copied:
        return student
    own = {name: part for name, part in student[0].items() if name in OWN}
    return ({**learning.teacher.params["agent"]["team"][0], **own},)


def with_params(networks: DdnNetworks, learning: DdnTrainState, given: Mapping[str, Params]) -> DdnTrainState:
    """The same with given parameters of roles. With the setting `copied` students share layers with the teacher."""
    agent, student = learning.teacher.params["agent"], given.get("student", learning.student.params)
    agent = given.get("teacher", agent)
    if networks.config.copied and "student" in given:
        copied = {name: layer for name, layer in student[0].items() if name not in OWN}
        own = {name: part for name, part in student[0].items() if name in OWN}
        agent = {**agent, "team": ({**agent["team"][0], **copied},)}
        student = ({**learning.student.params[0], **own},)
    teacher = {**learning.teacher.params, "agent": agent}
    return learning._replace(
        teacher=learning.teacher._replace(params=teacher), student=learning.student._replace(params=student)
    )


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
    metrics = {f"student_{name}": x for name, x in terms.items()}
    cut = lambda tree: jax.tree.map(lambda x: x[:-1], tree)  # the last step of a sequence has no action yet
    own = lambda: TermInput(
        cut(steps), steps.action[1:], where, cut(output), teacher_output.scores[:-1], teacher_output.features[0][:-1]
    )
    return with_term(networks.term, loss, metrics, own)


def curiosity_bonus(
    networks: DdnNetworks, learning: DdnTrainState, data: Sequences, key: PRNGKeyArray, lr: Any
) -> tuple[Array, Predictor, Metrics]:
    """The curiosity bonus (T, C) of every next state, the predictor after one gradient step, and metrics."""
    config, following, counts = networks.config, data.steps.state[1:], data.counts
    selected = jax.random.bernoulli(key, config.mu, counts.shape)
    fitted = counts & selected if config.mu_form == "predictor_mask" else counts
    error, scale, predictor, metrics = novelty(
        networks.curiosity, networks.td.tx, learning.predictor, learning.frozen, following, counts, fitted, lr
    )
    factor = {"reward_mask": selected.astype(jnp.float32), "scale": jnp.full(counts.shape, config.mu)}.get(
        config.mu_form, jnp.ones(counts.shape)
    )
    beta = config.beta * (1 - learning.success) if config.adaptive else config.beta
    bonus = beta * factor * error / scale
    metrics["curiosity_share"] = share_of_reward(bonus, networks.td.scale * data.steps.reward[1:], counts)
    return jax.lax.stop_gradient(bonus), predictor, metrics


def ddn_step(
    networks: DdnNetworks, before: DdnTrainState, data: Sequences, keys: Any, lr: Any
) -> tuple[DdnTrainState, Metrics]:
    """A gradient step on a batch: predictor, teacher, students, each with its own optimiser."""
    config, tx = networks.config, networks.td.tx
    teacher_carry, student_carry = data.carry
    data = data._replace(carry=teacher_carry)
    metrics: Metrics = {}
    predictor, rewarded = before.predictor, data
    if config.beta:
        bonus, predictor, metrics = curiosity_bonus(networks, before, data, keys[0], lr)
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
    after = before._replace(
        teacher=teacher, target=target, steps=before.steps + 1, student=student, predictor=predictor
    )
    return after, metrics | teacher_metrics | student_metrics


def observe_success(learning: DdnTrainState, rollout: Rollout) -> DdnTrainState:
    """The recent success rate of play, with the episodes that end in a rollout."""
    success = jnp.where(rollout.ended.any(), 0.9 * learning.success + 0.1 * rollout.success_rate, learning.success)
    return learning._replace(success=success)


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

    def plays(state: OffPolicyState, progress: Any) -> Any:
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
        raise BadInput(f"size = {config.size!r}, sight = {config.sight!r}: ddn needs one network for all students")
    teacher_team, read = make_teacher(env.spec, config, students.agent.groups[0].agent.width)
    td = students.with_team(teacher_team, read)
    width = env.spec.state_width
    curiosity = normalised_net(curiosity_net(width), (state_rows(width),), config.normalise)
    networks = DdnNetworks(config, td, students.agent, curiosity, own_term(config))

    def init(key: PRNGKeyArray) -> DdnTrainState:
        keys = jax.random.split(key, 5)
        params = {"agent": teacher_team.init(keys[0]), "mix": td.mix.init(keys[1])}
        start = lambda p: init_learner(td.tx, p)
        student, predictor = networks.student.init(keys[2]), networks.curiosity.init(keys[3])
        return DdnTrainState(
            teacher=start(params),
            target=params,
            steps=jnp.zeros((), jnp.int32),
            student=start(student),
            predictor=Predictor(start(predictor), init_normaliser()),
            frozen=networks.curiosity.init(keys[4]),
            success=jnp.zeros(()),
        )

    behaviours = {"both": make_behaviour(networks)}
    init_state, stage = replay_training(
        td, env, behaviours, init, partial(ddn_step, networks), keys=1, observe=observe_success
    )
    return Method(
        init=init_state,
        stages=(stage._replace(usual={"curiosity_share": USUAL_SHARE} if config.beta else {}),),
        roles={"student": networks.student, "teacher": teacher_team},
        params=lambda state: {
            "student": student_params(networks, state.learning),
            "teacher": state.learning.teacher.params["agent"],
        },
        also_tested=("teacher",),
        with_params=lambda state, given: state._replace(learning=with_params(networks, state.learning, given)),
        copy_targets=lambda state: state._replace(
            learning=state.learning._replace(target=state.learning.teacher.params)
        ),
    )

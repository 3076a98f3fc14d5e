"""PTDE: a team learns with a personalised state, then learns to predict it and acts without. The value-based form.

Stage `train`: Q-learning; each agent reads its observation and a personalised state. Stage `predict`: a recurrent
predictor learns that personalised state from the agent's observations; nothing else changes. At deployment the team
reads the prediction in place of the personalised state. The form on MAPPO is `ptde_mappo`.
Reference: Chen et al. 2022 (PTDE), as reported second-hand; see docs/methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PRNGKeyArray

from tutelage.configs.ddn import PtdeConfig, PtdeMappoConfig
from tutelage.data.collect import unroll
from tutelage.data.trees import before
from tutelage.errors import BadInput
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, annealed, descend, init_learner
from tutelage.methods.central import Reader, make_central_team
from tutelage.methods.off_policy import OffPolicyState, Sequences, replay_training, update_from_replay
from tutelage.methods.qlearning import QTrainState, init_learning, make_behaviour, make_networks, q_step
from tutelage.methods.td_loss import QNetworks
from tutelage.policies.agent import Agent, Group, make_team
from tutelage.policies.blueprint import Fusion, Members, Network, Team
from tutelage.policies.build import known_core
from tutelage.policies.columns import View
from tutelage.policies.fused import make_fused_team
from tutelage.policies.open import policy_of
from tutelage.policies.predicting import predictor_core
from tutelage.policies.views import view, whole_row
from tutelage.types import (
    Carry,
    Environment,
    Frozen,
    Method,
    Metrics,
    Out,
    Params,
    Policy,
    Spec,
    Stage,
    TimeStep,
)


class PtdeTrainState(NamedTuple):
    """Q-learning's part, and (`guess`) the predictor with its optimiser."""

    q: QTrainState
    guess: Learner


class StatePredictor(NamedTuple):
    """Networks of the second stage, which learns to predict the personalised state.

    Attributes:
        fusion: (parameters of the teacher, timesteps) -> rows that agents read themselves, and personalised states.
        predictor: a team whose scores are predictions of the personalised state; its observations are these rows.
        student: the team that is deployed.
    """

    fusion: Callable[[Params, TimeStep], tuple[Array, Array]]
    predictor: Policy
    student: Policy


class PtdeNetworks(NamedTuple):
    """Networks of Q-learning with the teacher as team, and those of the second stage."""

    td: QNetworks
    state_predictor: StatePredictor


def make_teacher_and_predictor(
    spec: Spec, config: PtdeConfig | PtdeMappoConfig, width: int, own_view: View, gain: float
) -> tuple[Policy, Reader, StatePredictor]:
    """The team that reads the personalised state, the function of its outputs on sequences, and the predictor.

    `gain` scales the scores of the team's new parameters.
    """
    inputs, agents = own_view.width, tuple(range(spec.n_agents))
    fusion = Fusion("full", inputs, spec.state_width, spec.n_agents, config.fusion_width, config.generator)
    teacher, read = make_central_team(spec, config, width, own_view, fusion, keeps_own=True, gain=gain)
    core, normalised = known_core(config), config.normalise
    network = Network(core, inputs, width, spec.n_actions, 1.0, predicts=config.fusion_width, normalised=normalised)
    student = policy_of(Team((Members(agents, network, own_view),)))
    personalise = make_fused_team(teacher.blueprint).fusion
    return teacher, read, StatePredictor(personalise, make_predicting_team(spec, network), student)


def single_width(groups: tuple[Group, ...], size: str) -> int:
    """Width of the one network that all agents share; BadInput where there are several."""
    if len(groups) != 1:
        raise BadInput(f"size = {size!r}: ptde needs one network for all")
    return groups[0].agent.width


def make_ptde_networks(env: Environment, config: PtdeConfig) -> PtdeNetworks:
    """Teacher, students and predictor; raises BadInput for students of several networks."""
    local = make_networks(env, config)
    width = single_width(local.agent.groups, config.size)
    seen = view("local+action", env.spec)
    teacher, read, state_predictor = make_teacher_and_predictor(env.spec, config, width, seen, gain=1.0)
    return PtdeNetworks(local.with_team(teacher, read), state_predictor)


def make_predicting_team(spec: Spec, network: Network) -> Policy:
    """The predictor as a team of its own, whose observations are whole rows and whose scores are predictions."""
    core = predictor_core(network)
    agent = Agent(network.core, network.inputs, network.width, network.predicts, *core)
    inner = make_team((Group(tuple(range(spec.n_agents)), agent, whole_row(network.inputs)),))

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        all_available = jnp.ones((*timestep.obs.shape[:-1], network.predicts), bool)
        return inner.step(params, carry, timestep._replace(avail=all_available), key)

    return Policy(inner.init, inner.carry, step)


def prediction_loss(
    state_predictor: StatePredictor,
    predictor: Params,
    teacher: Params,
    carry: Carry,
    steps: TimeStep,
    where: Bool[Array, "T B"],
) -> tuple[Array, Metrics]:
    """Squared error of the predicted personalised state, over living agents.

    Args:
        predictor, teacher: parameters of the predictor, and of the teacher (which are not changed).
        carry: the predictor's memory before the first step.
        steps: leaves (T, B, ...).
        where: steps that count.
    """
    own, target = jax.lax.stop_gradient(state_predictor.fusion(teacher, steps))
    prediction = unroll(state_predictor.predictor, predictor, carry, steps._replace(obs=own), steps.first).scores
    assert prediction is not None
    counts = where[..., None] & steps.acts
    loss = masked_mean(jnp.square(prediction - target).mean(-1), counts)
    mean_target = jnp.where(counts[..., None], target, 0.0).sum((0, 1, 2)) / jnp.maximum(counts.sum(), 1)
    target_variance = masked_mean(jnp.square(target - mean_target).mean(-1), counts)
    return loss, {"prediction": loss, "unexplained": loss / jnp.maximum(target_variance, 1e-8)}


def student_params(predictor: Params, teacher: Params) -> Params:
    """Parameters of the students: the predictor's, the teacher's network behind it, and its normaliser."""
    normaliser = {"normaliser": teacher["normalisers"][0]} if "normalisers" in teacher else {}
    return ({"guess": predictor[0], "act": teacher["team"][0], **normaliser},)


def with_params(learning: PtdeTrainState, given: Mapping[str, Params]) -> PtdeTrainState:
    """The same with given parameters of roles. The students' second part is a part of the teacher."""
    agent, predictor = learning.q.online.params["agent"], learning.guess.params
    agent = given.get("teacher", agent)
    if "student" in given:
        agent, predictor = split_student(given["student"], agent)
    return PtdeTrainState(learning.q.with_team(agent), learning.guess._replace(params=predictor))


def split_student(student: Params, teacher: Params) -> tuple[Params, Params]:
    """The inverse of `student_params`: the teacher's parameters with the students' network, and the predictor's."""
    (own,) = student
    normalisers = {"normalisers": (own["normaliser"], teacher["normalisers"][1])} if "normaliser" in own else {}
    return {**teacher, "team": (own["act"],), **normalisers}, (own["guess"],)


def ptde(env: Environment, config: PtdeConfig, teacher: Frozen | None = None) -> Method:
    """Q-learning on a personalised state, then learning to predict it.

    Raises:
        BadInput: students of several networks. From `init`: replay would not fit.
    """
    td, state_predictor = make_ptde_networks(env, config)
    q_behaviour = make_behaviour(td)
    plays = lambda state, progress: q_behaviour.plays(state._replace(learning=state.learning.q), progress)

    def init(key: PRNGKeyArray) -> PtdeTrainState:
        keys = jax.random.split(key, 3)
        params = {"agent": td.agent.init(keys[0]), "mix": td.mix.init(keys[1])}
        return PtdeTrainState(init_learning(td, params), init_learner(td.tx, state_predictor.predictor.init(keys[2])))

    def learn(before: PtdeTrainState, data: Sequences, keys: Any, lr: Any) -> tuple[PtdeTrainState, Metrics]:
        q, metrics = q_step(td, before.q, data, lr)
        return before._replace(q=q), metrics

    def predict(
        state: OffPolicyState, rollouts: Any, key: PRNGKeyArray, progress: Array
    ) -> tuple[OffPolicyState, Metrics]:
        teacher = state.learning.q.online.params["agent"]

        def update(data: Sequences) -> tuple[Learner, Metrics]:
            steps = before(data.steps)
            # The predictor's memory starts empty, not at the sequence's beginning: the burn-in warms it up.
            carry = state_predictor.predictor.carry(config.batch)
            loss = lambda params: prediction_loss(state_predictor, params, teacher, carry, steps, data.counts)
            return descend(td.tx, state.learning.guess, loss, annealed(config, progress))

        predictor, metrics = update_from_replay(td, state.replay, key, update)
        return state._replace(learning=state.learning._replace(guess=predictor)), metrics

    init_state, train = replay_training(td, env, {"teacher": q_behaviour._replace(plays=plays)}, init, learn)
    return Method(
        init=init_state,
        stages=(
            train._replace(evaluated=False),
            Stage("predict", {}, predict, config.predict, unit="updates", fixed=("replay",)),
        ),
        roles={"student": state_predictor.student, "teacher": td.agent},
        params=lambda state: {
            "student": student_params(state.learning.guess.params, state.learning.q.online.params["agent"]),
            "teacher": state.learning.q.online.params["agent"],
        },
        also_tested=("teacher",),
        with_params=lambda state, given: state._replace(learning=with_params(state.learning, given)),
        copy_targets=lambda state: state._replace(
            learning=state.learning._replace(q=state.learning.q.with_copied_target())
        ),
    )

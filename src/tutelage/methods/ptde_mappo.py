"""PTDE, the form on MAPPO: actors learn with a personalised state, then learn to predict it and act without.

Stage `train`: MAPPO; each actor reads its observation and a personalised state. Stage `predict`: the team that reads
the prediction instead collects rollouts, and the predictor learns the personalised state on them.
Reference: Chen et al. 2022 (PTDE), as reported second-hand; see docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ddn import PtdeMappoConfig
from tutelage.data.minibatches import epochs, sequences
from tutelage.data.transitions import transitions
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.methods.on_policy import on_policy_stage
from tutelage.methods.ppo import PpoNetworks, PpoState, init_state, update_networks
from tutelage.methods.ptde import (
    StatePredictor,
    make_teacher_and_predictor,
    prediction_loss,
    single_width,
    split_student,
    student_params,
)
from tutelage.policies.build import build_team
from tutelage.policies.critic import critic_of
from tutelage.policies.views import view
from tutelage.types import (
    Carry,
    Environment,
    Frozen,
    Method,
    Metrics,
    Params,
    Rollout,
    TimeStep,
)


class PtdeState(NamedTuple):
    """MAPPO's state, and (`guess`) the predictor with its optimiser."""

    ppo: PpoState
    guess: Learner


def make_networks(env: Environment, config: PtdeMappoConfig) -> tuple[PpoNetworks, StatePredictor]:
    """Make actor, critic and predictor; raises BadInput for actors of several networks."""
    spec, own_view = env.spec, view("local", env.spec)
    width = single_width(build_team(spec, config, own_view).groups, config.size)
    actor, _, state_predictor = make_teacher_and_predictor(spec, config, width, own_view, gain=0.01)
    critic = critic_of(view("state", spec), config.critic_width, config.normalise)
    return PpoNetworks(config, actor, critic), state_predictor


def update_predictor(
    config: PtdeMappoConfig,
    state_predictor: StatePredictor,
    state: PtdeState,
    rollout: Rollout,
    key: PRNGKeyArray,
    lr: Array,
) -> tuple[PtdeState, Metrics]:
    """Update the predictor on one rollout of the students, for several epochs of shuffled minibatches."""
    tx, teacher = clipped_adam(config.grad_clip), state.ppo.actor.params
    data = sequences((transitions(rollout).now, rollout.out, rollout.valid), config.chunk)

    def step(predictor: Learner, minibatch: tuple[TimeStep, Carry, Array]) -> tuple[Learner, Metrics]:
        steps, carry, valid = minibatch
        first = jax.tree.map(lambda x: x[0], carry)
        return descend(tx, predictor, lambda p: prediction_loss(state_predictor, p, teacher, first, steps, valid), lr)

    predictor, metrics = epochs(step, state.guess, data, key, config.epochs, config.minibatches)
    return state._replace(guess=predictor), metrics


def with_params(state: PtdeState, given: Mapping[str, Params]) -> PtdeState:
    """The same with given parameters of roles and critic. The students' second part is a part of the teacher."""
    of_ppo = {name: params for name, params in given.items() if name != "student"}
    predictor = state.guess.params
    if "student" in given:
        teacher = of_ppo.get("teacher", state.ppo.actor.params)
        of_ppo["teacher"], predictor = split_student(given["student"], teacher)
    return PtdeState(state.ppo.with_params("teacher", of_ppo), state.guess._replace(params=predictor))


def ptde_mappo(env: Environment, config: PtdeMappoConfig, teacher: Frozen | None = None) -> Method:
    """MAPPO on a personalised state, then learning to predict it.

    Raises:
        BadInput: actors of several networks.
    """
    networks, state_predictor = make_networks(env, config)

    def init(key: PRNGKeyArray) -> PtdeState:
        key_ppo, key_predictor = jax.random.split(key)
        predictor = init_learner(clipped_adam(config.grad_clip), state_predictor.predictor.init(key_predictor))
        return PtdeState(init_state(networks, key_ppo), predictor)

    def update(state: PtdeState, rollout: Rollout, key: PRNGKeyArray, progress: Array) -> tuple[PtdeState, Metrics]:
        ppo, metrics = update_networks(networks, state.ppo, rollout, key, progress)
        return state._replace(ppo=ppo), metrics

    def predict(state: PtdeState, rollout: Rollout, key: PRNGKeyArray, progress: Array) -> tuple[PtdeState, Metrics]:
        return update_predictor(config, state_predictor, state, rollout, key, annealed(config, progress))

    params = lambda state: {
        "student": student_params(state.guess.params, state.ppo.actor.params),
        **state.ppo.params("teacher"),
    }

    train = on_policy_stage(
        config, config.steps, networks.actor, lambda state: params(state)["teacher"], update, actor="teacher"
    )
    predictor_memory = lambda timestep, carry, out: tuple(both[0] for both in carry)
    second = on_policy_stage(
        config,
        config.predict,
        state_predictor.student,
        lambda state: params(state)["student"],
        predict,
        name="predict",
        actor="student",
        record=predictor_memory,
    )
    return Method(
        init=init,
        stages=(train._replace(evaluated=False), second._replace(fixed=("ppo",))),
        roles={"student": state_predictor.student, "teacher": networks.actor},
        params=params,
        also_tested=("teacher",),
        critic=networks.critic,
        with_params=with_params,
    )

"""PTDE, the form on MAPPO: actors learn with personalised state, then predict it and act without.

Stage `train`: MAPPO; each actor reads what it sees and the state personalised for it. Stage `predict`: the team with
the prediction in the state's place plays, and the predictor learns the personalised state along what that team meets.
Reference: Chen et al. 2022 (PTDE), as reported second-hand; see docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ddn import PtdeMappoConfig
from tutelage.data.collect import epochs, sequences
from tutelage.errors import BadInput
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.methods.ppo import PpoNetworks, PpoState, central_view, init_state, update_networks
from tutelage.methods.ptde import Guessing, central, only_width, prediction_loss, student_params
from tutelage.policies.acting import sample
from tutelage.policies.build import build_team
from tutelage.policies.critic import critic_policy
from tutelage.policies.views import view
from tutelage.types import (
    Behaviour,
    Carry,
    Environment,
    Frozen,
    Method,
    Metrics,
    Policy,
    Rollout,
    Stage,
    TimeStep,
)


class PtdeState(NamedTuple):
    """MAPPO's state, and the predictor with its optimiser."""

    ppo: PpoState
    guess: Learner


def build(env: Environment, config: PtdeMappoConfig) -> tuple[PpoNetworks, Guessing]:
    """Actor and critic, and what predicts; raises BadInput for actors of several networks."""
    spec, seen = env.spec, view("local")
    if config.actor_view != "local":
        raise BadInput(f"actor_view = {config.actor_view!r}: ptde_mappo's students read 'local'")
    width = only_width(build_team(spec, config, seen).groups, config.sight, config.size)
    actor, _, guessing = central(spec, config, width, seen, gain=0.01)
    critic = critic_policy(spec, central_view(config), config.critic_width)
    return PpoNetworks(config, actor, critic), guessing


def predict(
    config: PtdeMappoConfig, guessing: Guessing, state: PtdeState, rollout: Rollout, key: PRNGKeyArray, lr: Array
) -> tuple[PtdeState, Metrics]:
    """A few shuffled passes of the predictor over one rollout of the students."""
    tx, fuse = clipped_adam(config.grad_clip), state.ppo.actor.params["fuse"]
    inputs = jax.tree.map(lambda x: x[:-1], rollout.steps)
    data = sequences((inputs, rollout.out, rollout.valid), config.chunk)

    def minibatch(guess: Learner, part: tuple[TimeStep, Carry, Array]) -> tuple[Learner, Metrics]:
        steps, carry, valid = part
        first = jax.tree.map(lambda x: x[0], carry)
        return descend(tx, guess, lambda p: prediction_loss(guessing, p, fuse, first, steps, valid), lr)

    guess, told = epochs(minibatch, state.guess, data, key, config.epochs, config.minibatches)
    return state._replace(guess=guess), told


def ptde_mappo(env: Environment, config: PtdeMappoConfig, teacher: Frozen | None = None) -> Method:
    """MAPPO on personalised state, then prediction of it.

    Raises:
        BadInput: a teacher was named, or actors of several networks or of restricted sight.
    """
    if teacher is not None:
        raise BadInput("teacher: ptde_mappo trains its own; distil a finished one with kd_marl, kl or bc")
    parts, guessing = build(env, config)

    def init(key: PRNGKeyArray) -> PtdeState:
        key_ppo, key_guess = jax.random.split(key)
        guess = init_learner(clipped_adam(config.grad_clip), guessing.predictor.init(key_guess))
        return PtdeState(init_state(parts, key_ppo), guess)

    def update(
        state: PtdeState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[PtdeState, Metrics]:
        ppo, told = update_networks(parts, state.ppo, played["teacher"], key, progress)
        return state._replace(ppo=ppo), told

    def then(
        state: PtdeState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[PtdeState, Metrics]:
        return predict(config, guessing, state, played["student"], key, annealed(config, progress))

    params = lambda state: {
        "student": student_params(state.guess.params, state.ppo.actor.params),
        "teacher": state.ppo.actor.params,
        "critic": {"net": state.ppo.critic.params, "returns": state.ppo.returns},
    }

    def plays(policy: Policy, role: str, mine: bool) -> Behaviour:
        def kept(timestep: object, carry: Carry, out: object) -> Carry:
            return tuple(both[0] for both in carry) if mine else carry  # the predictor's memory, or the actor's

        return Behaviour(
            policy,
            plays=lambda state, progress: (params(state)[role], sample),
            envs=config.envs,
            steps=config.rollout,
            record=kept,
        )

    first = {"teacher": plays(parts.actor, "teacher", mine=False)}
    second = {"student": plays(guessing.student, "student", mine=True)}
    return Method(
        init=init,
        stages=(
            Stage("train", first, update, config.steps, evaluated=False),
            Stage("predict", second, then, config.predict, fixed=("ppo",)),
        ),
        roles={"student": guessing.student, "teacher": parts.actor, "critic": parts.critic},
        params=params,
        also_tested=("teacher",),
    )

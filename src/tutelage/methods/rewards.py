"""Rewards that a method learns from beside the environment's: curiosity, and progress towards goals.

Each wraps any method: the rewards of its rollouts are changed before its update sees them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.rewards import CuriositySettings, ShapingSettings
from tutelage.data.transitions import transitions
from tutelage.learning.normaliser import init_normaliser
from tutelage.learning.optim import annealed, clipped_adam, init_learner
from tutelage.learning.shaping import goal_progress, most_promising
from tutelage.methods.curiosity import USUAL_SHARE, Predictor, novelty, share_of_reward
from tutelage.networks.curiosity import curiosity_net
from tutelage.policies.normalising import normalised_net, state_rows
from tutelage.policies.views import goal_shapes
from tutelage.types import Environment, Method, Metrics, Params, Rollout, Stage, TrainState


def with_rewards(method: Method, env: Environment, config: Any) -> Method:
    """The method with the rewards that its config asks for; raises BadInput where the environment has no goals."""
    if isinstance(config, ShapingSettings) and config.shaping:
        method = shaped(method, env, config)
    if isinstance(config, CuriositySettings) and config.curiosity:
        method = curious(method, env, config)
    return method


def paid(rollout: Rollout, reward: Array) -> Rollout:
    """The rollout with a reward (T, B) for its transitions added to the environment's."""
    steps = rollout.steps
    return rollout._replace(steps=steps._replace(reward=steps.reward.at[1:].add(reward)))


def without_critic(method: Method) -> Method:
    """The method without its critic: one that values other rewards is of no use to a student."""
    params = lambda state: {name: value for name, value in method.params(state).items() if name != "critic"}
    return method._replace(critic=None, params=params)


def shaped(method: Method, env: Environment, config: Any) -> Method:
    """The method, paid as well for the mean agent's progress towards its most promising goal."""
    goal_shapes(env)

    def pay(rollout: Rollout) -> Rollout:
        goals, now = rollout.steps.goals, transitions(rollout).now
        progress = goal_progress(goals, most_promising(now.goals), now.first, config.gamma).mean(-1)
        return paid(rollout, jnp.where(rollout.valid, config.shaping * progress, 0.0))

    def shape(stage: Stage) -> Stage:
        def update(
            state: TrainState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any
        ) -> tuple[TrainState, Metrics]:
            richer = {name: pay(rollout) for name, rollout in rollouts.items()}
            for name, behaviour in stage.behaviours.items():
                if not (behaviour.goals or behaviour.policy.goals):
                    richer[name] = richer[name]._replace(steps=richer[name].steps._replace(goals=()))
            return stage.update(state, richer, key, progress)

        with_goals = {name: behaviour._replace(goals=True) for name, behaviour in stage.behaviours.items()}
        return stage._replace(behaviours=with_goals, update=update)

    return without_critic(method)._replace(stages=tuple(map(shape, method.stages)))


class CuriousState(NamedTuple):
    """The method's train state, what predicts novelty, and the frozen network whose output is predicted."""

    method: TrainState
    predictor: Predictor
    frozen: Params


def curious(method: Method, env: Environment, config: Any) -> Method:
    """The method, paid as well for states that are new. The predictor takes one gradient step per rollout."""
    width, normalise = env.spec.state_width, getattr(config, "normalise", False)
    net, tx = normalised_net(curiosity_net(width), (state_rows(width),), normalise), clipped_adam(config.grad_clip)

    def init(key: PRNGKeyArray) -> CuriousState:
        key_method, key_predictor, key_frozen = jax.random.split(key, 3)
        predictor = Predictor(init_learner(tx, net.init(key_predictor)), init_normaliser())
        return CuriousState(method.init(key_method), predictor, net.init(key_frozen))

    def enrich(stage: Stage) -> Stage:
        def update(
            state: CuriousState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any
        ) -> tuple[CuriousState, Metrics]:
            predictor, lr = state.predictor, annealed(config, progress)
            richer: dict[str, Rollout] = {}
            metrics: Metrics = {}
            for name, rollout in rollouts.items():
                following, valid = rollout.steps.state[1:], rollout.valid
                error, unit, predictor, metrics = novelty(net, tx, predictor, state.frozen, following, valid, valid, lr)
                bonus = jnp.where(valid, config.curiosity / env.spec.reward_scale * error / unit, 0.0)
                metrics["curiosity_share"] = share_of_reward(bonus, rollout.steps.reward[1:], valid)
                richer[name] = paid(rollout, jax.lax.stop_gradient(bonus))
            after, own_metrics = stage.update(state.method, richer, key, progress)
            return CuriousState(after, predictor, state.frozen), own_metrics | metrics

        plays = lambda behaviour: lambda state, progress: behaviour.plays(state.method, progress)
        behaviours = {name: one._replace(plays=plays(one)) for name, one in stage.behaviours.items()}
        usual = {**stage.usual, "curiosity_share": USUAL_SHARE}
        return stage._replace(behaviours=behaviours, update=update, usual=usual, fixed=())

    critic_less, inner = without_critic(method), method.with_params
    return critic_less._replace(
        init=init,
        stages=tuple(map(enrich, method.stages)),
        params=lambda state: critic_less.params(state.method),
        with_params=inner and (lambda state, given: state._replace(method=inner(state.method, given))),
        copy_targets=lambda state: state._replace(method=method.copy_targets(state.method)),
    )

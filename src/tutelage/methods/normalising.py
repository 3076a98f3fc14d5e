"""Normalised inputs: around any method, what keeps the statistics of all its networks.

They are counted after the update on a rollout, so that a team learns from what it played as it played it: the ratio of
PPO begins at 1. The first rollout must not be the first look: with nothing counted it would be played on raw numbers,
and the update after it would change what every network reads. So `init` lets random play be counted first, whose steps
are not a part of the budget. What random play never reaches is counted as it is met.

All networks of one input have the same statistics, target networks too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jaxtyping import PRNGKeyArray

from tutelage.data.collect import collect, init_collector
from tutelage.data.transitions import transitions
from tutelage.data.vector import make_vector_env
from tutelage.errors import BadInput
from tutelage.policies.acting import random_policy, sample
from tutelage.policies.normalising import observed
from tutelage.types import Environment, Method, Metrics, Rollout, Spec, Stage, TrainState

STEPS, ENVS = 64, 8
"""Length and number of environments of the random play that is counted first."""

Count = Callable[[TrainState, Rollout], TrainState]


def with_normalising(method: Method, env: Environment, config: Any, own: bool = False, taught: bool = False) -> Method:
    """The method, whose networks normalise their inputs where the setting `normalise` says so.

    Args:
        own: it is a user's: of its train state nothing is known but the parameters of its roles.
        taught: it has a frozen teacher, which stays as it is.

    Raises:
        BadInput: a user's method that has no `with_params`.
    """
    if not getattr(config, "normalise", False):
        return method
    if own and method.with_params is None:
        raise BadInput("normalise = True: this method has no with_params, by which statistics are put into its state")
    goals = any(b.goals or b.policy.goals for stage in method.stages for b in stage.behaviours.values())
    count = lambda fixed: of_roles(method, env.spec, taught) if own else of_state(env.spec, fixed)
    always_fixed = set.intersection(*(set(stage.fixed) for stage in method.stages))

    def init(key: PRNGKeyArray) -> TrainState:
        state = method.init(key)
        return count(always_fixed)(state, random_play(env, goals, jax.random.fold_in(key, 0x5EE)))

    def counting(stage: Stage) -> Stage:
        count_rollout = count(set(stage.fixed))

        def update(
            state: TrainState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any
        ) -> tuple[TrainState, Metrics]:
            after, metrics = stage.update(state, rollouts, key, progress)
            for rollout in rollouts.values():
                after = count_rollout(after, rollout)
            return after, metrics

        return stage._replace(update=update) if stage.behaviours else stage

    return method._replace(init=init, stages=tuple(map(counting, method.stages)))


def random_play(env: Environment, goals: bool, key: PRNGKeyArray) -> Rollout:
    """A short rollout of random available actions."""
    key_begin, key = jax.random.split(key)
    vector, policy = make_vector_env(env, ENVS, goals), random_policy()
    return collect(vector, policy, (), sample, init_collector(vector, policy, key_begin), key, STEPS)[1]


def of_state(spec: Spec, fixed: set[str]) -> Count:
    """A function that counts a rollout in all normalisers of a train state, but for its fields that are fixed."""

    def count(state: TrainState, rollout: Rollout) -> TrainState:
        data = transitions(rollout)
        learns = {name: getattr(state, name) for name in state._fields if name not in fixed}
        return state._replace(**observed(learns, data.now, data.valid, spec))

    return count


def of_roles(method: Method, spec: Spec, taught: bool) -> Count:
    """A function that counts a rollout in the normalisers of a user's method's roles, but for its frozen teacher's."""

    def count(state: TrainState, rollout: Rollout) -> TrainState:
        data, params = transitions(rollout), method.params(state)
        learns = {name: of for name, of in params.items() if not (taught and name in ("teacher", "critic"))}
        assert method.with_params is not None
        return method.with_params(state, observed(learns, data.now, data.valid, spec))

    return count

"""What on-policy methods share: a stage that plays with the current policy and learns from what it just played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from tutelage.configs.on_policy import OnPolicySettings
from tutelage.data.trees import Tree, choose
from tutelage.policies.acting import sample
from tutelage.types import Behaviour, Carry, Metrics, Out, Params, Policy, Rollout, Stage, TimeStep, TrainState


def entering_memory(timestep: TimeStep, carry: Carry, out: Out) -> Carry:
    """What is kept of every step: the memory entering it, so that sequences can begin anywhere."""
    return carry


def warmed_up(config: OnPolicySettings, progress: Any, before: Tree, after: Tree) -> Tree:
    """The actor after an update: as it was `before` while the critic warms up (setting `critic_warm_up`)."""
    if not config.critic_warm_up:
        return after
    return choose(jnp.asarray(progress) * config.steps < config.critic_warm_up, before, after)


def on_policy_stage(
    config: OnPolicySettings,
    steps: int,
    policy: Policy,
    params: Callable[[TrainState], Params],
    update: Callable[[TrainState, Rollout, PRNGKeyArray, Any], tuple[TrainState, Metrics]],
    *,
    name: str = "train",
    actor: str = "actor",
    record: Callable[[TimeStep, Carry, Out], Any] = entering_memory,
    goals: bool = False,
) -> Stage:
    """A stage of `steps` environment steps: rollouts of sampled actions, with one update each.

    Args:
        params: train state -> parameters that the policy plays with.
        update: (train state, rollout, key, progress) -> (train state, metrics).
        actor: name of who plays. record, goals: see `Behaviour`.
    """
    behaviour = Behaviour(
        policy,
        plays=lambda state, progress: (params(state), sample),
        envs=config.envs,
        steps=config.rollout,
        record=record,
        goals=goals,
    )

    def update_on_rollouts(
        state: TrainState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Any
    ) -> tuple[TrainState, Metrics]:
        return update(state, rollouts[actor], key, progress)

    return Stage(name, {actor: behaviour}, update_on_rollouts, steps)

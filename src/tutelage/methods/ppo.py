"""IPPO and MAPPO: PPO for cooperative teams. They differ in what the critic reads.

Collect with the current actors, estimate advantages, and improve actor and critic in a few clipped passes.
Reference: Schulman et al. 2017 (PPO), de Witt et al. 2020 (IPPO), Yu et al. 2022 (MAPPO).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ppo import PpoConfig
from tutelage.data.collect import epochs, sequences, unroll
from tutelage.errors import BadInput
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser, update_normaliser
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.learning.returns import expand_like, gae
from tutelage.learning.shaping import goal_progress, most_promising
from tutelage.policies.acting import sample
from tutelage.policies.build import build_team
from tutelage.policies.critic import critic_policy
from tutelage.policies.views import View, goal_shapes, state_and_goals, view
from tutelage.types import (
    Behaviour,
    Environment,
    Frozen,
    Method,
    Metrics,
    Params,
    Policy,
    Rollout,
    Stage,
    TimeStep,
)


class PpoState(NamedTuple):
    """Actor and critic with their optimisers, and the running scale of returns."""

    actor: Learner
    critic: Learner
    returns: Normaliser


class Batch(NamedTuple):
    """What a pass learns from, leaves (L, sequences, ...); `carry` is the actor's memory at each step."""

    inputs: TimeStep
    carry: Any
    action: Array
    log_prob: Array
    advantage: Array
    target: Array
    value: Array
    alive: Array
    valid: Array


def central_view(config: PpoConfig) -> View:
    """What MAPPO's critic reads: the world state, or for one value per agent its observation as well."""
    return view("state" if config.critic == "team" else "state per agent")


def mappo(env: Environment, config: PpoConfig, teacher: Frozen | None = None) -> Method:
    """Multi-agent PPO: a team value from the world state (and goals), or one per agent from state and observation."""
    return ppo(env, config, state_and_goals(env) if config.critic == "goals" else central_view(config), teacher)


def ippo(env: Environment, config: PpoConfig, teacher: Frozen | None = None) -> Method:
    """Independent PPO: one value per agent from its own observation."""
    if config.critic != "team":
        raise BadInput(f"critic = {config.critic!r}: an ippo critic reads what its agent observes; use mappo")
    return ppo(env, config, view("local"), teacher)


@dataclass(frozen=True)
class Parts:
    """Who learns, and how: settings, the team of actors, and the critic."""

    config: PpoConfig
    actor: Policy
    critic: Policy


def value_of(parts: Parts, net: Params, returns: Normaliser, steps: TimeStep) -> Array:
    """Values (T, B) or (T, B, N) in raw reward units."""
    value = unroll(parts.critic, {"net": net, "returns": returns}, (), steps, steps.first).value
    assert value is not None
    return value


def prepare(parts: Parts, state: PpoState, rollout: Rollout) -> tuple[Normaliser, Batch]:
    """Advantages and targets of a rollout, cut into sequences; and the returns' scale with this rollout taken in."""
    config, steps = parts.config, rollout.steps
    inputs = jax.tree.map(lambda x: x[:-1], steps)
    value = value_of(parts, state.critic.params, state.returns, steps)
    reward = steps.reward[1:]
    if config.shaping:
        nearer = goal_progress(steps.goals, most_promising(inputs.goals), inputs.first, config.gamma).mean(-1)
        reward = reward + config.shaping * nearer
    advantage = gae(reward, steps.discount[1:], value, rollout.valid, config.gamma, config.lam)
    target = advantage + value[:-1]
    alive = rollout.valid[..., None] & inputs.acts
    batch = Batch(
        inputs=inputs._replace(goals=inputs.goals if config.critic == "goals" else (), watch=()),
        carry=rollout.out,
        action=steps.action[1:],
        log_prob=rollout.log_prob,
        advantage=normalise(jnp.broadcast_to(expand_like(advantage, alive), alive.shape), alive),
        target=target,
        value=value[:-1],
        alive=alive,
        valid=jnp.broadcast_to(expand_like(rollout.valid, target), target.shape),
    )
    returns = update_normaliser(state.returns, target, batch.valid)
    return returns, sequences(batch, config.chunk)


def actor_loss(parts: Parts, params: Params, batch: Batch) -> tuple[Array, Metrics]:
    """Clipped surrogate less the entropy bonus, over living agents."""
    carry = jax.tree.map(lambda x: x[0], batch.carry)
    logits = unroll(parts.actor, params, carry, batch.inputs, batch.inputs.first).scores
    assert logits is not None
    log_prob = log_prob_of(logits, batch.action)
    policy = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, batch.alive, parts.config.clip)
    spread = entropy(logits, batch.alive)
    moved = masked_mean(batch.log_prob - log_prob, batch.alive)
    return policy - parts.config.entropy * spread, {"policy": policy, "entropy": spread, "approx_kl": moved}


def critic_loss(parts: Parts, params: Params, returns: Normaliser, batch: Batch) -> tuple[Array, Metrics]:
    """Squared (or Huber) error in units of the returns' deviation; dead agents count, the team goes on earning."""
    config, scale = parts.config, returns.deviation
    value = value_of(parts, params, returns, batch.inputs)

    def loss(value: Array) -> Array:
        error = (value - batch.target) / scale
        return optax.losses.huber_loss(error, delta=10.0) if config.value_loss == "huber" else 0.5 * error**2

    each = loss(value)
    if config.value_clip:
        limit = config.value_clip * scale
        each = jnp.maximum(each, loss(batch.value + jnp.clip(value - batch.value, -limit, limit)))
    value_loss = masked_mean(each, batch.valid)
    return value_loss, {"value": value_loss}


def improve(
    parts: Parts, state: PpoState, rollout: Rollout, key: PRNGKeyArray, progress: Array
) -> tuple[PpoState, Metrics]:
    """A few shuffled passes of actor and critic over one rollout."""
    config, tx = parts.config, clipped_adam(parts.config.grad_clip)
    returns, batch = prepare(parts, state, rollout)
    lr = annealed(config, progress)

    def minibatch(state: PpoState, part: Batch) -> tuple[PpoState, Metrics]:
        actor, told = descend(tx, state.actor, lambda p: actor_loss(parts, p, part), lr)
        critic, told_too = descend(tx, state.critic, lambda p: critic_loss(parts, p, returns, part), lr)
        return PpoState(actor, critic, returns), told | told_too

    return epochs(minibatch, state._replace(returns=returns), batch, key, config.epochs, config.minibatches)


def start(parts: Parts, key: PRNGKeyArray) -> PpoState:
    """New actor and critic."""
    tx, (key_actor, key_critic) = clipped_adam(parts.config.grad_clip), jax.random.split(key)
    critic = parts.critic.init(key_critic)
    return PpoState(init_learner(tx, parts.actor.init(key_actor)), init_learner(tx, critic["net"]), critic["returns"])


def ppo(env: Environment, config: PpoConfig, critic_view: View, teacher: Frozen | None) -> Method:
    """PPO with the given view for the critic. A critic that reads goals is no part of the run's policies."""
    if teacher is not None:
        raise BadInput("teacher: PPO learns by itself; distil with kd_marl, kl or bc")
    if config.shaping:
        goal_shapes(env)
    spec, by_goals = env.spec, config.critic == "goals"
    actor = build_team(spec, config, view(config.actor_view))
    parts = Parts(config, actor, critic_policy(spec, critic_view, config.critic_width))

    def update(
        state: PpoState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[PpoState, Metrics]:
        return improve(parts, state, rollouts["actor"], key, progress)

    behaviour = Behaviour(
        parts.actor,
        plays=lambda state, progress: (state.actor.params, sample),
        envs=config.envs,
        steps=config.rollout,
        record=lambda timestep, carry, out: carry,
        goals=by_goals or config.shaping > 0,
    )
    # A critic of other rewards than the environment's, or one that reads goals, has nothing to tell a student.
    told = not by_goals and not config.shaping
    role = "student" if view(config.actor_view).decentralised else "teacher"
    return Method(
        init=lambda key: start(parts, key),
        stages=(Stage("train", {"actor": behaviour}, update, config.steps),),
        roles={role: parts.actor} | ({"critic": parts.critic} if told else {}),
        params=lambda state: {
            role: state.actor.params,
            **({"critic": {"net": state.critic.params, "returns": state.returns}} if told else {}),
        },
    )

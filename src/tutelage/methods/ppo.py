"""IPPO and MAPPO: PPO for cooperative teams. They differ in what the critic reads.

Every update collects a rollout with the current actors, estimates advantages, and updates actor and critic for several
epochs with the clipped surrogate.
Reference: Schulman et al. 2017 (PPO), de Witt et al. 2020 (IPPO), Yu et al. 2022 (MAPPO).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ppo import MappoConfig, PpoConfig, PpoSettings
from tutelage.data.collect import unroll
from tutelage.data.minibatches import epochs, sequences
from tutelage.data.transitions import transitions
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser, update_normaliser
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.learning.returns import expand_like, gae
from tutelage.methods.on_policy import on_policy_stage, warmed_up
from tutelage.methods.terms import Term, TermInput, own_term, with_term
from tutelage.policies.build import build_team
from tutelage.policies.critic import critic_of, values_of
from tutelage.policies.views import View, state_and_goals, view
from tutelage.types import (
    Critic,
    Environment,
    Frozen,
    Method,
    Metrics,
    Params,
    Policy,
    Rollout,
    TimeStep,
)


class PpoState(NamedTuple):
    """Actor and critic with their optimisers, and the moments of returns."""

    actor: Learner
    critic: Learner
    returns: Normaliser

    def params(self, role: str) -> dict[str, Params]:
        """Parameters of the actor, under its role, and of the critic."""
        return {role: self.actor.params, "critic": {"net": self.critic.params, "returns": self.returns}}

    def with_params(self, role: str, given: Mapping[str, Params]) -> PpoState:
        """The same with the parameters that are given, by the same names."""
        new = {**self.params(role), **given}
        actor, critic = new[role], new["critic"]
        return PpoState(
            self.actor._replace(params=actor), self.critic._replace(params=critic["net"]), critic["returns"]
        )


class Batch(NamedTuple):
    """Experience of PPO's epochs, leaves (L, sequences, ...), L steps per sequence.

    Attributes:
        inputs: timesteps at which actions were chosen.
        carry: the actor's memory entering each step.
        action, log_prob: (L, C, N), as played.
        advantage: (L, C, N), normalised.
        target, value: (L, C) or (L, C, N), the critic's target and its value when played, in raw reward units.
        alive: (L, C, N) decisions that count for the actor. valid: like target, entries that count for the critic.
    """

    inputs: TimeStep
    carry: Any
    action: Array
    log_prob: Array
    advantage: Array
    target: Array
    value: Array
    alive: Array
    valid: Array


def mappo(env: Environment, config: MappoConfig, teacher: Frozen | None = None) -> Method:
    """Multi-agent PPO: a team value from the world state (and goals), or one per agent from state and observation."""
    if config.critic == "goals":
        return ppo(env, config, state_and_goals(env))
    return ppo(env, config, view("state" if config.critic == "team" else "state per agent", env.spec))


def ippo(env: Environment, config: PpoConfig, teacher: Frozen | None = None) -> Method:
    """Independent PPO: one value per agent from its own observation."""
    return ppo(env, config, view("local", env.spec))


@dataclass(frozen=True)
class PpoNetworks:
    """PPO's settings, the team of actors, the critic, and a user's own term of the actor's loss."""

    config: PpoSettings
    actor: Policy
    critic: Critic
    term: Term | None = None


def critic_values(networks: PpoNetworks, net: Params, returns: Normaliser, steps: TimeStep) -> Array:
    """The critic's values of timesteps, (T, B) or (T, B, N), in raw reward units. `net`: the critic's parameters."""
    return values_of(networks.critic, {"net": net, "returns": returns}, steps)


def make_batch(networks: PpoNetworks, state: PpoState, rollout: Rollout) -> tuple[Normaliser, Batch]:
    """Advantages and targets of a rollout, cut into sequences; and the moments of returns, this rollout included."""
    config, steps = networks.config, rollout.steps
    now, action, reward, discount, valid, alive = transitions(rollout)
    value = critic_values(networks, state.critic.params, state.returns, steps)
    advantage = gae(reward, discount, value, valid, config.gamma, config.lam)
    target = advantage + value[:-1]
    batch = Batch(
        inputs=now._replace(goals=now.goals if networks.critic.goals else (), watch=()),
        carry=rollout.out,
        action=action,
        log_prob=rollout.log_prob,
        advantage=normalise(jnp.broadcast_to(expand_like(advantage, alive), alive.shape), alive),
        target=target,
        value=value[:-1],
        alive=alive,
        valid=jnp.broadcast_to(expand_like(valid, target), target.shape),
    )
    returns = update_normaliser(state.returns, target, batch.valid)
    return returns, sequences(batch, config.chunk)


def actor_loss(networks: PpoNetworks, params: Params, batch: Batch) -> tuple[Array, Metrics]:
    """The actor's loss: clipped surrogate less the entropy bonus, over living agents."""
    carry = jax.tree.map(lambda x: x[0], batch.carry)
    out = unroll(networks.actor, params, carry, batch.inputs, batch.inputs.first)
    logits = out.scores
    assert logits is not None
    log_prob = log_prob_of(logits, batch.action)
    surrogate = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, batch.alive, networks.config.clip)
    policy_entropy = entropy(logits, batch.alive)
    approx_kl = masked_mean(batch.log_prob - log_prob, batch.alive)
    loss = surrogate - networks.config.entropy * policy_entropy
    metrics = {"policy": surrogate, "entropy": policy_entropy, "approx_kl": approx_kl}
    own = lambda: TermInput(batch.inputs, batch.action, batch.alive, out)
    return with_term(networks.term, loss, metrics, own)


def critic_loss(networks: PpoNetworks, params: Params, returns: Normaliser, batch: Batch) -> tuple[Array, Metrics]:
    """The critic's loss: squared or Huber error in units of the returns' standard deviation.

    Dead agents count as well: the team is still rewarded.
    """
    config, scale = networks.config, returns.deviation
    value = critic_values(networks, params, returns, batch.inputs)

    def loss(value: Array) -> Array:
        error = (value - batch.target) / scale
        return optax.losses.huber_loss(error, delta=10.0) if config.value_loss == "huber" else 0.5 * error**2

    errors = loss(value)
    if config.value_clip:
        limit = config.value_clip * scale
        errors = jnp.maximum(errors, loss(batch.value + jnp.clip(value - batch.value, -limit, limit)))
    value_loss = masked_mean(errors, batch.valid)
    return value_loss, {"value": value_loss}


def update_networks(
    networks: PpoNetworks, state: PpoState, rollout: Rollout, key: PRNGKeyArray, progress: Array
) -> tuple[PpoState, Metrics]:
    """Update actor and critic on one rollout, for several epochs of shuffled minibatches."""
    config, tx = networks.config, clipped_adam(networks.config.grad_clip)
    returns, batch = make_batch(networks, state, rollout)
    lr = annealed(config, progress)

    def step(state: PpoState, minibatch: Batch) -> tuple[PpoState, Metrics]:
        actor, actor_metrics = descend(tx, state.actor, lambda p: actor_loss(networks, p, minibatch), lr)
        critic, critic_metrics = descend(tx, state.critic, lambda p: critic_loss(networks, p, returns, minibatch), lr)
        actor = warmed_up(config, progress, state.actor, actor)
        return PpoState(actor, critic, returns), actor_metrics | critic_metrics

    return epochs(step, state._replace(returns=returns), batch, key, config.epochs, config.minibatches)


def init_state(networks: PpoNetworks, key: PRNGKeyArray) -> PpoState:
    """Initial train state."""
    tx, (key_actor, key_critic) = clipped_adam(networks.config.grad_clip), jax.random.split(key)
    critic = networks.critic.init(key_critic)
    return PpoState(
        init_learner(tx, networks.actor.init(key_actor)), init_learner(tx, critic["net"]), critic["returns"]
    )


def ppo(env: Environment, config: PpoConfig, critic_view: View) -> Method:
    """PPO with a critic of the given view. The critic is saved with the run where it reads no goals."""
    spec = env.spec
    seen = view(config.actor_view, spec)
    critic = critic_of(critic_view, config.critic_width, config.normalise)
    networks = PpoNetworks(config, build_team(spec, config, seen), critic, own_term(config))

    stage = on_policy_stage(
        config,
        config.steps,
        networks.actor,
        lambda state: state.actor.params,
        partial(update_networks, networks),
        goals=networks.critic.goals,
    )
    has_critic = not networks.critic.goals  # else it is of no use to a student
    role = "student" if seen.decentralised else "teacher"
    return Method(
        init=lambda key: init_state(networks, key),
        stages=(stage,),
        roles={role: networks.actor},
        params=lambda state: state.params(role) if has_critic else {role: state.actor.params},
        critic=networks.critic if has_critic else None,
        with_params=lambda state, given: state.with_params(role, given),
    )

"""HAPPO: PPO that updates one agent after another, each with a network of its own.

With the joint advantage A, and M the product of the probability ratios of the agents updated before, agent i's loss is
- mean M min(rho_i A, clip(rho_i) A). So the sum of the agents' improvements bounds that of the team.
Reference: Kuba et al. 2022 (trust region policy optimisation in multi-agent reinforcement learning).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.ppo import HappoConfig
from tutelage.data.collect import unroll
from tutelage.data.minibatches import epochs
from tutelage.errors import BadInput
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of
from tutelage.learning.normaliser import Normaliser
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.methods.on_policy import on_policy_stage, warmed_up
from tutelage.methods.ppo import Batch, PpoNetworks, PpoState, critic_loss, make_batch
from tutelage.policies.agent import Group, make_team
from tutelage.policies.build import build_team
from tutelage.policies.critic import critic_of
from tutelage.policies.normalising import Rows, labelled
from tutelage.policies.views import view
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Policy, Rollout, TimeStep


class HappoState(NamedTuple):
    """Actors with their optimisers, leaves (N, ...); the critic with its own; moments of returns."""

    actors: Learner
    critic: Learner
    returns: Normaliser


class HappoNetworks(NamedTuple):
    """PPO's networks (the actor is the whole team), and `alone`, a team of one agent, for any agent's parameters."""

    ppo: PpoNetworks
    alone: Policy


def make_networks(env: Environment, config: HappoConfig) -> HappoNetworks:
    """Make the team and its critic; raises BadInput where agents would differ in width."""
    spec = env.spec
    seen = view("local-no-id", spec)
    actor = build_team(spec, config, seen)
    if len({group.agent.width for group in actor.groups}) > 1:
        raise BadInput(f"size = {config.size!r}: happo needs agents of one width")
    agent = actor.groups[0].agent
    critic = critic_of(view("state", spec), config.critic_width, config.normalise)
    return HappoNetworks(PpoNetworks(config, actor, critic), make_team((Group((0,), agent, seen),)))


def take_agent(tree: Any, i: Any) -> Any:
    """Entry i of every leaf: one agent's part of stacked parameters or optimiser states."""
    return jax.tree.map(lambda x: x[i], tree)


def stack_agents(each: Sequence[Any]) -> Any:
    """Stack every agent's parameters, or what is made of them: leaves (N, ...)."""
    return jax.tree.map(lambda *x: jnp.stack(x), *each)


def alike(networks: HappoNetworks, each: Params) -> list[Params]:
    """Every agent's parameters, with normalisers of one name: stacked they are (N, D), of each agent apart."""
    return [labelled(params, Rows(networks.alone.groups[0].view)) for params in each]


def unstack_agents(networks: HappoNetworks, params: Params) -> Params:
    """The inverse of `stack_agents`: a tuple of every agent's parameters."""
    return tuple(take_agent(params, i) for i in range(len(networks.ppo.actor.groups)))


def agent_batch(batch: Batch, i: Int[Array, ""]) -> Batch:
    """The batch of agent i, with an axis of one agent."""
    of_one = lambda x, axis: jax.lax.dynamic_slice_in_dim(x, i, 1, axis)
    steps: TimeStep = batch.inputs
    own_steps = steps._replace(
        obs=of_one(steps.obs, 2),
        avail=of_one(steps.avail, 2),
        alive=of_one(steps.alive, 2),
        action=of_one(steps.action, 2),
    )
    carry = (jax.tree.map(lambda *x: jnp.stack(x)[i], *batch.carry),) if batch.carry else ()
    return batch._replace(
        inputs=own_steps,
        carry=carry,
        action=of_one(batch.action, 2),
        log_prob=of_one(batch.log_prob, 2),
        advantage=of_one(batch.advantage, 2),
        alive=of_one(batch.alive, 2),
    )


def logits_of(networks: HappoNetworks, params: Params, batch: Batch) -> Float[Array, "L C 1 A"]:
    """Logits of one agent over its batch."""
    carry = take_agent(batch.carry, 0)
    scores = unroll(networks.alone, (params,), carry, batch.inputs, batch.inputs.first).scores
    assert scores is not None
    return scores


def agent_loss(
    networks: HappoNetworks, params: Params, batch: Batch, factor: Float[Array, "L C"]
) -> tuple[Array, Metrics]:
    """One agent's loss: clipped surrogate weighted by the ratios of the agents before it, less the entropy bonus."""
    config = networks.ppo.config
    logits = logits_of(networks, params, batch)
    log_prob, weight = log_prob_of(logits, batch.action), factor[..., None]
    surrogate = clipped_surrogate(log_prob, batch.log_prob, batch.advantage, batch.alive, config.clip, weight)
    policy_entropy = entropy(logits, batch.alive)
    return surrogate - config.entropy * policy_entropy, {"policy": surrogate, "entropy": policy_entropy}


def update_actors(
    networks: HappoNetworks, actors: Learner, batch: Batch, key: PRNGKeyArray, lr: Any
) -> tuple[Learner, Float[Array, "L C"], Metrics]:
    """Update all agents in random order.

    Returns:
        The actors, the product of all agents' ratios at each step, and metrics.
    """
    config = networks.ppo.config
    tx, n = clipped_adam(config.grad_clip), len(networks.ppo.actor.groups)
    key_order, key = jax.random.split(key)

    def update_agent(
        carry: tuple[Learner, Array], x: tuple[Array, PRNGKeyArray]
    ) -> tuple[tuple[Learner, Array], Metrics]:
        (actors, factor), (i, key) = carry, x
        own = agent_batch(batch, i)

        def step(state: Learner, minibatch: tuple[Batch, Array]) -> tuple[Learner, Metrics]:
            return descend(tx, state, lambda p: agent_loss(networks, p, *minibatch), lr)

        after, metrics = epochs(step, take_agent(actors, i), (own, factor), key, config.epochs, config.minibatches)
        state = log_prob_of(logits_of(networks, after.params, own), own.action)
        ratio = jnp.exp(jnp.where(own.alive, state - own.log_prob, 0.0))[..., 0]
        actors = jax.tree.map(lambda x, y: x.at[i].set(y), actors, after)
        return (actors, factor * ratio), metrics

    order = jax.random.permutation(key_order, n)
    initial = actors, jnp.ones(batch.log_prob.shape[:2])
    (actors, factor), metrics = jax.lax.scan(update_agent, initial, (order, jax.random.split(key, n)))
    return actors, factor, jax.tree.map(jnp.mean, metrics)


def update_networks(
    networks: HappoNetworks, state: HappoState, rollout: Rollout, key: PRNGKeyArray, progress: Array
) -> tuple[HappoState, Metrics]:
    """One update: advantages are estimated once, then every agent is updated in turn, then the critic."""
    ppo, config = networks.ppo, networks.ppo.config
    tx, lr = clipped_adam(config.grad_clip), annealed(config, progress)
    returns, batch = make_batch(ppo, PpoState(state.actors, state.critic, state.returns), rollout)
    keys = jax.random.split(key)
    actors, factor, actor_metrics = update_actors(networks, state.actors, batch, keys[0], lr)

    def step(critic: Learner, minibatch: Batch) -> tuple[Learner, Metrics]:
        return descend(tx, critic, lambda p: critic_loss(ppo, p, returns, minibatch), lr)

    critic, critic_metrics = epochs(step, state.critic, batch, keys[1], config.epochs, config.minibatches)
    actor_metrics |= critic_metrics | {"factor": factor.mean()}
    return HappoState(warmed_up(config, progress, state.actors, actors), critic, returns), actor_metrics


def happo(env: Environment, config: HappoConfig, teacher: Frozen | None = None) -> Method:
    """PPO that updates one agent after another, with a team value from the world state.

    Raises:
        BadInput: agents that differ in width.
    """
    networks = make_networks(env, config)
    ppo = networks.ppo

    def init(key: PRNGKeyArray) -> HappoState:
        key_actor, key_critic = jax.random.split(key)
        tx, critic = clipped_adam(config.grad_clip), ppo.critic.init(key_critic)
        actors = stack_agents([init_learner(tx, params) for params in alike(networks, ppo.actor.init(key_actor))])
        return HappoState(actors, init_learner(tx, critic["net"]), critic["returns"])

    params = lambda state: {
        "student": unstack_agents(networks, state.actors.params),
        "critic": {"net": state.critic.params, "returns": state.returns},
    }

    def with_params(state: HappoState, given: Mapping[str, Params]) -> HappoState:
        new = {**params(state), **given}
        actors, critic = stack_agents(alike(networks, new["student"])), new["critic"]
        return HappoState(
            state.actors._replace(params=actors), state.critic._replace(params=critic["net"]), critic["returns"]
        )

    stage = on_policy_stage(
        config,
        config.steps,
        ppo.actor,
        lambda state: unstack_agents(networks, state.actors.params),
        partial(update_networks, networks),
    )
    return Method(
        init=init,
        stages=(stage,),
        roles={"student": ppo.actor},
        params=params,
        critic=ppo.critic,
        with_params=with_params,
    )

"""HAPPO: agents with networks of their own are improved one after another, each knowing how far the others went.

With the joint advantage A and M the product of the ratios of the agents that were already improved, agent i's loss is
- mean M min(rho_i A, clip(rho_i) A). So the sum of the improvements bounds the improvement of the team.
Reference: Kuba et al. 2022 (trust region policy optimisation in multi-agent reinforcement learning).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.ppo import HappoConfig
from tutelage.data.collect import epochs, unroll
from tutelage.errors import BadInput
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of
from tutelage.learning.normaliser import Normaliser
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.methods.ppo import Batch, Parts, PpoState, central_view, critic_loss, prepare
from tutelage.policies.acting import sample
from tutelage.policies.agent import Group, make_team
from tutelage.policies.build import build_team
from tutelage.policies.critic import critic_policy
from tutelage.policies.views import view
from tutelage.types import Behaviour, Environment, Frozen, Method, Metrics, Params, Policy, Rollout, Stage, TimeStep


class HappoState(NamedTuple):
    """Actors with their optimisers, leaves (N, ...); the critic, and the running scale of returns."""

    actors: Learner
    critic: Learner
    returns: Normaliser


class Cast(NamedTuple):
    """PPO's parts (the actor is the whole team), and a team of one, which any agent's parameters fit."""

    parts: Parts
    alone: Policy


def build(env: Environment, config: HappoConfig) -> Cast:
    """The team; raises BadInput where agents would differ in width or sight."""
    spec = env.spec
    if config.share != "agent":
        raise BadInput(f"share = {config.share!r}: happo's agents have networks of their own, 'agent'")
    whole = build_team(spec, config, view("local-no-id"))
    if len({group.agent.width for group in whole.groups}) > 1 or config.sight != "full":
        told = f"size = {config.size!r}, sight = {config.sight!r}"
        raise BadInput(f"{told}: happo needs agents of one width and full sight")
    agent = whole.groups[0].agent
    critic = critic_policy(spec, central_view(config), config.critic_width)
    return Cast(Parts(config, whole, critic), make_team((Group((0,), agent, view("local-no-id")),)))


def one_of(tree: Any, i: Any) -> Any:
    """Entry i of every leaf."""
    return jax.tree.map(lambda x: x[i], tree)


def stacked(each: Params) -> Params:
    """A tuple of every agent's parameters -> leaves (N, ...)."""
    return jax.tree.map(lambda *x: jnp.stack(x), *each)


def apart(cast: Cast, params: Params) -> Params:
    """The reverse."""
    return tuple(one_of(params, i) for i in range(len(cast.parts.actor.groups)))


def of_agent(batch: Batch, i: Int[Array, ""]) -> Batch:
    """What one agent sees and does, with an axis of one agent."""
    one = lambda x, axis: jax.lax.dynamic_slice_in_dim(x, i, 1, axis)
    steps: TimeStep = batch.inputs
    seen = steps._replace(
        obs=one(steps.obs, 2), avail=one(steps.avail, 2), alive=one(steps.alive, 2), action=one(steps.action, 2)
    )
    carry = (jax.tree.map(lambda *x: jnp.stack(x)[i], *batch.carry),) if batch.carry else ()
    return batch._replace(
        inputs=seen,
        carry=carry,
        action=one(batch.action, 2),
        log_prob=one(batch.log_prob, 2),
        advantage=one(batch.advantage, 2),
        alive=one(batch.alive, 2),
    )


def logits_of(cast: Cast, params: Params, mine: Batch) -> Float[Array, "L C 1 A"]:
    carry = one_of(mine.carry, 0)
    scores = unroll(cast.alone, (params,), carry, mine.inputs, mine.inputs.first).scores
    assert scores is not None
    return scores


def agent_loss(cast: Cast, params: Params, mine: Batch, factor: Float[Array, "L C"]) -> tuple[Array, Metrics]:
    """One agent's clipped surrogate, weighed by how far the agents before it went, less the entropy bonus."""
    config = cast.parts.config
    logits = logits_of(cast, params, mine)
    log_prob, weight = log_prob_of(logits, mine.action), factor[..., None]
    policy = clipped_surrogate(log_prob, mine.log_prob, mine.advantage, mine.alive, config.clip, weight)
    spread = entropy(logits, mine.alive)
    return policy - config.entropy * spread, {"policy": policy, "entropy": spread}


def improve_agents(
    cast: Cast, actors: Learner, batch: Batch, key: PRNGKeyArray, lr: Any
) -> tuple[Learner, Float[Array, "L C"], Metrics]:
    """All agents in random order. Also returns the product of all ratios."""
    config = cast.parts.config
    tx, n = clipped_adam(config.grad_clip), len(cast.parts.actor.groups)
    key_order, key = jax.random.split(key)

    def one(carry: tuple[Learner, Array], x: tuple[Array, PRNGKeyArray]) -> tuple[tuple[Learner, Array], Metrics]:
        (actors, factor), (i, key) = carry, x
        mine = of_agent(batch, i)

        def minibatch(now: Learner, part: tuple[Batch, Array]) -> tuple[Learner, Metrics]:
            return descend(tx, now, lambda p: agent_loss(cast, p, *part), lr)

        after, told = epochs(minibatch, one_of(actors, i), (mine, factor), key, config.epochs, config.minibatches)
        now = log_prob_of(logits_of(cast, after.params, mine), mine.action)
        went = jnp.exp(jnp.where(mine.alive, now - mine.log_prob, 0.0))[..., 0]
        actors = jax.tree.map(lambda x, y: x.at[i].set(y), actors, after)
        return (actors, factor * went), told

    order = jax.random.permutation(key_order, n)
    start = actors, jnp.ones(batch.log_prob.shape[:2])
    (actors, factor), told = jax.lax.scan(one, start, (order, jax.random.split(key, n)))
    return actors, factor, jax.tree.map(jnp.mean, told)


def update(
    cast: Cast, state: HappoState, rollout: Rollout, key: PRNGKeyArray, progress: Array
) -> tuple[HappoState, Metrics]:
    """Advantages once, every agent in turn, the critic last."""
    parts, config = cast.parts, cast.parts.config
    tx, lr = clipped_adam(config.grad_clip), annealed(config, progress)
    returns, batch = prepare(parts, PpoState(state.actors, state.critic, state.returns), rollout)
    keys = jax.random.split(key)
    actors, factor, told = improve_agents(cast, state.actors, batch, keys[0], lr)

    def minibatch(critic: Learner, part: Batch) -> tuple[Learner, Metrics]:
        return descend(tx, critic, lambda p: critic_loss(parts, p, returns, part), lr)

    critic, more = epochs(minibatch, state.critic, batch, keys[1], config.epochs, config.minibatches)
    told |= more | {"factor": factor.mean()}
    return HappoState(actors, critic, returns), told


def happo(env: Environment, config: HappoConfig, teacher: Frozen | None = None) -> Method:
    """PPO of one agent after another, on a team value from the world state.

    Raises:
        BadInput: a teacher was named, shared weights, or agents that differ in width or sight.
    """
    if teacher is not None:
        raise BadInput("teacher: happo learns by itself; distil with kd_marl, kl or bc")
    cast = build(env, config)
    parts = cast.parts

    def init(key: PRNGKeyArray) -> HappoState:
        key_actor, key_critic = jax.random.split(key)
        tx, critic = clipped_adam(config.grad_clip), parts.critic.init(key_critic)
        actors = stacked([init_learner(tx, params) for params in parts.actor.init(key_actor)])
        return HappoState(actors, init_learner(tx, critic["net"]), critic["returns"])

    behaviour = Behaviour(
        parts.actor,
        plays=lambda state, progress: (apart(cast, state.actors.params), sample),
        envs=config.envs,
        steps=config.rollout,
        record=lambda timestep, carry, out: carry,
    )

    def step(
        state: HappoState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[HappoState, Metrics]:
        return update(cast, state, played["actor"], key, progress)

    return Method(
        init=init,
        stages=(Stage("train", {"actor": behaviour}, step, config.steps),),
        roles={"student": parts.actor, "critic": parts.critic},
        params=lambda state: {
            "student": apart(cast, state.actors.params),
            "critic": {"net": state.critic.params, "returns": state.returns},
        },
    )

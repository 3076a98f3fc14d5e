"""MADDPG: every agent has a critic that knows the state and what all do, and follows its gradient.

Actions are discrete: an actor's own action enters its critic as a straight-through Gumbel-softmax sample, the others'
as they were played. Critics fit one-step targets at the actions that target actors draw.
Reference: Lowe et al. 2017 (MADDPG); Jang et al. 2017 (Gumbel-softmax).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from tutelage.configs.maddpg import MaddpgConfig
from tutelage.data.replay import Replay, codec
from tutelage.data.vector import make_vector_env
from tutelage.errors import BadInput
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.methods.off_policy import Sequences, Storage, follow, learn_on, once_warm, reader, remembered, room
from tutelage.networks.cores import Net
from tutelage.networks.critics import joint_action_critic_net
from tutelage.policies.acting import sample
from tutelage.policies.build import build_team
from tutelage.policies.views import view
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Policy, Rollout, Stage


class Learning(NamedTuple):
    """Actors and critics with their optimisers, {actor, critic} of the targets, and how many gradient steps."""

    actor: Learner
    critic: Learner
    target: Params
    steps: Array


class MaddpgState(NamedTuple):
    """These, and what was seen."""

    learning: Learning
    replay: Replay


@dataclass(frozen=True)
class Parts(Storage):
    """Who learns.

    Attributes:
        actor: the team. critic: see `networks.critics`.
        scale: what rewards are multiplied by.
    """

    config: MaddpgConfig
    actor: Policy
    critic: Net
    scale: float


def build(env: Environment, config: MaddpgConfig) -> Parts:
    """The team and its critics."""
    spec = env.spec
    return Parts(
        config=config,
        codec=codec(make_vector_env(env, config.envs), spec.n_actions),
        steps=config.chunk if config.replay == "stream" else spec.max_steps,
        actor=build_team(spec, config, view("local+action")),
        critic=joint_action_critic_net(spec.state_width, spec.n_agents, spec.n_actions, config.critic_width),
        scale=spec.reward_scale if config.reward_scale is None else config.reward_scale,
    )


def gumbel_softmax(logits: Float[Array, "... A"], key: PRNGKeyArray, temperature: float) -> Float[Array, "... A"]:
    """A sample from softmax(logits) as a one-hot, whose gradient is that of softmax((logits + noise) / temperature)."""
    soft = jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape)) / temperature)
    hard = jax.nn.one_hot(soft.argmax(-1), logits.shape[-1])
    return hard + soft - jax.lax.stop_gradient(soft)


def logits_of(parts: Parts, actor: Params, data: Sequences) -> Float[Array, "T1 C N A"]:
    scores = reader(parts.actor)(actor, data).scores
    assert scores is not None
    return scores


def played(data: Sequences, n_actions: int) -> Float[Array, "T C N A"]:
    """What was done in each step, one-hot."""
    return jax.nn.one_hot(data.steps.action[1:], n_actions)


def critic_targets(parts: Parts, target: Params, data: Sequences, key: PRNGKeyArray) -> Float[Array, "T C N"]:
    """r + g d Q_i(s', a') by the target critics, a' drawn by the target actors."""
    steps, config = data.steps, parts.config
    logits = logits_of(parts, target["actor"], data)[1:]
    following = gumbel_softmax(logits, key, config.temperature)
    value = parts.critic.apply(target["critic"], steps.state[1:], following, following)
    return parts.scale * steps.reward[1:, :, None] + config.gamma * steps.discount[1:, :, None] * value


def critic_loss(parts: Parts, critic: Params, goal: Array, data: Sequences, where: Bool[Array, "T C *N"]) -> Any:
    """Squared error of every critic at what was done, a dead agent's too: before its death it is bootstrapped from."""
    taken = played(data, data.steps.avail.shape[-1])
    value = parts.critic.apply(critic, data.steps.state[:-1], taken, taken)
    loss = masked_mean(jnp.square(value - goal), where)
    return loss, {"critic": loss, "value": masked_mean(value, where)}


def actor_loss(
    parts: Parts, actor: Params, critic: Params, data: Sequences, where: Bool[Array, "T C N"], key: PRNGKeyArray
) -> Any:
    """What every agent's critic thinks of its own action instead of the one played, the others' as they were."""
    config, avail = parts.config, data.steps.avail[:-1]
    logits = logits_of(parts, actor, data)[:-1]
    own = gumbel_softmax(logits, key, config.temperature)
    value = parts.critic.apply(critic, data.steps.state[:-1], played(data, avail.shape[-1]), own)
    gain = masked_mean(value, where)
    large = jnp.where(avail, jnp.square(logits), 0.0).sum(-1) / jnp.maximum(avail.sum(-1), 1)
    large = masked_mean(large, where)
    return config.decay * large - gain, {"actor": gain, "logits": large}


def improve(parts: Parts, state: MaddpgState, key: PRNGKeyArray, progress: Any) -> tuple[Learning, Metrics]:
    """The gradient steps that follow a rollout: critics, then actors, then targets."""
    config, tx, lr = parts.config, clipped_adam(parts.config.grad_clip), annealed(parts.config, progress)

    def step(now: Learning, key: PRNGKeyArray) -> tuple[Learning, Metrics]:
        keys = jax.random.split(key, 3)
        return learn_on(parts, state.replay, keys[0], lambda data: on(now, data, keys[1:]))

    def on(now: Learning, data: Sequences, keys: Key[Array, " 2"]) -> tuple[Learning, Metrics]:
        where = data.counts[..., None] & data.steps.acts[:-1]
        goal = jax.lax.stop_gradient(critic_targets(parts, now.target, data, keys[0]))
        critic, told = descend(tx, now.critic, lambda p: critic_loss(parts, p, goal, data, data.counts[..., None]), lr)
        acts = lambda p: actor_loss(parts, p, critic.params, data, where, keys[1])
        actor, more = descend(tx, now.actor, acts, lr)
        online = {"actor": actor.params, "critic": critic.params}
        target = follow(config, now.target, online, now.steps + 1)
        return Learning(actor, critic, target, now.steps + 1), told | more

    after, told = jax.lax.scan(step, state.learning, jax.random.split(key, config.updates))
    return after, jax.tree.map(jnp.mean, told)


def maddpg(env: Environment, config: MaddpgConfig, teacher: Frozen | None = None) -> Method:
    """Deterministic policy gradients with central critics, for discrete actions.

    Raises:
        BadInput: a teacher was named. From `init`: replay would not fit into `memory_gb`.
    """
    if teacher is not None:
        raise BadInput("teacher: maddpg learns by itself; distil with kd_marl, kl or bc")
    parts = build(env, config)
    plays = lambda state, progress: (state.learning.actor.params, sample)
    behaviour = parts.behaviour(parts.actor, plays)

    def init(key: PRNGKeyArray) -> MaddpgState:
        keys = jax.random.split(key)
        tx = clipped_adam(config.grad_clip)
        params = {"actor": parts.actor.init(keys[0]), "critic": parts.critic.init(keys[1])}
        zero = jnp.zeros((), jnp.int32)
        learning = Learning(init_learner(tx, params["actor"]), init_learner(tx, params["critic"]), params, zero)
        blank = MaddpgState(learning, ())  # type: ignore[arg-type]
        return blank._replace(replay=room(parts, env, behaviour, blank))

    def update(
        state: MaddpgState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[MaddpgState, Metrics]:
        state = state._replace(replay=remembered(parts, state.replay, rollouts["actor"]))
        go = lambda: improve(parts, state, key, progress)
        learning, told = once_warm(parts, state.replay, go, state.learning)
        return state._replace(learning=learning), told

    return Method(
        init=init,
        stages=(Stage("train", {"actor": behaviour}, update, config.steps),),
        roles={"student": parts.actor},
        params=lambda state: {"student": state.learning.actor.params},
    )

"""MADDPG: every agent follows the gradient of a critic that reads the state and the actions of all agents.

Actions are discrete: an actor's own action enters its critic as a straight-through Gumbel-softmax sample, the others'
as they were played. Critics are fitted to one-step targets at actions sampled from the target actors.
Reference: Lowe et al. 2017 (MADDPG); Jang et al. 2017 (Gumbel-softmax).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from tutelage.configs.maddpg import MaddpgConfig
from tutelage.data.replay import codec
from tutelage.data.vector import make_vector_env
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, clipped_adam, descend, init_learner
from tutelage.methods.off_policy import (
    OffPolicyComponents,
    OffPolicyState,
    Sequences,
    make_reader,
    replay_training,
    update_target,
)
from tutelage.methods.single_stage import single_stage
from tutelage.networks.cores import Net
from tutelage.policies.acting import sample
from tutelage.policies.build import build_team
from tutelage.policies.critic import joint_action_critic
from tutelage.policies.views import view
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Policy


class MaddpgTrainState(NamedTuple):
    """Actors and critics with their optimisers, parameters {actor, critic} of the target networks, gradient steps."""

    actor: Learner
    critic: Learner
    target: Params
    steps: Array


@dataclass(frozen=True)
class MaddpgNetworks(OffPolicyComponents):
    """Settings and networks of MADDPG.

    Attributes:
        actor: the team. critic: see `networks.critics`.
        scale: factor on rewards.
    """

    config: MaddpgConfig
    actor: Policy
    critic: Net
    scale: float


def make_networks(env: Environment, config: MaddpgConfig) -> MaddpgNetworks:
    """Make the team and its critics."""
    spec = env.spec
    return MaddpgNetworks(
        config=config,
        codec=codec(make_vector_env(env, config.envs), spec.n_actions),
        steps=config.chunk if config.replay == "stream" else spec.max_steps,
        actor=build_team(spec, config, view("local+action", spec)),
        critic=joint_action_critic(spec, config.critic_width, config.normalise),
        scale=spec.reward_scale if config.reward_scale is None else config.reward_scale,
    )


def gumbel_softmax(logits: Float[Array, "... A"], key: PRNGKeyArray, temperature: float) -> Float[Array, "... A"]:
    """A sample from softmax(logits) as a one-hot, whose gradient is that of softmax((logits + noise) / temperature)."""
    soft = jax.nn.softmax((logits + jax.random.gumbel(key, logits.shape)) / temperature)
    hard = jax.nn.one_hot(soft.argmax(-1), logits.shape[-1])
    return hard + soft - jax.lax.stop_gradient(soft)


def logits_of(networks: MaddpgNetworks, actor: Params, data: Sequences) -> Float[Array, "T1 C N A"]:
    scores = make_reader(networks.actor)(actor, data).scores
    assert scores is not None
    return scores


def one_hot_actions(data: Sequences, n_actions: int) -> Float[Array, "T C N A"]:
    """The actions of each step, one-hot."""
    return jax.nn.one_hot(data.steps.action[1:], n_actions)


def critic_targets(
    networks: MaddpgNetworks, target_params: Params, data: Sequences, key: PRNGKeyArray
) -> Float[Array, "T C N"]:
    """r + g d Q_i(s', a') by the target critics, a' sampled from the target actors."""
    steps, config = data.steps, networks.config
    logits = logits_of(networks, target_params["actor"], data)[1:]
    following = gumbel_softmax(logits, key, config.temperature)
    value = networks.critic.apply(target_params["critic"], steps.state[1:], following, following)
    return networks.scale * steps.reward[1:, :, None] + config.gamma * steps.discount[1:, :, None] * value


def critic_loss(
    networks: MaddpgNetworks, critic: Params, target: Array, data: Sequences, where: Bool[Array, "T C *N"]
) -> Any:
    """Mean squared error of every agent's critic, dead agents' included: values before a death bootstrap from them."""
    taken = one_hot_actions(data, data.steps.avail.shape[-1])
    value = networks.critic.apply(critic, data.steps.state[:-1], taken, taken)
    loss = masked_mean(jnp.square(value - target), where)
    return loss, {"critic": loss, "value": masked_mean(value, where)}


def actor_loss(
    networks: MaddpgNetworks,
    actor: Params,
    critic: Params,
    data: Sequences,
    where: Bool[Array, "T C N"],
    key: PRNGKeyArray,
) -> Any:
    """The actors' loss: less the critic's value of the agent's own sampled action with the others' actions as played,
    plus a penalty on large logits."""
    config, avail = networks.config, data.steps.avail[:-1]
    logits = logits_of(networks, actor, data)[:-1]
    own = gumbel_softmax(logits, key, config.temperature)
    value = networks.critic.apply(critic, data.steps.state[:-1], one_hot_actions(data, avail.shape[-1]), own)
    mean_value = masked_mean(value, where)
    logits_penalty = jnp.where(avail, jnp.square(logits), 0.0).sum(-1) / jnp.maximum(avail.sum(-1), 1)
    logits_penalty = masked_mean(logits_penalty, where)
    return config.decay * logits_penalty - mean_value, {"actor": mean_value, "logits": logits_penalty}


def maddpg_step(
    networks: MaddpgNetworks, before: MaddpgTrainState, data: Sequences, keys: Key[Array, " 2"], lr: Any
) -> tuple[MaddpgTrainState, Metrics]:
    """A gradient step on a batch: critics, then actors, then target networks."""
    config, tx = networks.config, clipped_adam(networks.config.grad_clip)
    where = data.counts[..., None] & data.steps.acts[:-1]
    target_values = jax.lax.stop_gradient(critic_targets(networks, before.target, data, keys[0]))
    critic, critic_metrics = descend(
        tx, before.critic, lambda p: critic_loss(networks, p, target_values, data, data.counts[..., None]), lr
    )
    loss = lambda p: actor_loss(networks, p, critic.params, data, where, keys[1])
    actor, actor_metrics = descend(tx, before.actor, loss, lr)
    online = {"actor": actor.params, "critic": critic.params}
    target = update_target(config, before.target, online, before.steps + 1)
    return MaddpgTrainState(actor, critic, target, before.steps + 1), critic_metrics | actor_metrics


def maddpg(env: Environment, config: MaddpgConfig, teacher: Frozen | None = None) -> Method:
    """Deterministic policy gradients with central critics, for discrete actions.

    Raises:
        BadInput: from `init`: replay would not fit into `memory_gb`.
    """
    networks = make_networks(env, config)
    plays = lambda state, progress: (state.learning.actor.params, sample)
    behaviour = networks.behaviour(networks.actor, plays)

    def init(key: PRNGKeyArray) -> MaddpgTrainState:
        keys = jax.random.split(key)
        tx = clipped_adam(config.grad_clip)
        params = {"actor": networks.actor.init(keys[0]), "critic": networks.critic.init(keys[1])}
        zero = jnp.zeros((), jnp.int32)
        return MaddpgTrainState(init_learner(tx, params["actor"]), init_learner(tx, params["critic"]), params, zero)

    init_state, stage = replay_training(
        networks, env, {"actor": behaviour}, init, partial(maddpg_step, networks), keys=2
    )

    def put(state: OffPolicyState, params: Params) -> OffPolicyState:
        learning = state.learning
        return state._replace(learning=learning._replace(actor=learning.actor._replace(params=params)))

    def copy_targets(state: OffPolicyState) -> OffPolicyState:
        online = {"actor": state.learning.actor.params, "critic": state.learning.critic.params}
        return state._replace(learning=state.learning._replace(target=online))

    return single_stage(init_state, stage, networks.actor, lambda state: state.learning.actor.params, put, copy_targets)

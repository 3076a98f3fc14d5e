"""COMA: policy gradients with a counterfactual baseline.

A central critic gives the value Q_i(s, u) of every action of agent i, with the others' actions as they were played.
Agent i's advantage is Q_i(s, u) - sum_a pi(a) Q_i(s, (a, u_-i)): how much better its action was than its own usual one.
Reference: Foerster et al. 2018 (COMA).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.coma import ComaConfig
from tutelage.data.collect import unroll
from tutelage.data.transitions import transitions
from tutelage.learning.losses import entropy, log_prob_of, masked_mean
from tutelage.learning.optim import Learner, annealed, clipped_adam, descend, init_learner
from tutelage.learning.returns import td_lambda
from tutelage.methods.on_policy import on_policy_stage, warmed_up
from tutelage.methods.single_stage import single_stage
from tutelage.methods.td_loss import scores_of
from tutelage.networks.critics import action_values
from tutelage.policies.build import build_team
from tutelage.policies.critic import joint_action_critic
from tutelage.policies.views import view
from tutelage.types import Environment, Frozen, Method, Metrics, Params, Rollout


class ComaState(NamedTuple):
    """Actor and critic with their optimisers, the target network's parameters, and the number of rollouts."""

    actor: Learner
    critic: Learner
    target: Params
    rollouts: Int[Array, ""]


def advantages(values: Float[Array, "... N A"], logits: Array, taken: Array) -> Float[Array, "... N"]:
    """The counterfactual advantage of the actions taken."""
    return ((taken - jax.nn.softmax(logits)) * values).sum(-1)


def coma(env: Environment, config: ComaConfig, teacher: Frozen | None = None) -> Method:
    """Policy gradients with a counterfactual baseline."""
    spec, tx = env.spec, clipped_adam(config.grad_clip)
    actor = build_team(spec, config, view("local+action", spec))
    critic = joint_action_critic(spec, config.critic_width, config.normalise)

    actor_params = lambda state: state.actor.params

    def init(key: PRNGKeyArray) -> ComaState:
        keys, start = jax.random.split(key), jnp.zeros((), jnp.int32)
        params = critic.init(keys[1])
        return ComaState(init_learner(tx, actor.init(keys[0])), init_learner(tx, params), params, start)

    def update(state: ComaState, rollout: Rollout, key: PRNGKeyArray, progress: Any) -> tuple[ComaState, Metrics]:
        now, action, reward, discount, valid, acts = transitions(rollout)
        taken, lr = jax.nn.one_hot(action, spec.n_actions), annealed(config, progress)
        # The value after the last transition needs an action that is not chosen yet: the critic leaves that one out.
        following, counts = critic.apply(state.target, now.state, taken, taken), valid[:-1]
        target = td_lambda(reward[:-1], discount[:-1], following, counts, config.gamma, config.lam)

        def critic_loss(params: Params) -> tuple[Array, Metrics]:
            value = critic.apply(params, now.state[:-1], taken[:-1], taken[:-1])
            loss = masked_mean(jnp.square(value - target), counts[..., None])
            return loss, {"critic": loss, "value": masked_mean(value, counts[..., None])}

        def actor_loss(params: Params) -> tuple[Array, Metrics]:
            logits = scores_of(unroll(actor, params, rollout.carry, now, now.first))
            advantage = advantages(values, jax.lax.stop_gradient(logits), taken)
            policy, bonus = -masked_mean(advantage * log_prob_of(logits, action), acts), entropy(logits, acts)
            return policy - config.entropy * bonus, {"policy": policy, "entropy": bonus}

        critic_step = lambda learner, _: descend(tx, learner, critic_loss, lr)
        learner, critic_metrics = jax.lax.scan(critic_step, state.critic, length=config.critic_steps)
        values = action_values(critic, learner.params, now.state, taken)
        actor_learner, metrics = descend(tx, state.actor, actor_loss, lr)
        copied = optax.periodic_update(learner.params, state.target, state.rollouts + 1, config.target_every)
        metrics |= jax.tree.map(jnp.mean, critic_metrics)
        actor_learner = warmed_up(config, progress, state.actor, actor_learner)
        return ComaState(actor_learner, learner, copied, state.rollouts + 1), metrics

    return single_stage(
        init,
        on_policy_stage(config, config.steps, actor, actor_params, update),
        actor,
        actor_params,
        put=lambda state, params: state._replace(actor=state.actor._replace(params=params)),
        copy_targets=lambda state: state._replace(target=state.critic.params),
    )

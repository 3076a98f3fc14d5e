"""IQL, VDN, QMIX, QPLEX, WQMIX: Q-learning for teams. They differ in how utilities are mixed into a joint value.

The team acts epsilon-greedily, sequences go to a replay buffer, and the joint value of the actions is fitted to
TD(lambda) targets of a target network. The online network chooses the greedy next action (double Q-learning).
Reference: Tan 1993 (IQL), Sunehag et al. 2018 (VDN), Rashid et al. 2018 (QMIX), Rashid et al. 2020 (WQMIX),
Wang et al. 2021 (QPLEX).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.ddn import DdnConfig, PtdeConfig
from tutelage.configs.qlearning import QConfig, QSettings
from tutelage.data.replay import codec
from tutelage.data.vector import make_vector_env
from tutelage.learning.optim import Learner, descend, init_learner
from tutelage.methods.off_policy import (
    OffPolicyState,
    Sequences,
    make_reader,
    replay_training,
    update_target,
)
from tutelage.methods.single_stage import single_stage
from tutelage.methods.td_loss import QNetworks, UnrestrictedQ, scores_of, td_loss
from tutelage.networks.mixers import mixing_net, unrestricted_mixing_net
from tutelage.policies.acting import epsilon_greedy
from tutelage.policies.build import build_team
from tutelage.policies.compose import with_shadow
from tutelage.policies.normalising import normalised_net, state_rows
from tutelage.policies.views import View, view
from tutelage.types import (
    ActRule,
    Behaviour,
    Environment,
    Frozen,
    Method,
    Metrics,
    Params,
    Spec,
)


class QTrainState(NamedTuple):
    """Online network with its optimiser, parameters of the target network, and number of gradient steps."""

    online: Learner
    target: Params
    steps: Array

    def with_team(self, params: Params) -> QTrainState:
        """The same with other parameters of the online network's team."""
        return self._replace(online=self.online._replace(params={**self.online.params, "agent": params}))

    def with_copied_target(self) -> QTrainState:
        """The same with the online network's parameters as the target network's."""
        return self._replace(target=self.online.params)


def q_step(networks: QNetworks, before: QTrainState, data: Sequences, lr: Any) -> tuple[QTrainState, Metrics]:
    """A gradient step on a batch, and on time the copy to the target network."""

    def loss(params: Params) -> tuple[Array, Metrics]:
        return td_loss(networks, scores_of(networks.read(params["agent"], data)), params, before.target, data)

    online, metrics = descend(networks.tx, before.online, loss, lr)
    steps = before.steps + 1
    return QTrainState(online, update_target(networks.config, before.target, online.params, steps), steps), metrics


def init_learning(networks: QNetworks, params: Params) -> QTrainState:
    """The start of training with given parameters of team and mixing network."""
    return QTrainState(init_learner(networks.tx, params), params, jnp.zeros((), jnp.int32))


def exploration_rule(config: QSettings, progress: Any) -> ActRule:
    """Epsilon-greedy at a point of training, `progress` in [0, 1]."""
    share = jnp.minimum(progress * config.steps / config.epsilon_steps, 1.0)
    return epsilon_greedy(config.epsilon_start + share * (config.epsilon_end - config.epsilon_start))


def make_behaviour(networks: QNetworks) -> Behaviour:
    """Epsilon-greedy play; epsilon falls with the environment steps. WQMIX's second team runs along."""
    config, unrestricted_q = networks.config, networks.unrestricted_q
    policy = with_shadow(networks.agent, unrestricted_q.team) if unrestricted_q else networks.agent

    def plays(state: OffPolicyState, progress: Any) -> tuple[Params, ActRule]:
        params = state.learning.online.params
        playing = (params["agent"], params["central"]) if unrestricted_q else params["agent"]
        return playing, exploration_rule(config, progress)

    return networks.behaviour(policy, plays)


def make_networks(env: Environment, config: QConfig | DdnConfig | PtdeConfig) -> QNetworks:
    """Make the team and its mixing network."""
    spec = env.spec
    own_view = view("local+action", spec)
    agent = build_team(spec, config, own_view, gain=1.0)
    mixer = mixing_net(
        config.mixer, spec.n_agents, spec.n_actions, spec.state_width, config.mixer_width, config.hyper_width
    )
    unrestricted_q = None
    if isinstance(config, QConfig) and config.weighting != "none":
        unrestricted_q = make_unrestricted_q(spec, config, own_view)
    return QNetworks(
        config=config,
        agent=agent,
        read=make_reader(agent, lambda carry: carry[0]) if unrestricted_q else make_reader(agent),
        mix=normalised_net(mixer, (None, state_rows(spec.state_width)), config.normalise),
        unrestricted_q=unrestricted_q,
        codec=codec(make_vector_env(env, config.envs), spec.n_actions),
        steps=config.chunk if config.replay == "stream" else spec.max_steps,
        scale=spec.reward_scale if config.reward_scale is None else config.reward_scale,
    )


def make_unrestricted_q(spec: Spec, config: QConfig, own_view: View) -> UnrestrictedQ:
    """Q* for WQMIX: its team is of the same kind as the first, and its memory the second of the two that are stored."""
    team = build_team(spec, config, own_view, gain=1.0)
    joint = unrestricted_mixing_net(spec.n_agents, spec.state_width)
    return UnrestrictedQ(
        config,
        team,
        make_reader(team, lambda carry: carry[1]),
        normalised_net(joint, (None, state_rows(spec.state_width)), config.normalise),
    )


def qlearning(env: Environment, config: QConfig, teacher: Frozen | None = None) -> Method:
    """Team Q-learning with the config's mixing network.

    Raises:
        BadInput: from `init`: replay would not fit into `memory_gb`.
    """
    networks = make_networks(env, config)

    def init(key: PRNGKeyArray) -> QTrainState:
        keys = jax.random.split(key, 4)
        params = {"agent": networks.agent.init(keys[0]), "mix": networks.mix.init(keys[1])}
        if networks.unrestricted_q is not None:
            params |= {
                "central": networks.unrestricted_q.team.init(keys[2]),
                "joint": networks.unrestricted_q.joint.init(keys[3]),
            }
        return init_learning(networks, params)

    learn = lambda learning, data, keys, lr: q_step(networks, learning, data, lr)
    init_state, stage = replay_training(networks, env, {"actor": make_behaviour(networks)}, init, learn)
    return single_stage(
        init_state,
        stage,
        networks.agent,
        lambda state: state.learning.online.params["agent"],
        put=lambda state, params: state._replace(learning=state.learning.with_team(params)),
        copy_targets=lambda state: state._replace(learning=state.learning.with_copied_target()),
    )

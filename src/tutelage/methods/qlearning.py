"""IQL, VDN, QMIX, QPLEX, WQMIX: Q-learning for teams. They differ in how utilities are mixed into a joint value.

The team acts epsilon-greedily, sequences go to a replay buffer, and the joint value of the actions is fitted to
TD(lambda) targets of a target network. The online network chooses the greedy next action (double Q-learning).
Reference: Tan 1993 (IQL), Sunehag et al. 2018 (VDN), Rashid et al. 2018 (QMIX), Rashid et al. 2020 (WQMIX),
Wang et al. 2021 (QPLEX).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.qlearning import QConfig
from tutelage.data.replay import Replay, codec
from tutelage.data.vector import make_vector_env
from tutelage.learning.optim import Learner, annealed, descend, init_learner
from tutelage.methods.off_policy import (
    Sequences,
    add_rollout,
    after_warm_up,
    init_replay,
    make_reader,
    update_from_replay,
    update_target,
)
from tutelage.methods.td_loss import QNetworks, UnrestrictedQ, scores_of, td_loss
from tutelage.networks.mixers import mixing_net, unrestricted_mixing_net
from tutelage.policies.acting import epsilon_greedy
from tutelage.policies.build import build_team
from tutelage.policies.combinators import with_shadow
from tutelage.policies.views import View, view
from tutelage.types import (
    ActRule,
    Behaviour,
    Environment,
    Frozen,
    Method,
    Metrics,
    Params,
    Rollout,
    Spec,
    Stage,
)


class QTrainState(NamedTuple):
    """Online network with its optimiser, parameters of the target network, and number of gradient steps."""

    online: Learner
    target: Params
    steps: Array


class QState(NamedTuple):
    """Train state with the replay buffer."""

    learning: QTrainState
    replay: Replay


def update_networks(
    networks: QNetworks, state: QState, key: PRNGKeyArray, progress: Any
) -> tuple[QTrainState, Metrics]:
    """The gradient steps after a rollout."""
    config, tx = networks.config, networks.tx
    lr = annealed(config, progress)

    def step(before: QTrainState, key: PRNGKeyArray) -> tuple[QTrainState, Metrics]:
        def update(data: Sequences) -> tuple[Learner, Metrics]:
            loss = lambda p: td_loss(networks, scores_of(networks.read(p["agent"], data)), p, before.target, data)
            return descend(tx, before.online, loss, lr)

        online, metrics = update_from_replay(networks, state.replay, key, update)
        steps = before.steps + 1
        return QTrainState(online, update_target(config, before.target, online.params, steps), steps), metrics

    after, metrics = jax.lax.scan(step, state.learning, jax.random.split(key, config.updates))
    return after, jax.tree.map(jnp.mean, metrics)


def exploration_rule(config: QConfig, progress: Any) -> ActRule:
    """Epsilon-greedy at a point of training, `progress` in [0, 1]."""
    share = jnp.minimum(progress * config.steps / config.epsilon_steps, 1.0)
    return epsilon_greedy(config.epsilon_start + share * (config.epsilon_end - config.epsilon_start))


def make_behaviour(networks: QNetworks) -> Behaviour:
    """Epsilon-greedy play; epsilon falls with the environment steps. WQMIX's second team runs along."""
    config, unrestricted_q = networks.config, networks.unrestricted_q
    policy = with_shadow(networks.agent, unrestricted_q.team) if unrestricted_q else networks.agent

    def plays(state: QState, progress: Any) -> tuple[Params, ActRule]:
        params = state.learning.online.params
        playing = (params["agent"], params["central"]) if unrestricted_q else params["agent"]
        return playing, exploration_rule(config, progress)

    return networks.behaviour(policy, plays)


def make_networks(env: Environment, config: QConfig) -> QNetworks:
    """Make the team and its mixing network."""
    spec = env.spec
    own_view = view("local+action", spec)
    agent = build_team(spec, config, own_view, gain=1.0)
    widths = config.mixer_width, config.hyper_width
    weighted = config.weighting != "none"
    return QNetworks(
        config=config,
        agent=agent,
        read=make_reader(agent, lambda carry: carry[0]) if weighted else make_reader(agent),
        mix=mixing_net(config.mixer, spec.n_agents, spec.n_actions, spec.state_width, *widths),
        unrestricted_q=make_unrestricted_q(spec, config, own_view) if weighted else None,
        codec=codec(make_vector_env(env, config.envs), spec.n_actions),
        steps=config.chunk if config.replay == "stream" else spec.max_steps,
        scale=spec.reward_scale if config.reward_scale is None else config.reward_scale,
    )


def make_unrestricted_q(spec: Spec, config: QConfig, own_view: View) -> UnrestrictedQ:
    """Q* for WQMIX: its team is of the same kind as the first, and its memory the second of the two that are stored."""
    team = build_team(spec, config, own_view, gain=1.0)
    return UnrestrictedQ(
        team, make_reader(team, lambda carry: carry[1]), unrestricted_mixing_net(spec.n_agents, spec.state_width)
    )


def qlearning(env: Environment, config: QConfig, teacher: Frozen | None = None) -> Method:
    """Team Q-learning with the config's mixing network.

    Raises:
        BadInput: from `init`: replay would not fit into `memory_gb`.
    """
    networks = make_networks(env, config)
    behaviour = make_behaviour(networks)

    def init(key: PRNGKeyArray) -> QState:
        keys = jax.random.split(key, 4)
        params = {"agent": networks.agent.init(keys[0]), "mix": networks.mix.init(keys[1])}
        if networks.unrestricted_q is not None:
            params |= {
                "central": networks.unrestricted_q.team.init(keys[2]),
                "joint": networks.unrestricted_q.joint.init(keys[3]),
            }
        learning = QTrainState(init_learner(networks.tx, params), params, jnp.zeros((), jnp.int32))
        no_replay = QState(learning, ())  # type: ignore[arg-type]
        return no_replay._replace(replay=init_replay(networks, env, behaviour, no_replay))

    def update(
        state: QState, rollouts: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[QState, Metrics]:
        state = state._replace(replay=add_rollout(networks, state.replay, rollouts["actor"]))
        do_update = lambda: update_networks(networks, state, key, progress)
        learning, metrics = after_warm_up(networks, state.replay, do_update, state.learning)
        return QState(learning, state.replay), metrics

    return Method(
        init=init,
        stages=(Stage("train", {"actor": behaviour}, update, config.steps),),
        roles={"student": networks.agent},
        params=lambda state: {"student": state.learning.online.params["agent"]},
    )

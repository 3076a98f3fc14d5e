"""IQL, VDN, QMIX, QPLEX, WQMIX: Q-learning for teams. They differ in how utilities are mixed into a joint value.

The team acts epsilon-greedily, sequences go to a replay buffer, and the joint value of the actions is fitted to
TD(lambda) targets of a target network. The online network chooses the greedy next action (double Q-learning).
Reference: Tan 1993 (IQL), Sunehag et al. 2018 (VDN), Rashid et al. 2018 (QMIX), Rashid et al. 2020 (WQMIX),
Wang et al. 2021 (QPLEX).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.qlearning import QConfig
from tutelage.data.replay import Replay, codec
from tutelage.data.vector import make_vector_env
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, annealed, clipped_adam, clipped_rmsprop, descend, init_learner
from tutelage.learning.returns import expand_like, td_lambda
from tutelage.methods.off_policy import (
    OffPolicyComponents,
    Reader,
    Sequences,
    add_rollout,
    after_warm_up,
    init_replay,
    make_reader,
    update_from_replay,
    update_target,
)
from tutelage.networks.cores import Net
from tutelage.networks.mixers import Utilities, mixing_net, unrestricted_mixing_net
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
    Out,
    Params,
    Policy,
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


class UnrestrictedQ(NamedTuple):
    """WQMIX's Q*: the value of joint actions by a second team and a mixing network that need not be monotone.

    The second team runs along in play, so that its memory is stored too.

    Attributes:
        team, read: the second team, and the function that computes its outputs on sequences.
        joint: the mixing network.
    """

    team: Policy
    read: Reader
    joint: Net


@dataclass(frozen=True)
class QNetworks(OffPolicyComponents):
    """Settings and networks of team Q-learning.

    Attributes:
        agent: the team whose scores are utilities.
        read: (its parameters, sequences) -> its output on them.
        mix: the mixing network, from utilities to the joint value.
        unrestricted_q: Q* of WQMIX; None without weighting.
        scale: factor on rewards.
    """

    config: QConfig
    agent: Policy
    read: Reader
    mix: Net
    unrestricted_q: UnrestrictedQ | None
    scale: float

    def with_team(self, agent: Policy, read: Reader) -> QNetworks:
        """The same networks with another team."""
        return replace(self, agent=agent, read=read)

    @property
    def tx(self) -> optax.GradientTransformation:
        clipped = {"adam": clipped_adam, "rmsprop": clipped_rmsprop}[self.config.optimiser]
        return clipped(self.config.grad_clip)


def chosen_scores(scores: Float[Array, "... N A"], action: Int[Array, "... N"]) -> Float[Array, "... N"]:
    """Scores (..., N) of given actions."""
    return jnp.take_along_axis(scores, action[..., None], -1)[..., 0]


def utilities(scores: Float[Array, "... N A"], action: Int[Array, "... N"]) -> Utilities:
    return Utilities(chosen_scores(scores, action), scores.max(-1), action)


def scores_of(out: Out) -> Float[Array, "T1 C N A"]:
    assert out.scores is not None
    return out.scores


def td_targets(
    networks: QNetworks,
    scores: Float[Array, "T1 C N A"],
    target_params: Params,
    data: Sequences,
    central_scores: Array | None = None,
) -> Array:
    """TD(lambda) targets (T, C), or (T, C, N) for `iql`.

    Args:
        scores: of the online network; their best action is valued.
        central_scores: scores of Q*'s team by the target network; None without weighting.
    """
    config, steps = networks.config, data.steps
    if networks.unrestricted_q is None or central_scores is None:
        target_scores = scores_of(networks.read(target_params["agent"], data))
        best = (scores if config.double else target_scores).argmax(-1)
        value = networks.mix.apply(target_params["mix"], utilities(target_scores, best), steps.state)
    else:
        value = networks.unrestricted_q.joint.apply(
            target_params["joint"], utilities(central_scores, scores.argmax(-1)), steps.state
        )
    reward = networks.scale * steps.reward[1:]
    return td_lambda(reward, steps.discount[1:], value, ~steps.last[:-1], config.gamma, config.lam)


def td_loss(
    networks: QNetworks,
    scores: Array,
    params: Params,
    target_params: Params,
    data: Sequences,
    chooser: Array | None = None,
) -> tuple[Array, Metrics]:
    """Mean squared TD error of the joint value, weighted where the config says so; plus the error of Q* in WQMIX.

    Args:
        scores: of the online team on the sequences.
        chooser: other scores whose best action the target values, instead of these.
    """
    steps, action, unrestricted_q = data.steps, data.steps.action[1:], networks.unrestricted_q
    central_target = scores_of(unrestricted_q.read(target_params["central"], data)) if unrestricted_q else None
    target = jax.lax.stop_gradient(
        td_targets(networks, scores if chooser is None else chooser, target_params, data, central_target)
    )
    chosen = utilities(scores[:-1], action)
    value = networks.mix.apply(params["mix"], chosen, steps.state[:-1])
    error = value - target
    counts = jnp.broadcast_to(expand_like(data.counts, error), error.shape)
    if error.ndim > data.counts.ndim:  # not mixed: an agent without available actions has no utility to learn
        counts &= steps.avail[:-1].any(-1)
    if unrestricted_q is None or central_target is None:
        weight, unrestricted_loss = jnp.ones(()), jnp.zeros(())
    else:
        central = scores_of(unrestricted_q.read(params["central"], data))
        joint = unrestricted_q.joint.apply(params["joint"], utilities(central[:-1], action), steps.state[:-1])
        unrestricted_loss = masked_mean(jnp.square(joint - target), counts)
        greedy = scores[:-1].argmax(-1)
        greedy_value = unrestricted_q.joint.apply(
            target_params["joint"], utilities(central_target[:-1], greedy), steps.state[:-1]
        )
        weight = weights(networks.config, value, target, (action == greedy).all(-1), greedy_value)
    loss = masked_mean(weight * jnp.square(error), counts)
    metrics = {"td": loss, "value": masked_mean(value, counts), "target": masked_mean(target, counts)}
    return loss + unrestricted_loss, metrics


def weights(config: QConfig, value: Array, target: Array, greedy: Array, greedy_value: Array) -> Array:
    """WQMIX's weight of every error.

    Args:
        value, target: joint value and TD target of the action.
        greedy: whether it was the greedy joint action.
        greedy_value: Q* of the greedy joint action.

    Reference:
        Rashid et al. 2020, equations 10 (cw, with the practical condition) and 7 (ow).
    """
    full = (greedy | (target > greedy_value)) if config.weighting == "cw" else value < target
    return jax.lax.stop_gradient(jnp.where(full, 1.0, config.alpha))


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
    own_view = view("local+action")
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

"""IQL, VDN, QMIX, QPLEX, WQMIX: Q-learning for teams. They differ in how utilities make a joint value.

Play epsilon-greedily, store sequences, and fit the joint value of what was done to TD(lambda) targets of a target
network, the greedy next action chosen by the online network.
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
from tutelage.errors import BadInput
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, annealed, clipped_adam, clipped_rmsprop, descend, init_learner
from tutelage.learning.returns import expand_like, td_lambda
from tutelage.methods.off_policy import (
    Reader,
    Sequences,
    Storage,
    follow,
    learn_on,
    once_warm,
    reader,
    remembered,
    room,
)
from tutelage.networks.cores import Net
from tutelage.networks.mixers import Utilities, mixing_net, unrestricted_mixing_net
from tutelage.policies.acting import epsilon_greedy, with_shadow
from tutelage.policies.build import build_team
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


class Learning(NamedTuple):
    """Networks with their optimiser, the target network, and how many gradient steps were taken."""

    online: Learner
    target: Params
    steps: Array


class QState(NamedTuple):
    """These, and what was seen."""

    learning: Learning
    replay: Replay


class Weighing(NamedTuple):
    """WQMIX's Q*: a second recurrent team, which thinks along in play so that its own memory is stored too.

    Attributes:
        team, read: it, and how it reads sequences.
        joint: the unrestricted value of its utilities.
    """

    team: Policy
    read: Reader
    joint: Net


@dataclass(frozen=True)
class Parts(Storage):
    """Who learns, and how.

    Attributes:
        agent: the team whose scores are utilities.
        read: (its parameters, sequences) -> its Out over them.
        mix: from utilities to the joint value.
        weighing: what WQMIX has beside it; None without weighting.
        scale: what rewards are multiplied by.
    """

    config: QConfig
    agent: Policy
    read: Reader
    mix: Net
    weighing: Weighing | None
    scale: float

    def of(self, agent: Policy, read: Reader) -> Parts:
        """The same for another team."""
        return replace(self, agent=agent, read=read)

    @property
    def tx(self) -> optax.GradientTransformation:
        clipped = {"adam": clipped_adam, "rmsprop": clipped_rmsprop}[self.config.optimiser]
        return clipped(self.config.grad_clip)


def at(scores: Float[Array, "... N A"], action: Int[Array, "... N"]) -> Float[Array, "... N"]:
    """The scores of given actions."""
    return jnp.take_along_axis(scores, action[..., None], -1)[..., 0]


def utilities(scores: Float[Array, "... N A"], action: Int[Array, "... N"]) -> Utilities:
    return Utilities(at(scores, action), scores.max(-1), action)


def scores_of(out: Out) -> Float[Array, "T1 C N A"]:
    assert out.scores is not None
    return out.scores


def td_targets(
    parts: Parts, online: Float[Array, "T1 C N A"], target: Params, data: Sequences, old: Array | None = None
) -> Array:
    """TD(lambda) targets (T, C), or (T, C, N) for `iql`.

    Args:
        online: scores whose best action is valued.
        old: scores of WQMIX's central team by the target network; None without weighting.
    """
    config, steps = parts.config, data.steps
    if parts.weighing is None or old is None:
        scores = scores_of(parts.read(target["agent"], data))
        best = (online if config.double else scores).argmax(-1)
        value = parts.mix.apply(target["mix"], utilities(scores, best), steps.state)
    else:
        value = parts.weighing.joint.apply(target["joint"], utilities(old, online.argmax(-1)), steps.state)
    reward = parts.scale * steps.reward[1:]
    return td_lambda(reward, steps.discount[1:], value, ~steps.last[:-1], config.gamma, config.lam)


def td_loss(
    parts: Parts, scores: Array, params: Params, target: Params, data: Sequences, chooser: Array | None = None
) -> tuple[Array, Metrics]:
    """Mean squared error of the joint value of what was done, weighted where the config says so.

    Args:
        scores: of the online team over the sequences.
        chooser: scores whose best action the target values, instead of these.
    """
    steps, action, beside = data.steps, data.steps.action[1:], parts.weighing
    old = scores_of(beside.read(target["central"], data)) if beside else None
    goal = jax.lax.stop_gradient(td_targets(parts, scores if chooser is None else chooser, target, data, old))
    done = utilities(scores[:-1], action)
    value = parts.mix.apply(params["mix"], done, steps.state[:-1])
    error = value - goal
    counts = jnp.broadcast_to(expand_like(data.counts, error), error.shape)
    if error.ndim > data.counts.ndim:  # utilities that are not mixed: of who can do nothing, there is none to learn
        counts &= steps.avail[:-1].any(-1)
    if beside is None or old is None:
        weight, extra = jnp.ones(()), jnp.zeros(())
    else:
        theirs = scores_of(beside.read(params["central"], data))
        joint = beside.joint.apply(params["joint"], utilities(theirs[:-1], action), steps.state[:-1])
        extra = masked_mean(jnp.square(joint - goal), counts)
        greedy = scores[:-1].argmax(-1)
        best = beside.joint.apply(target["joint"], utilities(old[:-1], greedy), steps.state[:-1])
        weight = weights(parts.config, value, goal, (action == greedy).all(-1), best)
    loss = masked_mean(weight * jnp.square(error), counts)
    told = {"td": loss, "value": masked_mean(value, counts), "target": masked_mean(goal, counts)}
    return loss + extra, told


def weights(config: QConfig, value: Array, goal: Array, greedy: Array, best: Array) -> Array:
    """WQMIX's weight of every error.

    Args:
        value, goal: joint value and target of what was done.
        greedy: whether it was the greedy joint action.
        best: Q* of the greedy joint action.

    Reference:
        Rashid et al. 2020, equations 10 (cw, with the practical condition) and 7 (ow).
    """
    full = (greedy | (goal > best)) if config.weighting == "cw" else value < goal
    return jax.lax.stop_gradient(jnp.where(full, 1.0, config.alpha))


def improve(parts: Parts, state: QState, key: PRNGKeyArray, progress: Any) -> tuple[Learning, Metrics]:
    """The gradient steps that follow a rollout."""
    config, tx = parts.config, parts.tx
    lr = annealed(config, progress)

    def step(now: Learning, key: PRNGKeyArray) -> tuple[Learning, Metrics]:
        def go(data: Sequences) -> tuple[Learner, Metrics]:
            loss = lambda p: td_loss(parts, scores_of(parts.read(p["agent"], data)), p, now.target, data)
            return descend(tx, now.online, loss, lr)

        online, told = learn_on(parts, state.replay, key, go)
        steps = now.steps + 1
        return Learning(online, follow(config, now.target, online.params, steps), steps), told

    after, told = jax.lax.scan(step, state.learning, jax.random.split(key, config.updates))
    return after, jax.tree.map(jnp.mean, told)


def explore(config: QConfig, progress: Any) -> ActRule:
    """The acting rule at a point of training."""
    share = jnp.minimum(progress * config.steps / config.epsilon_steps, 1.0)
    return epsilon_greedy(config.epsilon_start + share * (config.epsilon_end - config.epsilon_start))


def exploring(parts: Parts) -> Behaviour:
    """The team plays epsilon-greedily; epsilon falls with the environment steps."""
    config, beside = parts.config, parts.weighing
    policy = with_shadow(parts.agent, beside.team) if beside else parts.agent

    def plays(state: QState, progress: Any) -> tuple[Params, ActRule]:
        params = state.learning.online.params
        return (params["agent"], params["central"]) if beside else params["agent"], explore(config, progress)

    return parts.behaviour(policy, plays)


def assemble(env: Environment, config: QConfig) -> Parts:
    """Build the team and its mixer."""
    spec = env.spec
    history = view("local+action")
    agent = build_team(spec, config, history, gain=1.0)
    widths = config.mixer_width, config.hyper_width
    weighted = config.weighting != "none"
    return Parts(
        config=config,
        agent=agent,
        read=reader(agent, lambda carry: carry[0]) if weighted else reader(agent),
        mix=mixing_net(config.mixer, spec.n_agents, spec.n_actions, spec.state_width, *widths),
        weighing=build_weighing(spec, config, history) if weighted else None,
        codec=codec(make_vector_env(env, config.envs), spec.n_actions),
        steps=config.chunk if config.replay == "stream" else spec.max_steps,
        scale=spec.reward_scale if config.reward_scale is None else config.reward_scale,
    )


def build_weighing(spec: Spec, config: QConfig, seen: View) -> Weighing:
    """Q* for WQMIX: a team as the first, whose memory is the second of the two that are stored."""
    team = build_team(spec, config, seen, gain=1.0)
    return Weighing(
        team, reader(team, lambda carry: carry[1]), unrestricted_mixing_net(spec.n_agents, spec.state_width)
    )


def qlearning(env: Environment, config: QConfig, teacher: Frozen | None = None) -> Method:
    """Q-learning with the config's mixer.

    Raises:
        BadInput: a teacher was named. From `init`: replay would not fit into `memory_gb`.
    """
    if teacher is not None:
        raise BadInput("teacher: value-based learning has none; distil with kd_marl, kl or bc, or learn with ddn")
    parts = assemble(env, config)
    behaviour = exploring(parts)

    def init(key: PRNGKeyArray) -> QState:
        keys = jax.random.split(key, 4)
        params = {"agent": parts.agent.init(keys[0]), "mix": parts.mix.init(keys[1])}
        if parts.weighing is not None:
            params |= {"central": parts.weighing.team.init(keys[2]), "joint": parts.weighing.joint.init(keys[3])}
        learning = Learning(init_learner(parts.tx, params), params, jnp.zeros((), jnp.int32))
        blank = QState(learning, ())  # type: ignore[arg-type]
        return blank._replace(replay=room(parts, env, behaviour, blank))

    def update(
        state: QState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[QState, Metrics]:
        state = state._replace(replay=remembered(parts, state.replay, played["actor"]))
        go = lambda: improve(parts, state, key, progress)
        learning, told = once_warm(parts, state.replay, go, state.learning)
        return QState(learning, state.replay), told

    return Method(
        init=init,
        stages=(Stage("train", {"actor": behaviour}, update, config.steps),),
        roles={"student": parts.agent},
        params=lambda state: {"student": state.learning.online.params["agent"]},
    )

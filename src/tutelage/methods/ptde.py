"""PTDE, the value-based form: a team learns with personalised state, then predicts it and acts without.

Stage `train`: Q-learning; each agent reads what it sees and the state personalised for it. Stage `predict`: a recurrent
predictor learns that personalised state from what the agent sees; nothing else changes. Executed is the team with the
prediction in the state's place.
Reference: Chen et al. 2022 (PTDE), as reported second-hand; see docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.configs.ddn import PtdeConfig
from tutelage.data.collect import unroll
from tutelage.errors import BadInput
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, descend, learner
from tutelage.methods.ddn import central_team
from tutelage.methods.qlearning import (
    Learning,
    Parts,
    QState,
    Sequences,
    assemble,
    exploring,
    improve,
    once_warm,
    remembered,
    room,
    sampled,
)
from tutelage.networks.cores import Core, Net, core
from tutelage.networks.fusion import fusion
from tutelage.policies.agent import Agent, Group, team
from tutelage.policies.views import view
from tutelage.types import (
    Carry,
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
    TimeStep,
)


class PtdeState(NamedTuple):
    """Q-learning's state, and the predictor with its optimiser."""

    q: QState
    guess: Learner


def predicting_agent(kind: str, inputs: int, width: int, fused: int, n_actions: int) -> tuple[Agent, Core]:
    """An agent that predicts its personalised state (parameters `guess`) and acts on it (`act`); and the predictor."""
    guess, act = core(kind, inputs, width, fused, gain=1.0), core(kind, inputs + fused, width, n_actions, gain=1.0)

    def think(params: Params, carry: Carry, x: Float[Array, " D"]) -> tuple[Carry, Float[Array, " H"]]:
        mine, h = guess.think(params["guess"], carry[0], x)
        z = guess.head(params["guess"], h, jnp.ones(fused, bool))
        theirs, features = act.think(params["act"], carry[1], jnp.concatenate([x, z]))
        return (mine, theirs), features

    def head(params: Params, features: Array, avail: Bool[Array, " A"]) -> Array:
        return act.head(params["act"], features, avail)

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key)
        return {"guess": guess.init(keys[0]), "act": act.init(keys[1])}

    agent = Agent(
        kind=f"{kind} + {kind}",
        inputs=inputs,
        width=width,
        n_actions=n_actions,
        init=init,
        carry=lambda: (guess.carry(), act.carry()),
        encode=lambda params, x: guess.encode(params["guess"], x),
        think=think,
        head=head,
        layers=((kind, inputs, width, fused), (kind, inputs + fused, width, n_actions)),
    )
    return agent, guess


class Pieces(NamedTuple):
    """Who learns.

    Attributes:
        td: the teacher's side as in `qlearning`.
        student: the team that is deployed.
        fuse: from what an agent sees and the state to its personalised state.
        predictor: a team whose scores are predictions.
    """

    td: Parts
    student: Policy
    fuse: Net
    predictor: Policy


def build(env: Environment, config: PtdeConfig) -> Pieces:
    """Teacher, students and predictor; raises BadInput for students of several networks."""
    spec, history = env.spec, view("local+action")
    local = assemble(env, config)
    if len(local.agent.groups) != 1 or config.sight != "full":
        raise BadInput(
            f"size = {config.size!r}, sight = {config.sight!r}: ptde needs one network of full sight for all"
        )
    own, width = history.width(spec), local.agent.groups[0].agent.width
    fuse, fused = fusion("full", own, spec.state_width, spec.n_agents, config.fusion_width, config.generator)
    joined = Net(fuse.init, lambda p, l, s: jnp.concatenate([l, fuse.apply(p, l, s)], -1))
    td = local.of(*central_team(spec, config.core, width, history, joined, own + fused))
    agent, guess = predicting_agent(config.core, own, width, fused, spec.n_actions)
    student = team((Group(tuple(range(spec.n_agents)), agent, history),))
    return Pieces(td, student, fuse, predictor(spec, guess, own, width, fused, config.core))


def predictor(spec: Spec, guess: Core, own: int, width: int, fused: int, kind: str) -> Policy:
    """The predicting part as a team of its own, whose scores are predictions; none of them is ever masked."""
    history, agent = view("local+action"), Agent(kind, own, width, fused, *guess)
    inner = team((Group(tuple(range(spec.n_agents)), agent, view("local-no-id")),))

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        rows = history.read(timestep)
        every = jnp.ones((*rows.shape[:-1], fused), bool)
        return inner.step(params, carry, timestep._replace(obs=rows, avail=every), key)

    return Policy(inner.init, inner.carry, step)


def prediction_loss(pieces: Pieces, guess: Params, teacher: Params, data: Sequences) -> tuple[Array, Metrics]:
    """Squared error of the predicted personalised state, over living agents."""
    steps = data.steps
    goal = pieces.fuse.apply(teacher["fuse"], view("local+action").read(steps), steps.state)
    carry = pieces.predictor.carry(steps.last.shape[1])
    # The predictor's memory starts empty, not at the sequence's beginning: the burn-in warms it up.
    told = unroll(pieces.predictor, guess, carry, steps, steps.first).scores
    assert told is not None
    where = data.counts[..., None] & steps.alive[:-1]
    loss = masked_mean(jnp.square(told - jax.lax.stop_gradient(goal)).mean(-1)[:-1], where)
    spread = masked_mean(jnp.square(goal - goal.mean((0, 1, 2))).mean(-1)[:-1], where)
    return loss, {"prediction": loss, "unexplained": loss / jnp.maximum(spread, 1e-8)}


def student_params(state: PtdeState) -> Params:
    """The predictor in front of the teacher's network."""
    return ({"guess": state.guess.params[0], "act": state.q.online.params["agent"]["team"][0]},)


def ptde(env: Environment, config: PtdeConfig, teacher: Frozen | None = None) -> Method:
    """Q-learning on personalised state, then prediction of it.

    Raises:
        BadInput: a teacher was named, or students of several networks. From `init`: replay would not fit.
    """
    if teacher is not None:
        raise BadInput("teacher: ptde trains its own; distil a finished one with kd_marl, kl or bc")
    pieces = build(env, config)
    td, tx = pieces.td, pieces.td.tx
    acting = exploring(td)
    behaviour = acting._replace(plays=lambda state, progress: acting.plays(state.q, progress))

    def init(key: PRNGKeyArray) -> PtdeState:
        keys = jax.random.split(key, 3)
        params = {"agent": td.agent.init(keys[0]), "mix": td.mix.init(keys[1])}
        zero = jnp.zeros((), jnp.int32)
        q = QState(learner(tx, params), params, zero, ())  # type: ignore[arg-type]
        guess = learner(tx, pieces.predictor.init(keys[2]))
        return PtdeState(q._replace(replay=room(td, env, behaviour, PtdeState(q, guess))), guess)

    def train(
        state: PtdeState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[PtdeState, Metrics]:
        q = state.q._replace(replay=remembered(td, state.q.replay, played["teacher"]))
        go = lambda: improve(td, q, key, progress)
        now, told = once_warm(td, q.replay, go, Learning(q.online, q.target, q.steps))
        return state._replace(q=QState(now.online, now.target, now.steps, q.replay)), told

    def predict(state: PtdeState, played: Any, key: PRNGKeyArray, progress: Array) -> tuple[PtdeState, Metrics]:
        data = sampled(td, state.q.replay, key)
        frozen = state.q.online.params["agent"]
        loss = lambda params: prediction_loss(pieces, params, frozen, data)
        guess, told = descend(tx, state.guess, loss, config.lr * (1 - progress))
        return state._replace(guess=guess), told

    return Method(
        init=init,
        stages=(
            Stage("train", {"teacher": behaviour}, train, config.steps, evaluated=False),
            Stage("predict", {}, predict, config.predict, unit="updates", fixed=("q",)),
        ),
        roles={"student": pieces.student, "teacher": td.agent},
        params=lambda state: {"student": student_params(state), "teacher": state.q.online.params["agent"]},
        beside=("teacher",),
    )

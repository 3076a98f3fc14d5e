"""PTDE: a team learns with personalised state, then predicts it and acts without. Here the value-based form.

Stage `train`: Q-learning; each agent reads what it sees and the state personalised for it. Stage `predict`: a recurrent
predictor learns that personalised state from what the agent sees; nothing else changes. Executed is the team with the
prediction in the state's place. The form on MAPPO is `ptde_mappo`.
Reference: Chen et al. 2022 (PTDE), as reported second-hand; see docs/methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from tutelage.configs.ddn import PtdeConfig, PtdeMappoConfig
from tutelage.data.collect import unroll
from tutelage.errors import BadInput
from tutelage.learning.losses import masked_mean
from tutelage.learning.optim import Learner, annealed, descend, init_learner
from tutelage.methods.central import Reader, central_team
from tutelage.methods.off_policy import Sequences, learn_on, once_warm, remembered, room
from tutelage.methods.qlearning import (
    Learning,
    Parts,
    QState,
    assemble,
    exploring,
    improve,
)
from tutelage.networks.cores import Core, Net, make_core
from tutelage.networks.fusion import fusion_net
from tutelage.policies.agent import Agent, Group, make_team
from tutelage.policies.views import View, view
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
    guess, act = (
        make_core(kind, inputs, width, fused, gain=1.0),
        make_core(kind, inputs + fused, width, n_actions, gain=1.0),
    )

    def think(params: Params, carry: Carry, x: Float[Array, " D"]) -> tuple[Carry, Float[Array, " H"]]:
        before, remembered = carry or ((), ())
        mine, h = guess.think(params["guess"], before, x)
        z = guess.head(params["guess"], h, jnp.ones(fused, bool))
        theirs, features = act.think(params["act"], remembered, jnp.concatenate([x, z]))
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


class Guessing(NamedTuple):
    """What the second stage learns.

    Attributes:
        seen: what agents see.
        fuse: from that and the state to the personalised state of every agent.
        predictor: a team whose scores are predictions of it.
        student: the team that is deployed.
    """

    seen: View
    fuse: Net
    predictor: Policy
    student: Policy


class Pieces(NamedTuple):
    """The teacher's side as in `qlearning`, and what predicts."""

    td: Parts
    guessing: Guessing


def central(
    spec: Spec, config: PtdeConfig | PtdeMappoConfig, width: int, seen: View, gain: float
) -> tuple[Policy, Reader, Guessing]:
    """The team that reads the personalised state, how it reads sequences, and what will predict for it."""
    own = seen.width(spec)
    fuse, fused = fusion_net("full", own, spec.state_width, spec.n_agents, config.fusion_width, config.generator)
    joined = Net(fuse.init, lambda p, l, s: jnp.concatenate([l, fuse.apply(p, l, s)], -1))
    teacher, read = central_team(spec, config.core, width, seen, joined, own + fused, gain)
    agent, guess = predicting_agent(config.core, own, width, fused, spec.n_actions)
    student = make_team((Group(tuple(range(spec.n_agents)), agent, seen),))
    predictor = predicting_team(spec, guess, own, width, fused, config.core, seen)
    return teacher, read, Guessing(seen, fuse, predictor, student)


def only_width(groups: tuple[Group, ...], sight: str, size: str) -> int:
    """The width of the one network that all share; BadInput where there are several, or sight is restricted."""
    if len(groups) != 1 or sight != "full":
        raise BadInput(f"size = {size!r}, sight = {sight!r}: ptde needs one network of full sight for all")
    return groups[0].agent.width


def build(env: Environment, config: PtdeConfig) -> Pieces:
    """Teacher, students and predictor; raises BadInput for students of several networks."""
    local = assemble(env, config)
    width = only_width(local.agent.groups, config.sight, config.size)
    teacher, read, guessing = central(env.spec, config, width, view("local+action"), gain=1.0)
    return Pieces(local.of(teacher, read), guessing)


def predicting_team(spec: Spec, guess: Core, own: int, width: int, fused: int, kind: str, seen: View) -> Policy:
    """The predicting part as a team of its own, whose scores are predictions; none of them is ever masked."""
    agent = Agent(kind, own, width, fused, *guess)
    inner = make_team((Group(tuple(range(spec.n_agents)), agent, view("local-no-id")),))

    def step(params: Params, carry: Carry, timestep: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        rows = seen.read(timestep)
        every = jnp.ones((*rows.shape[:-1], fused), bool)
        return inner.step(params, carry, timestep._replace(obs=rows, avail=every), key)

    return Policy(inner.init, inner.carry, step)


def prediction_loss(
    guessing: Guessing, guess: Params, fuse: Params, carry: Carry, steps: TimeStep, where: Bool[Array, "T B"]
) -> tuple[Array, Metrics]:
    """Squared error of the predicted personalised state, over living agents.

    Args:
        guess, fuse: parameters of the predictor and of the fusion (which is not changed).
        carry: the predictor's memory before the first step.
        steps: leaves (T, B, ...).
        where: steps that count.
    """
    goal = jax.lax.stop_gradient(guessing.fuse.apply(fuse, guessing.seen.read(steps), steps.state))
    told = unroll(guessing.predictor, guess, carry, steps, steps.first).scores
    assert told is not None
    living = where[..., None] & steps.acts
    loss = masked_mean(jnp.square(told - goal).mean(-1), living)
    typical = jnp.where(living[..., None], goal, 0.0).sum((0, 1, 2)) / jnp.maximum(living.sum(), 1)
    spread = masked_mean(jnp.square(goal - typical).mean(-1), living)
    return loss, {"prediction": loss, "unexplained": loss / jnp.maximum(spread, 1e-8)}


def student_params(guess: Params, teacher: Params) -> Params:
    """The predictor in front of the teacher's network."""
    return ({"guess": guess[0], "act": teacher["team"][0]},)


def ptde(env: Environment, config: PtdeConfig, teacher: Frozen | None = None) -> Method:
    """Q-learning on personalised state, then prediction of it.

    Raises:
        BadInput: a teacher was named, or students of several networks. From `init`: replay would not fit.
    """
    if teacher is not None:
        raise BadInput("teacher: ptde trains its own; distil a finished one with kd_marl, kl or bc")
    td, guessing = build(env, config)
    tx = td.tx
    acting = exploring(td)
    behaviour = acting._replace(plays=lambda state, progress: acting.plays(state.q, progress))

    def init(key: PRNGKeyArray) -> PtdeState:
        keys = jax.random.split(key, 3)
        params = {"agent": td.agent.init(keys[0]), "mix": td.mix.init(keys[1])}
        q = QState(Learning(init_learner(tx, params), params, jnp.zeros((), jnp.int32)), ())  # type: ignore[arg-type]
        guess = init_learner(tx, guessing.predictor.init(keys[2]))
        return PtdeState(q._replace(replay=room(td, env, behaviour, PtdeState(q, guess))), guess)

    def train(
        state: PtdeState, played: Mapping[str, Rollout], key: PRNGKeyArray, progress: Array
    ) -> tuple[PtdeState, Metrics]:
        q = state.q._replace(replay=remembered(td, state.q.replay, played["teacher"]))
        go = lambda: improve(td, q, key, progress)
        now, told = once_warm(td, q.replay, go, q.learning)
        return state._replace(q=QState(now, q.replay)), told

    def predict(state: PtdeState, played: Any, key: PRNGKeyArray, progress: Array) -> tuple[PtdeState, Metrics]:
        fuse = state.q.learning.online.params["agent"]["fuse"]

        def on(data: Sequences) -> tuple[Learner, Metrics]:
            steps = jax.tree.map(lambda x: x[:-1], data.steps)
            # The predictor's memory starts empty, not at the sequence's beginning: the burn-in warms it up.
            carry = guessing.predictor.carry(config.batch)
            loss = lambda params: prediction_loss(guessing, params, fuse, carry, steps, data.counts)
            return descend(tx, state.guess, loss, annealed(config, progress))

        guess, told = learn_on(td, state.q.replay, key, on)
        return state._replace(guess=guess), told

    return Method(
        init=init,
        stages=(
            Stage("train", {"teacher": behaviour}, train, config.steps, evaluated=False),
            Stage("predict", {}, predict, config.predict, unit="updates", fixed=("q",)),
        ),
        roles={"student": guessing.student, "teacher": td.agent},
        params=lambda state: {
            "student": student_params(state.guess.params, state.q.learning.online.params["agent"]),
            "teacher": state.q.learning.online.params["agent"],
        },
        also_tested=("teacher",),
    )

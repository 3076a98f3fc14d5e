"""A hierarchical teacher: a coordinator gives every agent a goal for a while, executors act on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.learning.shaping import of_goal
from tutelage.networks.cores import Net
from tutelage.networks.hierarchy import coordinator, executor, goal_value
from tutelage.policies.views import View
from tutelage.types import Carry, Goals, Out, Params, Policy, Spec, TimeStep


class Drawn(NamedTuple):
    """What a hierarchical teacher decided in a step, (B, ...).

    Attributes:
        goal: (B, N) the goal that each agent holds; M is none.
        due: (B,) whether goals were given anew.
        logits: (B, N, M + 1) the coordinator's, before anybody has a goal; also where none were due.
    """

    goal: Int[Array, "*T B N"]
    due: Bool[Array, "*T B"]
    logits: Float[Array, "*T B N M1"]


@dataclass(frozen=True)
class Hierarchy:
    """The parts of the teacher. Parameters are {coordinator, executor (one entry per class of agents)}.

    Attributes:
        coordinator, value: networks; see `networks.hierarchy`.
        executors: one per class. members: whose numbers it has.
        seen: what an executor reads beside its goal.
        goals: M.
        every: steps that goals are held.
        spread: what a goal's logit loses for every agent that has it already.
        flat: nobody ever has a goal.
    """

    coordinator: Net
    value: Net
    executors: tuple[Net, ...]
    members: tuple[tuple[int, ...], ...]
    seen: View
    goals: int
    every: int
    spread: float
    flat: bool


def hierarchy(
    spec: Spec, shape: Any, seen: View, width: int, pair_width: int, every: int, spread: float, flat: bool
) -> Hierarchy:
    """Build the parts. `shape`: shapes of one instance's `Goals`, as `jax.eval_shape(env.goals, state)` gives them."""
    _, m, f = shape.features.shape
    types = list(dict.fromkeys(spec.agent_types))
    members = tuple(tuple(i for i, t in enumerate(spec.agent_types) if t == kind) for kind in types)
    inputs = seen.width(spec)
    return Hierarchy(
        coordinator=coordinator(f, spec.state_width, spec.n_agents, pair_width),
        value=goal_value(spec.state_width, inputs, f + 1, width),
        executors=tuple(executor(inputs, f + 1, width, spec.n_actions) for _ in types),
        members=members,
        seen=seen,
        goals=m,
        every=every,
        spread=spread,
        flat=flat,
    )


def init_executors(parts: Hierarchy, key: PRNGKeyArray) -> Params:
    keys = jax.random.split(key, len(parts.executors))
    return [net.init(k) for net, k in zip(parts.executors, keys, strict=True)]


def all_goals(goals: Goals) -> Float[Array, "*b N M1 G"]:
    """What an executor reads of every goal, none as the last: the pair's features and whether there is a goal."""
    lead = goals.features.shape[:-2]
    real = jnp.concatenate([goals.features, jnp.ones((*lead, goals.features.shape[-2], 1))], -1)
    return jnp.concatenate([real, jnp.zeros((*lead, 1, real.shape[-1]))], -2)


def held(goals: Goals, goal: Int[Array, "*b N"]) -> Float[Array, "*b N G"]:
    """What an executor reads of the goal that each agent holds."""
    real = (goal < goals.valid.shape[-1])[..., None]
    features = of_goal(goals.features, goal)
    return jnp.where(real, jnp.concatenate([features, jnp.ones_like(features[..., :1])], -1), 0.0)


def possible(goals: Goals) -> Bool[Array, "*b N M1"]:
    """Which goals may be held; none always."""
    return jnp.concatenate([goals.valid, jnp.ones((*goals.valid.shape[:-1], 1), bool)], -1)


def still(goals: Goals, goal: Int[Array, "*b N"]) -> Int[Array, "*b N"]:
    """A goal that died while held becomes none."""
    fine = jnp.take_along_axis(possible(goals), goal[..., None], -1)[..., 0]
    return jnp.where(fine, goal, goals.valid.shape[-1])


def coordinate(parts: Hierarchy, params: Params, goals: Goals, state: Float[Array, "*b S"]) -> Float[Array, "*b N M1"]:
    """Logits of every agent's goals, before anybody has one."""
    if parts.flat:
        return jnp.where(jnp.arange(parts.goals + 1) == parts.goals, 0.0, jnp.full(possible(goals).shape, -1e9))
    return parts.coordinator.apply(params, goals.features, goals.valid, state)


def lasting(can: Bool[Array, "T B *n"], due: Bool[Array, "T B"]) -> Bool[Array, "T B *n"]:
    """Whether what may be held at each step (see `possible`) has been so ever since the decision before."""

    def body(before: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        can, due = step
        now = can & (before | due)
        return now, now

    wide = due.reshape(*due.shape, *[1] * (can.ndim - 2))
    return jax.lax.scan(body, jnp.ones_like(can[0]), (can, wide))[1]


def same_thing(parts: Hierarchy, goals: Goals, i: int, goal: Int[Array, "*b"]) -> Bool[Array, "*b N M1"]:
    """Which goals of which agents are about what agent i's goal is about; none is about nothing."""
    thing = of_goal(goals.thing[..., i, :], goal)
    same = (goals.thing == thing[..., None, None]) & (goal < parts.goals)[..., None, None]
    return jnp.pad(same, [(0, 0)] * (same.ndim - 1) + [(0, 1)])


def one_by_one(
    parts: Hierarchy, goals: Goals, logits: Float[Array, "*b N M1"], choose: Any
) -> tuple[Int[Array, "*b N"], Float[Array, "*b N M1"]]:
    """Give goals to one agent after another; a goal's logit falls with every agent that has its thing already.

    Args:
        choose: (agent's number, log-probabilities (..., M + 1)) -> goal (...).

    Returns:
        The goals, and every agent's log-probabilities given its predecessors' goals.
    """
    chosen, logs, taken = [], [], jnp.zeros(logits.shape)
    for i in range(logits.shape[-2]):
        log = jax.nn.log_softmax(logits[..., i, :] - parts.spread * taken[..., i, :])
        goal = choose(i, log)
        taken = taken + same_thing(parts, goals, i, goal)
        chosen.append(goal)
        logs.append(log)
    return jnp.stack(chosen, -1), jnp.stack(logs, -2)


def given(
    parts: Hierarchy, goals: Goals, logits: Float[Array, "*b N M1"], goal: Int[Array, "*b N"]
) -> Float[Array, "*b N M1"]:
    """Log-probabilities of every agent's goals where these were given."""
    return one_by_one(parts, goals, logits, lambda i, log: goal[..., i])[1]


def execute(
    parts: Hierarchy, params: Params, rows: Float[Array, "*b N D"], goal: Array, avail: Bool[Array, "*b N A"]
) -> Float[Array, "... A"]:
    """Logits of all agents under goals (..., N, G), or under several each (..., N, M, G) -> (..., N, M, A)."""
    axis = rows.ndim - 2
    first = [jnp.moveaxis(x, axis, 0) for x in (rows, goal, avail)]
    outs = [
        net.apply(own, *(x[np.array(members)] for x in first))
        for net, own, members in zip(parts.executors, params, parts.members, strict=True)
    ]
    order = np.argsort([i for members in parts.members for i in members])
    return jnp.moveaxis(jnp.concatenate(outs)[order], 0, axis)


def teacher_policy(parts: Hierarchy, explore: bool, random_goals: bool = False) -> Policy:
    """The teacher as a policy.

    Args:
        explore: goals are drawn, not the likeliest.
        random_goals: any possible goal instead of the coordinator's (for pre-training executors).
    """

    def init(key: PRNGKeyArray) -> Params:
        keys = jax.random.split(key)
        return {"coordinator": parts.coordinator.init(keys[0]), "executor": init_executors(parts, keys[1])}

    def carry(n: int) -> Carry:
        return jnp.full((n, sum(map(len, parts.members))), parts.goals, jnp.int32), jnp.zeros(n, jnp.int32)

    def step(params: Params, carry: Carry, ts: TimeStep, key: PRNGKeyArray) -> tuple[Carry, Out]:
        goal, clock = carry
        due = clock % parts.every == 0
        if random_goals:
            logits = jnp.where(possible(ts.goals), 0.0, -1e9)
        else:
            logits = coordinate(parts, params["coordinator"], ts.goals, ts.state)
        keys = jax.random.split(key, goal.shape[-1])
        pick = lambda i, log: jax.random.categorical(keys[i], log) if explore else log.argmax(-1)
        drawn, _ = one_by_one(parts, ts.goals, logits, pick)
        goal = still(ts.goals, jnp.where(due[:, None], drawn, goal).astype(jnp.int32))
        scores = execute(parts, params["executor"], parts.seen.read(ts), held(ts.goals, goal), ts.avail)
        return (goal, clock + 1), Out(scores, extra=Drawn(goal, due, logits))

    return Policy(init, carry, step, goals=True)

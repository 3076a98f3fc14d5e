"""Experience as a hierarchical teacher's: which goals were held, and what students' acts say about theirs.

Reference: HINT (arXiv 2601.05407); the posterior over goals is our reconstruction.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.networks.cores import Net
from tutelage.policies.hierarchy import (
    Hierarchy,
    all_goal_features,
    assign_sequentially,
    coordinate,
    execute,
    held_goals,
    valid_goals,
    valid_since_decision,
)
from tutelage.types import Goals, Params, Rollout, TimeStep


class Parts(NamedTuple):
    """Settings and networks."""

    config: HintConfig
    tree: Hierarchy
    team: Net


class Told(NamedTuple):
    """Experience as a hierarchical teacher's, (T, B, ...), D decisions per environment at most.

    What the teacher makes of it is that of the teacher that was there, before it learns from this.

    Attributes:
        steps, valid: as in a Rollout.
        prior: (T, B, N, M + 1) the coordinator's logits, before anybody has a goal.
        under: (T, B, N, M + 1, A) log-probabilities of actions by the executors, under every goal.
        goal: (T + 1, B, N) what each agent held.
        when: (D, B) steps at which goals were given. some: (D, B) whether there was such a decision.
        given: (D, B, N) the goals given then.
        choice: (D, B, N, M + 1) how likely each goal was the one meant; one-hot where it is known.
        high: (D, B, N) min(1, ratio) of each agent's acts until the next decision, whatever goal was meant.
        old: (T, B, N) log-probability of the actions by executors with these goals.
        ratio: (T, B, N) of that to the probability by whoever acted.
    """

    steps: TimeStep
    valid: Bool[Array, "T B"]
    prior: Float[Array, "T B N M1"]
    under: Float[Array, "T B N M1 A"]
    goal: Int[Array, "T1 B N"]
    when: Int[Array, "D B"]
    some: Bool[Array, "D B"]
    given: Int[Array, "D B N"]
    choice: Float[Array, "D B N M1"]
    high: Float[Array, "D B N"]
    old: Float[Array, "T B N"]
    ratio: Float[Array, "T B N"]


def at(when: Int[Array, "D B"], x: Array) -> Array:
    """(D, B, ...) of (T, B, ...): the entries at the decisions."""
    return jnp.take_along_axis(x, when.reshape(*when.shape, *[1] * (x.ndim - 2)), 0)


def decisions(due: Bool[Array, "T B"], valid: Bool[Array, "T B"], every: int) -> tuple[Array, Array]:
    """When goals were given, in order, and which of these entries are real: at most D per environment."""
    t = due.shape[0]
    time = jnp.arange(t)[:, None]
    most = t // every + t // 20 + 2  # a new decision follows every start of an episode
    when = jnp.sort(jnp.where(due & valid, time, t), 0)[: min(most, t)]
    return jnp.minimum(when, t - 1), when < t


def due_of(told: Told) -> Bool[Array, "T B"]:
    """At which steps goals were given."""
    due = jnp.zeros(told.valid.shape, bool)
    return due.at[told.when, jnp.arange(due.shape[1])[None]].max(told.some)


def schedule(first: Bool[Array, "T B"], every: int) -> Bool[Array, "T B"]:
    """When a teacher that began here would have given goals: at once, when episodes start, and every so many steps."""

    def body(age: Array, first: Array) -> tuple[Array, Array]:
        age = jnp.where(first, 0, age)
        return age + 1, age % every == 0

    return jax.lax.scan(body, jnp.zeros(first.shape[1], jnp.int32), first)[1]


def until_next(x: Float[Array, "T B ..."], due: Bool[Array, "T B"], valid: Bool[Array, "T B"]) -> Array:
    """Sums of x from each step to the one before the next decision."""
    wide = lambda z: z.reshape(*z.shape, *[1] * (x.ndim - 2))
    goes_on = jnp.concatenate([~due[1:], jnp.zeros_like(due[:1])])

    def body(after: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, valid, goes_on = step
        now = jnp.where(valid, x, 0.0) + jnp.where(goes_on, after, 0.0)
        return now, now

    return jax.lax.scan(body, jnp.zeros_like(x[0]), (x, wide(valid), wide(goes_on)), reverse=True)[1]


def goals_at(steps: TimeStep, when: Int[Array, "D B"]) -> Goals:
    """Goals at the decisions."""
    return jax.tree.map(lambda x: at(when, x), steps.goals)


def spread_out(given: Int[Array, "D B N"], due: Bool[Array, "T B"], steps: TimeStep) -> Int[Array, "T+1 B N"]:
    """What each agent holds at each step where goals were given so at those that are due.

    What died is none until the next decision, as when the teacher plays.
    """
    due = jnp.concatenate([due, jnp.zeros_like(due[:1])])
    goal = at(jnp.clip(jnp.cumsum(due, 0) - 1, 0, given.shape[0] - 1), given)
    fine = valid_since_decision(held_goals(steps.goals, goal) == goal, due)
    return jnp.where(fine, goal, steps.goals.valid.shape[-1])


def acts_under(parts: Parts, params: Params, now: TimeStep) -> Float[Array, "T B N M1 A"]:
    """Log-probabilities of actions under every goal, none as the last."""
    tree = parts.tree

    def one(now: TimeStep) -> Array:
        return jax.nn.log_softmax(
            execute(tree, params["executor"], tree.view.read(now), all_goal_features(now.goals), now.avail)
        )

    return jax.lax.map(one, now)  # step by step: what all steps make in between is too large for a cache


def of_acts(under: Float[Array, "T B N M1 A"], action: Int[Array, "T B N"]) -> Float[Array, "T B N M1"]:
    """Log-probabilities of what was done, under every goal."""
    done = jnp.broadcast_to(action[..., None, None], (*under.shape[:-1], 1))
    return jnp.take_along_axis(under, done, -1)[..., 0]


def of_teacher(parts: Parts, params: Params, rollout: Rollout) -> Told:
    """The teacher's own experience: goals are known, ratios are 1."""
    tree, drawn = parts.tree, rollout.out
    final = jax.tree.map(lambda x: x[-1], rollout.steps.goals)
    goal = jnp.concatenate([drawn.goal, held_goals(final, drawn.goal[-1])[None]])
    when, some = decisions(drawn.due, rollout.valid, parts.config.every)
    chosen, one = at(when, drawn.goal), jnp.ones(rollout.log_prob.shape)
    under = acts_under(parts, params, jax.tree.map(lambda x: x[:-1], rollout.steps))
    return Told(
        rollout.steps, rollout.valid, drawn.logits, under, goal, when, some, chosen,
        jax.nn.one_hot(chosen, tree.goals + 1), jnp.ones(chosen.shape), rollout.log_prob, one,
    )  # fmt: skip


def of_students(parts: Parts, params: Params, rollout: Rollout, key: PRNGKeyArray) -> Told:
    """Students' experience, with goals that explain what they did.

    Per agent and stretch of steps between two decisions, goal j explains the acts by l_j = sum_t log pi(a_t | s_t, j)
    (by no goal from where j has died), and q_j ~ pi_H(j | s) e^{l_j}. Goals are drawn from q, one agent after another.
    """
    tree, steps, valid = parts.tree, rollout.steps, rollout.valid
    now = jax.tree.map(lambda x: x[:-1], steps)
    due = schedule(now.first, parts.config.every)
    when, some = decisions(due, valid, parts.config.every)
    under = acts_under(parts, params, now)
    every = of_acts(under, steps.action[1:])
    every = jnp.where(valid_since_decision(valid_goals(now.goals), due), every, every[..., -1:])
    explains = at(when, until_next(every, due, valid))
    acted = at(when, until_next(rollout.log_prob, due, valid))

    prior = jax.lax.map(lambda x: coordinate(tree, params["coordinator"], *x), (now.goals, now.state))
    keys = jax.random.split(key, prior.shape[-2])
    relabel = parts.config.explain == "relabel"
    draw = lambda i, log: jax.random.categorical(keys[i], log if relabel else log + explains[..., i, :])
    chosen, logs = assign_sequentially(tree, goals_at(now, when), at(when, prior), draw)
    if relabel:
        choice = jax.nn.one_hot(chosen, tree.goals + 1)
        served = jnp.take_along_axis(explains, chosen[..., None], -1)[..., 0]
    else:
        choice = jax.nn.softmax(logs + explains)
        served = jax.nn.logsumexp(logs + explains, -1)
    goal = spread_out(chosen, due & valid, steps)
    old = jnp.take_along_axis(every, goal[:-1, ..., None], -1)[..., 0]
    high = jnp.exp(jnp.minimum(served - acted, 0.0))
    ratio = jnp.exp(jnp.minimum(old - rollout.log_prob, 20.0))
    return Told(steps, valid, prior, under, goal, when, some, chosen, choice, high, old, ratio)

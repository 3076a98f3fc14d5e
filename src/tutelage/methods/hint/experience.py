"""Experience of a hierarchical teacher: goals and ratios along rollouts of its own and of its students.

Students have no goals. For their rollouts, a posterior over goals is computed from their actions.

Reference: HINT (arXiv 2601.05407); the posterior over goals is our reconstruction.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from optax import GradientTransformation

from tutelage.configs.hint import HintConfig
from tutelage.data.transitions import transitions
from tutelage.networks.cores import Net
from tutelage.policies.hierarchy import (
    Hierarchy,
    assign_sequentially,
    coordinate,
    execute,
    executor_inputs,
    held_goals,
    valid_goals,
)
from tutelage.types import Goals, Params, Rollout, TimeStep


class HintNetworks(NamedTuple):
    """HINT's settings, the teacher's networks, (`value`) V(s) of teacher and students, and the optimiser of all."""

    config: HintConfig
    hierarchy: Hierarchy
    value: Net
    tx: GradientTransformation


class Experience(NamedTuple):
    """A rollout with goals and the teacher's log-probabilities, (T, B, ...); at most D decisions per environment.

    A decision is a step at which the coordinator gives goals. Logits, log-probabilities and ratios are those of the
    teacher before its update.

    Attributes:
        steps, valid: as in a Rollout.
        coordinator_logits: (T, B, N, M + 1) of goals, before any agent has one.
        goal_log_probs: (T, B, N, M + 1, A) executors' log-probabilities of actions, given each goal.
        goal: (T + 1, B, N) the goal that each agent holds.
        decision_steps: (D, B) steps of the decisions. valid_decisions: (D, B) which entries are decisions.
        assigned_goals: (D, B, N) the goals given at the decisions.
        goal_posterior: (D, B, N, M + 1) probability that each goal was held, given the actions; one-hot if known.
        coordinator_ratio: (D, B, N) min(1, ratio) of an agent's actions up to the next decision, summed over goals.
        old_log_prob: (T, B, N) executors' log-probability of the actions, given `goal`.
        ratio: (T, B, N) exp of that less the log-probability by the policy that acted.
    """

    steps: TimeStep
    valid: Bool[Array, "T B"]
    coordinator_logits: Float[Array, "T B N M1"]
    goal_log_probs: Float[Array, "T B N M1 A"]
    goal: Int[Array, "T1 B N"]
    decision_steps: Int[Array, "D B"]
    valid_decisions: Bool[Array, "D B"]
    assigned_goals: Int[Array, "D B N"]
    goal_posterior: Float[Array, "D B N M1"]
    coordinator_ratio: Float[Array, "D B N"]
    old_log_prob: Float[Array, "T B N"]
    ratio: Float[Array, "T B N"]


def at_decisions(decision_steps: Int[Array, "D B"], x: Array) -> Array:
    """The entries of x (T, B, ...) at the decisions, (D, B, ...)."""
    return jnp.take_along_axis(x, decision_steps.reshape(*decision_steps.shape, *[1] * (x.ndim - 2)), 0)


def find_decisions(due: Bool[Array, "T B"], valid: Bool[Array, "T B"], every: int) -> tuple[Array, Array]:
    """Steps of the decisions in order, (D, B), and which entries are decisions, (D, B).

    Args:
        due: steps at which goals are given. every: steps between two decisions, which bounds D.
    """
    t = due.shape[0]
    time = jnp.arange(t)[:, None]
    most = t // every + t // 20 + 2  # a new decision follows every start of an episode
    decision_steps = jnp.sort(jnp.where(due & valid, time, t), 0)[: min(most, t)]
    return jnp.minimum(decision_steps, t - 1), decision_steps < t


def decision_mask(experience: Experience) -> Bool[Array, "T B"]:
    """The steps that are decisions."""
    due = jnp.zeros(experience.valid.shape, bool)
    return due.at[experience.decision_steps, jnp.arange(due.shape[1])[None]].max(experience.valid_decisions)


def decision_schedule(first: Bool[Array, "T B"], every: int) -> Bool[Array, "T B"]:
    """Decisions of a teacher along a rollout: at its first step, at an episode's start, and every so many steps."""

    def body(age: Array, first: Array) -> tuple[Array, Array]:
        age = jnp.where(first, 0, age)
        return age + 1, age % every == 0

    return jax.lax.scan(body, jnp.zeros(first.shape[1], jnp.int32), first)[1]


def sum_until_next(x: Float[Array, "T B ..."], due: Bool[Array, "T B"], valid: Bool[Array, "T B"]) -> Array:
    """Sums of x over valid steps from each step to the one before the next decision."""
    expand = lambda z: z.reshape(*z.shape, *[1] * (x.ndim - 2))
    goes_on = jnp.concatenate([~due[1:], jnp.zeros_like(due[:1])])

    def body(after: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        x, valid, goes_on = step
        now = jnp.where(valid, x, 0.0) + jnp.where(goes_on, after, 0.0)
        return now, now

    return jax.lax.scan(body, jnp.zeros_like(x[0]), (x, expand(valid), expand(goes_on)), reverse=True)[1]


def goals_at_decisions(steps: TimeStep, decision_steps: Int[Array, "D B"]) -> Goals:
    """The `Goals` at the decisions, leaves (D, B, ...)."""
    return jax.tree.map(lambda x: at_decisions(decision_steps, x), steps.goals)


def valid_since_decision(valid: Bool[Array, "T B *n"], due: Bool[Array, "T B"]) -> Bool[Array, "T B *n"]:
    """Whether something valid at a step (see `valid_goals`) has been so in every step since the last decision."""

    def body(before: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        valid, due = step
        now = valid & (before | due)
        return now, now

    decides = due.reshape(*due.shape, *[1] * (valid.ndim - 2))
    return jax.lax.scan(body, jnp.ones_like(valid[0]), (valid, decides))[1]


def held_along(assigned: Int[Array, "D B N"], due: Bool[Array, "T B"], steps: TimeStep) -> Int[Array, "T+1 B N"]:
    """The goal that each agent holds at each step, for goals `assigned` at the steps that are due.

    A goal that becomes invalid is no goal until the next decision, as when the teacher acts.
    """
    due = jnp.concatenate([due, jnp.zeros_like(due[:1])])
    goal = at_decisions(jnp.clip(jnp.cumsum(due, 0) - 1, 0, assigned.shape[0] - 1), assigned)
    valid = valid_since_decision(held_goals(steps.goals, goal) == goal, due)
    return jnp.where(valid, goal, steps.goals.valid.shape[-1])


def conditional_log_probs(
    hierarchy: Hierarchy, goals: Goals, logits: Float[Array, "*b N M1"], goal: Int[Array, "*b N"]
) -> Float[Array, "*b N M1"]:
    """Every agent's log-probabilities of goals, given the goals `goal` of the agents before it."""
    return assign_sequentially(hierarchy, goals, logits, lambda i, log: goal[..., i])[1]


def action_log_probs(networks: HintNetworks, params: Params, now: TimeStep) -> Float[Array, "T B N M1 A"]:
    """Executors' log-probabilities of all actions, given each goal; the last is no goal."""
    hierarchy = networks.hierarchy

    def of_step(now: TimeStep) -> Array:
        return jax.nn.log_softmax(execute(hierarchy, params["executor"], *executor_inputs(hierarchy, now), now.avail))

    return jax.lax.map(of_step, now)  # step by step: the arrays of all steps at once exceed the cache


def taken_log_probs(log_probs: Float[Array, "T B N M1 A"], action: Int[Array, "T B N"]) -> Float[Array, "T B N M1"]:
    """Log-probabilities of the actions taken, given each goal."""
    taken = jnp.broadcast_to(action[..., None, None], (*log_probs.shape[:-1], 1))
    return jnp.take_along_axis(log_probs, taken, -1)[..., 0]


def teacher_experience(networks: HintNetworks, params: Params, rollout: Rollout) -> Experience:
    """Experience from a rollout of the teacher: goals are known and ratios are 1."""
    hierarchy, decision = networks.hierarchy, rollout.out
    final = jax.tree.map(lambda x: x[-1], rollout.steps.goals)
    goal = jnp.concatenate([decision.goal, held_goals(final, decision.goal[-1])[None]])
    decision_steps, valid_decisions = find_decisions(decision.due, rollout.valid, networks.config.every)
    assigned, ones = at_decisions(decision_steps, decision.goal), jnp.ones(rollout.log_prob.shape)
    goal_log_probs = action_log_probs(networks, params, transitions(rollout).now)
    return Experience(
        rollout.steps, rollout.valid, decision.logits, goal_log_probs, goal, decision_steps, valid_decisions, assigned,
        jax.nn.one_hot(assigned, hierarchy.goals + 1), jnp.ones(assigned.shape), rollout.log_prob, ones,
    )  # fmt: skip


def student_experience(networks: HintNetworks, params: Params, rollout: Rollout, key: PRNGKeyArray) -> Experience:
    """Experience from a rollout of students, with goals sampled from the posterior given their actions.

    For an agent's steps between two decisions, goal j has the log-likelihood l_j = sum_t log pi(a_t | s_t, j) (of no
    goal from the step on where j is invalid), and the posterior is q_j ~ pi_H(j | s) e^{l_j}. Goals are sampled from
    q, one agent after another.
    """
    hierarchy, (now, action, _, _, valid, _) = networks.hierarchy, transitions(rollout)
    due = decision_schedule(now.first, networks.config.every)
    decision_steps, valid_decisions = find_decisions(due, valid, networks.config.every)
    goal_log_probs = action_log_probs(networks, params, now)
    taken = taken_log_probs(goal_log_probs, action)
    taken = jnp.where(valid_since_decision(valid_goals(now.goals), due), taken, taken[..., -1:])
    log_likelihood = at_decisions(decision_steps, sum_until_next(taken, due, valid))
    played = at_decisions(decision_steps, sum_until_next(rollout.log_prob, due, valid))

    coordinator_logits = jax.lax.map(lambda x: coordinate(hierarchy, params["coordinator"], *x), (now.goals, now.state))
    keys = jax.random.split(key, coordinator_logits.shape[-2])
    relabel = networks.config.explain == "relabel"
    draw = lambda i, log: jax.random.categorical(keys[i], log if relabel else log + log_likelihood[..., i, :])
    assigned, conditional = assign_sequentially(
        hierarchy, goals_at_decisions(now, decision_steps), at_decisions(decision_steps, coordinator_logits), draw
    )
    if relabel:
        goal_posterior = jax.nn.one_hot(assigned, hierarchy.goals + 1)
        total = jnp.take_along_axis(log_likelihood, assigned[..., None], -1)[..., 0]
    else:
        goal_posterior = jax.nn.softmax(conditional + log_likelihood)
        total = jax.nn.logsumexp(conditional + log_likelihood, -1)
    goal = held_along(assigned, due & valid, rollout.steps)
    old_log_prob = jnp.take_along_axis(taken, goal[:-1, ..., None], -1)[..., 0]
    coordinator_ratio = jnp.exp(jnp.minimum(total - played, 0.0))
    ratio = jnp.exp(jnp.minimum(old_log_prob - rollout.log_prob, 20.0))
    return Experience(
        rollout.steps,
        valid,
        coordinator_logits,
        goal_log_probs,
        goal,
        decision_steps,
        valid_decisions,
        assigned,
        goal_posterior,
        coordinator_ratio,
        old_log_prob,
        ratio,
    )

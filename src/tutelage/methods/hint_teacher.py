"""HINT's teacher: it learns from its own experience and from its students', corrected for who acted.

Reference: HINT (arXiv 2601.05407). V-trace after Espeholt et al. 2018; the posterior over goals is our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.data.collect import epochs
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser, update_normaliser
from tutelage.learning.optim import Learner, clipped_adam, descend
from tutelage.learning.returns import vtrace
from tutelage.learning.shaping import goal_progress
from tutelage.methods.hint_experience import Parts, Told, at, due_of, goals_at
from tutelage.policies.hierarchy import conditional_log_probs, coordinate, execute, goal_features, valid_goals
from tutelage.types import Goals, Metrics, Params


class Teacher(NamedTuple):
    """What learns, with its optimisers.

    Attributes:
        coordinator, executor: of the policy.
        values: {each: V_i(s, g_i) of the team's rewards and of its goal's, team: V(s)} of the teacher.
        returns: scale of the team's returns, in which `team` speaks.
    """

    coordinator: Learner
    executor: Learner
    values: Learner
    returns: Normaliser

    @property
    def params(self) -> Params:
        """Of the teacher as a policy."""
        return {"coordinator": self.coordinator.params, "executor": self.executor.params}


class Lesson(NamedTuple):
    """What a pass learns from: leaves (T, B, ...) of steps and (D, B, ...) of decisions."""

    seen: Array
    goal: Array
    avail: Array
    action: Array
    old: Array
    weight: Array
    advantage: Array
    counts: Array
    state: Array
    each: Array
    team: Array
    valid: Array
    goals: Goals
    where: Array
    given: Array
    choice: Array
    before: Array
    high_weight: Array
    high_advantage: Array
    high_counts: Array


def team_value(parts: Parts, net: Params, returns: Normaliser, state: Array) -> Array:
    """V(s) in raw reward units, of the teacher or of the students."""
    return parts.team.apply(net, state) * returns.deviation + returns.mean


def lesson(parts: Parts, teacher: Teacher, told: Told, weight: float) -> Lesson:
    """Advantages and targets of one source of experience. `weight`: of what it says about acts and goals."""
    config, tree, steps = parts.config, parts.tree, told.steps
    now = jax.tree.map(lambda x: x[:-1], steps)
    seen, goal = tree.view.read(steps), goal_features(steps.goals, told.goal)
    values = teacher.values.params
    each = tree.value.apply(values["each"], steps.state, seen, goal)
    team = team_value(parts, values["team"], teacher.returns, steps.state)
    reward, discount = steps.reward[1:], steps.discount[1:]
    due = due_of(told)

    estimate = lambda paid, ahead, value: vtrace(paid, ahead, value, told.ratio, told.valid, config.gamma, config.lam)
    of_team = jnp.broadcast_to((reward / teacher.returns.deviation)[..., None], told.ratio.shape)
    of_goal = goal_progress(steps.goals, told.goal[:-1], now.first, config.gamma)
    for_team, team_part = estimate(of_team, discount, each[..., 0])
    for_goal, goal_part = estimate(of_goal, discount[..., None] * kept(told.goal, due, config.every), each[..., 1])
    # The team's value: the teacher would have done all of this, so one agent alone can rule it out.
    joint = jnp.minimum(told.ratio, 1.0).prod(-1)
    _, team_target = vtrace(reward, discount, team, joint, told.valid, config.gamma, config.lam)

    later = jnp.concatenate([config.lam * team_target + (1 - config.lam) * team[:-1], team[-1:]])
    earned = to_decision(reward, discount, later, due, told.valid, config.gamma)

    goals = goals_at(now, told.when)
    alive = told.valid[..., None] & now.acts
    return Lesson(
        seen=seen[:-1],
        goal=goal[:-1],
        avail=now.avail,
        action=steps.action[1:],
        old=told.old,
        weight=weight * jnp.minimum(told.ratio, 1.0),
        advantage=for_team + config.shaping * for_goal,
        counts=alive,
        state=now.state,
        each=jnp.stack([team_part, goal_part], -1),
        team=team_target,
        valid=told.valid,
        goals=goals,
        where=at(told.when, now.state),
        given=told.given,
        choice=told.choice,
        before=conditional_log_probs(tree, goals, at(told.when, told.prior), told.given),
        high_weight=weight * told.high,
        high_advantage=at(told.when, earned - team[:-1]),
        high_counts=told.some[..., None] & at(told.when, now.alive),
    )


def kept(goal: Int[Array, "T1 B N"], due: Bool[Array, "T1-1 B"], every: int) -> Bool[Array, "T1-1 B N"]:
    """Whether an agent still has its goal, from the same decision, a step later.

    What a goal pays ends with it: else each new goal would be an income of its own, which victory ends.
    """
    # Also after the last step, and where an episode ends: a decision is due so many steps after the last.
    time = jnp.arange(len(due))[:, None]
    last = jax.lax.cummax(jnp.where(due, time, -1), 0)
    again = ((last >= 0) & (time + 1 - last >= every)) | jnp.concatenate([due[1:], jnp.zeros_like(due[:1])])
    return (goal[1:] == goal[:-1]) & ~again[..., None]


def to_decision(
    reward: Array, discount: Array, value: Float[Array, "T1 B"], due: Array, valid: Array, gamma: float
) -> Float[Array, "T1-1 B"]:
    """sum_{j<m} g^j r + g^m d V, m the steps to the next decision, the episode's end or the end of what was seen."""
    again = jnp.concatenate([due[1:], jnp.ones_like(due[:1])]) | ~jnp.concatenate([valid[1:], valid[:1]])

    def body(after: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        reward, discount, value, again = step
        now = reward + gamma * discount * jnp.where(again, value, after)
        return now, now

    return jax.lax.scan(body, value[-1], (reward, discount, value[1:], again), reverse=True)[1]


def executor_loss(parts: Parts, params: Params, part: Lesson) -> tuple[Array, Metrics]:
    """Clipped surrogate of every agent's acts, given its goal, less an entropy bonus."""
    logits = execute(parts.tree, params, part.seen, part.goal, part.avail)
    log_prob = log_prob_of(logits, part.action)
    loss = clipped_surrogate(log_prob, part.old, part.advantage, part.counts, parts.config.clip, part.weight)
    spread = entropy(logits, part.counts)
    return loss - parts.config.entropy * spread, {"executor": loss, "executor_entropy": spread}


def coordinator_loss(parts: Parts, params: Params, part: Lesson) -> tuple[Array, Metrics]:
    """Clipped surrogate of the goals, each as likely as it was the one meant, less an entropy bonus.

    At the old parameters its gradient is that of the policy with the goal summed out.
    """

    def scores(decision: tuple[Goals, Array, Array]) -> Array:
        goals, where, counts = decision
        some = lambda: coordinate(parts.tree, params, goals, where)
        # There is room for more decisions than most rollouts hold: nothing is computed for those that nobody took.
        return jax.lax.cond(counts.any(), some, lambda: jnp.zeros(valid_goals(goals).shape))

    logits = jax.lax.map(scores, (part.goals, part.where, part.high_counts))
    now = conditional_log_probs(parts.tree, part.goals, logits, part.given)
    log_ratio = (part.choice * jnp.where(part.choice > 0, now - part.before, 0.0)).sum(-1)
    advantage = jnp.broadcast_to(part.high_advantage[..., None], log_ratio.shape)
    where, clip = part.high_counts, parts.config.clip
    loss = clipped_surrogate(log_ratio, jnp.zeros(()), advantage, where, clip, part.high_weight)
    spread = entropy(now, part.high_counts)
    return loss - parts.config.goal_entropy * spread, {"coordinator": loss, "goal_entropy": spread}


def values_loss(parts: Parts, params: Params, returns: Normaliser, part: Lesson) -> tuple[Array, Metrics]:
    """Squared errors of the values per agent and of the team's value, this in units of its deviation."""
    each = parts.tree.value.apply(params["each"], part.state, part.seen, part.goal)
    of_each = 0.5 * masked_mean(jnp.square(each - part.each).sum(-1), part.valid[..., None])
    error = (team_value(parts, params["team"], returns, part.state) - part.team) / returns.deviation
    of_team = 0.5 * masked_mean(jnp.square(error), part.valid)
    return of_each + of_team, {"value": of_each, "team_value": of_team}


def learn(
    parts: Parts, teacher: Teacher, lessons: list[Lesson], key: PRNGKeyArray, lr: Any, goals: bool
) -> tuple[Teacher, Metrics]:
    """A few shuffled passes over all experience. `goals`: whether the coordinator learns too."""
    config, tx = parts.config, clipped_adam(parts.config.grad_clip)
    whole: Lesson = jax.tree.map(lambda *x: jnp.concatenate(x, 1), *lessons)
    whole = whole._replace(
        advantage=normalise(whole.advantage, whole.counts & (whole.weight > 0)),
        high_advantage=normalise(whole.high_advantage, whole.high_counts.any(-1)),
    )
    returns = update_normaliser(teacher.returns, whole.team, whole.valid)
    keys = jax.random.split(key)

    def act(now: tuple[Learner, Learner], part: Lesson) -> tuple[tuple[Learner, Learner], Metrics]:
        executor, told = descend(tx, now[0], lambda p: executor_loss(parts, p, part), lr)
        values, more = descend(tx, now[1], lambda p: values_loss(parts, p, returns, part), lr)
        return (executor, values), told | more

    def send(now: Learner, part: Lesson) -> tuple[Learner, Metrics]:
        return descend(tx, now, lambda p: coordinator_loss(parts, p, part), lr)

    (executor, values), told = epochs(
        act, (teacher.executor, teacher.values), whole, keys[0], config.epochs, config.minibatches
    )
    coordinator = teacher.coordinator
    if goals:
        coordinator, more = epochs(send, coordinator, whole, keys[1], config.goal_epochs, config.minibatches)
        told |= more
    return Teacher(coordinator, executor, values, returns), told

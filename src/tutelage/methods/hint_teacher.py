"""HINT's teacher: it learns from its own experience and from its students', corrected for who acted.

Reference: HINT (arXiv 2601.05407). V-trace after Espeholt et al. 2018; the posterior over goals is our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.data.collect import passes
from tutelage.learning.losses import clipped_surrogate, entropy, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser, observe
from tutelage.learning.optim import Learner, clipped_adam, descend
from tutelage.learning.returns import vtrace
from tutelage.networks.cores import Net
from tutelage.policies.hierarchy import Hierarchy, all_goals, coordinate, execute, given, held, one_by_one, still
from tutelage.types import Goals, Metrics, Params, Rollout, TimeStep


class Teacher(NamedTuple):
    """What learns, with its optimisers.

    Attributes:
        coordinator, executor: of the policy.
        values: {each: V_i(s, g_i), team: V(s)} of the teacher.
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


class Parts(NamedTuple):
    """Settings and networks."""

    config: HintConfig
    tree: Hierarchy
    team: Net


class Told(NamedTuple):
    """Experience as a hierarchical teacher's, (T, B, ...), D decisions per environment at most.

    Attributes:
        steps, valid: as in a Rollout.
        goal: (T + 1, B, N) what each agent held.
        when: (D, B) steps at which goals were given. some: (D, B) whether there was such a decision.
        given: (D, B, N) the goals given then.
        choice: (D, B, N, M + 1) how likely each goal was the one meant; one-hot where it is known.
        high: (D, B, N) min(1, ratio) of the team's whole choice and acts until the next decision.
        old: (T, B, N) log-probability of the actions by executors with these goals, before the update.
        ratio: (T, B, N) of that to the probability by whoever acted.
    """

    steps: TimeStep
    valid: Bool[Array, "T B"]
    goal: Int[Array, "T+1 B N"]
    when: Int[Array, "D B"]
    some: Bool[Array, "D B"]
    given: Int[Array, "D B N"]
    choice: Float[Array, "D B N M+1"]
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


def goals_at(steps: TimeStep, when: Int[Array, "D B"]) -> tuple[Goals, Array]:
    """Goals and world state at the decisions."""
    return jax.tree.map(lambda x: at(when, x), steps.goals), at(when, steps.state)


def spread_out(given: Int[Array, "D B N"], due: Bool[Array, "T B"], steps: TimeStep) -> Int[Array, "T+1 B N"]:
    """What each agent holds at each step where goals were given so at those that are due; what died becomes none."""
    latest = jnp.clip(jnp.cumsum(due, 0) - 1, 0, given.shape[0] - 1)
    goal = at(latest, given)
    return still(steps.goals, jnp.concatenate([goal, goal[-1:]]))


def of_teacher(parts: Parts, rollout: Rollout) -> Told:
    """The teacher's own experience: goals are known, ratios are 1."""
    tree, drawn = parts.tree, rollout.out
    final = jax.tree.map(lambda x: x[-1], rollout.steps.goals)
    goal = jnp.concatenate([drawn.goal, still(final, drawn.goal[-1])[None]])
    when, some = decisions(drawn.due, rollout.valid, parts.config.every)
    chosen, one = at(when, drawn.goal), jnp.ones(rollout.log_prob.shape)
    return Told(
        rollout.steps, rollout.valid, goal, when, some, chosen, jax.nn.one_hot(chosen, tree.goals + 1),
        jnp.ones(chosen.shape), rollout.log_prob, one,
    )  # fmt: skip


def of_students(parts: Parts, params: Params, rollout: Rollout, key: PRNGKeyArray) -> Told:
    """Students' experience, with goals that explain what they did.

    Per agent and stretch of steps between two decisions, goal j explains the acts by l_j = sum_t log pi(a_t | s_t, j),
    and q_j ~ pi_H(j | s) e^{l_j}. Goals are drawn from q, one agent after another.
    """
    tree, steps, valid = parts.tree, rollout.steps, rollout.valid
    now = jax.tree.map(lambda x: x[:-1], steps)
    due = schedule(now.first, parts.config.every)
    when, some = decisions(due, valid, parts.config.every)
    logits = execute(tree, params["executor"], tree.seen.read(now), all_goals(now.goals), now.avail)
    action = steps.action[1:]
    every = log_prob_of(logits, jnp.broadcast_to(action[..., None], logits.shape[:-1]))
    explains = at(when, until_next(every, due, valid))
    acted = at(when, until_next(rollout.log_prob, due, valid))

    goals, state = goals_at(now, when)
    prior = coordinate(tree, params["coordinator"], goals, state)
    keys = jax.random.split(key, action.shape[-1])
    relabel = parts.config.explain == "relabel"
    draw = lambda i, log: jax.random.categorical(keys[i], log if relabel else log + explains[..., i, :])
    chosen, logs = one_by_one(tree, prior, draw)
    if relabel:
        choice = jax.nn.one_hot(chosen, tree.goals + 1)
        served = jnp.take_along_axis(explains, chosen[..., None], -1)[..., 0]
    else:
        choice = jax.nn.softmax(logs + explains)
        served = jax.nn.logsumexp(logs + explains, -1)
    goal = spread_out(chosen, due & valid, steps)
    old = jnp.take_along_axis(every, goal[:-1, ..., None], -1)[..., 0]
    high = jnp.exp(jnp.minimum(served - acted, 0.0))
    return Told(
        steps, valid, goal, when, some, chosen, choice, high, old, jnp.exp(jnp.minimum(old - rollout.log_prob, 20.0))
    )


def progress_of(parts: Parts, told: Told) -> Float[Array, "T B N"]:
    """Shaping: g Phi' - Phi of the goal held, and 1 where it was completed; 0 without a goal."""
    goals, held_now = told.steps.goals, told.goal[:-1]
    real = held_now < parts.tree.goals
    index = jnp.minimum(held_now, parts.tree.goals - 1)[..., None]
    of = lambda x: jnp.take_along_axis(x, index, -1)[..., 0]
    gain = parts.config.gamma * of(goals.potential[1:]) - of(goals.potential[:-1])
    done = of(goals.reached[1:]) & ~of(goals.reached[:-1])
    return jnp.where(real, gain + done, 0.0)


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
    """Advantages and targets of one source of experience. `weight`: of all its losses."""
    config, tree, steps = parts.config, parts.tree, told.steps
    now = jax.tree.map(lambda x: x[:-1], steps)
    seen, goal = tree.seen.read(steps), held(steps.goals, told.goal)
    values = teacher.values.params
    each = tree.value.apply(values["each"], steps.state, seen, goal)
    team = team_value(parts, values["team"], teacher.returns, steps.state)
    reward, discount = steps.reward[1:], steps.discount[1:]
    paid = (reward / teacher.returns.deviation)[..., None] + config.shaping * progress_of(parts, told)
    advantage, target = vtrace(paid, discount, each, told.ratio, told.valid, config.gamma, config.lam)
    # The team's value: how much of this is the teacher's doing is the mean over agents.
    _, team_target = vtrace(reward, discount, team, told.ratio.mean(-1), told.valid, config.gamma, config.lam)

    due = jnp.zeros(told.valid.shape, bool)
    columns = jnp.arange(due.shape[1])[None]
    due = due.at[told.when, columns].max(told.some)
    goals, where = goals_at(now, told.when)
    logits = coordinate(tree, teacher.coordinator.params, goals, where)
    alive = told.valid[..., None] & now.alive
    return Lesson(
        seen=seen[:-1],
        goal=goal[:-1],
        avail=now.avail,
        action=steps.action[1:],
        old=told.old,
        weight=weight * jnp.minimum(told.ratio, 1.0),
        advantage=advantage,
        counts=alive,
        state=now.state,
        each=target,
        team=team_target,
        valid=told.valid,
        goals=goals,
        where=where,
        given=told.given,
        choice=told.choice,
        before=given(tree, logits, told.given),
        high_weight=weight * told.high,
        high_advantage=at(told.when, to_decision(reward, discount, team, due, told.valid, config.gamma) - team[:-1]),
        high_counts=told.some[..., None] & at(told.when, now.alive),
    )


def to_decision(
    reward: Array, discount: Array, value: Float[Array, "T+1 B"], due: Array, valid: Array, gamma: float
) -> Float[Array, "T B"]:
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
    logits = coordinate(parts.tree, params, part.goals, part.where)
    now = given(parts.tree, logits, part.given)
    log_ratio = (part.choice * jnp.where(part.choice > 0, now - part.before, 0.0)).sum(-1)
    advantage = jnp.broadcast_to(part.high_advantage[..., None], log_ratio.shape)
    where, clip = part.high_counts, parts.config.clip
    loss = clipped_surrogate(log_ratio, jnp.zeros(()), advantage, where, clip, part.high_weight)
    spread = entropy(now, part.high_counts)
    return loss - parts.config.goal_entropy * spread, {"coordinator": loss, "goal_entropy": spread}


def values_loss(parts: Parts, params: Params, returns: Normaliser, part: Lesson) -> tuple[Array, Metrics]:
    """Squared errors of the values per agent and of the team's value, this in units of its deviation."""
    each = parts.tree.value.apply(params["each"], part.state, part.seen, part.goal)
    of_each = 0.5 * masked_mean(jnp.square(each - part.each), part.counts)
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
    returns = observe(teacher.returns, whole.team, whole.valid)
    keys = jax.random.split(key)

    def act(now: tuple[Learner, Learner], part: Lesson) -> tuple[tuple[Learner, Learner], Metrics]:
        executor, told = descend(tx, now[0], lambda p: executor_loss(parts, p, part), lr)
        values, more = descend(tx, now[1], lambda p: values_loss(parts, p, returns, part), lr)
        return (executor, values), told | more

    def send(now: Learner, part: Lesson) -> tuple[Learner, Metrics]:
        return descend(tx, now, lambda p: coordinator_loss(parts, p, part), lr)

    (executor, values), told = passes(
        act, (teacher.executor, teacher.values), whole, keys[0], config.epochs, config.minibatches
    )
    coordinator = teacher.coordinator
    if goals:
        coordinator, more = passes(send, coordinator, whole, keys[1], config.goal_epochs, config.minibatches)
        told |= more
    return Teacher(coordinator, executor, values, returns), told

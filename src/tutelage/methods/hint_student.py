"""HINT's students: what they are taught, and which of it is worth learning.

Reference: HINT (arXiv 2601.05407) for the filter by performance and DAgger; the exact rules are our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.hint import HintConfig
from tutelage.data.collect import passes, rows, unroll
from tutelage.learning.losses import clipped_surrogate, entropy, kl_divergence, log_prob_of, masked_mean, normalise
from tutelage.learning.normaliser import Normaliser
from tutelage.learning.optim import Learner, clipped_adam, descend
from tutelage.learning.returns import gae
from tutelage.methods.hint_experience import Parts, Told, at, decisions, due_of, goals_at, of_acts, spread_out
from tutelage.methods.hint_teacher import Teacher, team_value
from tutelage.policies.hierarchy import one_by_one, possible
from tutelage.types import Carry, Metrics, Params, Policy, TimeStep


class Labelled(NamedTuple):
    """What students learn from, leaves (T, B, ...); in the store with the iterations before T.

    Attributes:
        steps: what students see (world state and goals left out).
        carry: their memory entering the first step, leaves (B, ...).
        label: (T, B, N, A) the teacher's logits, over the temperature.
        keep: (T, B, N) what is worth learning.
    """

    steps: TimeStep
    carry: Carry
    label: Float[Array, "T B N A"]
    keep: Bool[Array, "T B N"]


class Acted(NamedTuple):
    """What students did themselves, for the PPO term, leaves (T, B, ...).

    Attributes:
        steps, carry: as in `Labelled`.
        action, log_prob, advantage, counts: (T, B, N).
    """

    steps: TimeStep
    carry: Carry
    action: Int[Array, "T B N"]
    log_prob: Float[Array, "T B N"]
    advantage: Float[Array, "T B N"]
    counts: Bool[Array, "T B N"]


def seen(steps: TimeStep) -> TimeStep:
    """(T, B, ...) of (T + 1, B, ...): what students see before each act."""
    now = jax.tree.map(lambda x: x[:-1], steps)
    return now._replace(state=(), goals=(), reward=(), discount=(), last=(), success=())


def labels(parts: Parts, told: Told) -> Float[Array, "T B N A"]:
    """What students are to match along experience, as logits: the teacher's distribution over actions.

    Under the best goals, given anew at every step (`best`) or by its own schedule of decisions (`held`); or with the
    goal of every step summed out (`all`), see `likely_goals`.
    """
    tree, config, now = parts.tree, parts.config, jax.tree.map(lambda x: x[:-1], told.steps)
    best = lambda i, log: log.argmax(-1)
    under = lambda goal: jnp.take_along_axis(told.under, goal[..., None, None], -2)[..., 0, :]
    if config.labels == "held":
        due = due_of(told).at[0].set(True) & told.valid  # a goal given before these steps is not known: anew
        when, _ = decisions(due, told.valid, config.every)
        goal = one_by_one(tree, goals_at(now, when), at(when, told.prior), best)[0]
        return under(spread_out(goal, due, told.steps)[:-1])
    goal, logs = one_by_one(tree, now.goals, told.prior, best)
    if config.labels == "best":
        return under(goal)
    acted = of_acts(told.under, told.steps.action[1:])
    given = jax.nn.softmax(config.sharpness * logs)
    weight = likely_goals(given, acted, possible(now.goals), now.first, config.renew)
    return jax.nn.logsumexp(jnp.log(weight)[..., None] + told.under, -2)


def likely_goals(
    given: Float[Array, "T B N G"],
    acted: Float[Array, "T B N G"],
    can: Bool[Array, "T B N G"],
    first: Bool[Array, "T B"],
    renew: float,
) -> Float[Array, "T B N G"]:
    """How likely each goal is the one held, before each step's act, for a teacher that may give it anew at any step.

    Who set out for one goal is so not told to turn back to another half of the time, and need not know when decisions
    fall: q_t ~ (1 - renew) q_{t-1} pi(a_{t-1} | j) / Z + renew pi_H(j | s_t), from pi_H where an episode begins.

    Args:
        given: probabilities by the coordinator. acted: log-probability of what was done then, under each goal.
        can: whether a goal may be held (the last, none, always): one that no longer may becomes none.
        renew: probability that goals are given at a step. The less, the more what was done decides, a slip as well.
    """

    def body(before: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        given, acted, can, first = step
        kept = jnp.where(can, before, 0.0)
        kept = kept.at[..., -1].add(jnp.where(can, 0.0, before).sum(-1))
        now = jnp.where(first[:, None, None], given, (1 - renew) * kept + renew * given)
        return jax.nn.softmax(jnp.log(now) + acted), now

    return jax.lax.scan(body, given[0], (given, acted, can, first))[1]


def episode(earned: Float[Array, "T B"], won: Bool[Array, "T B"], expected: Float[Array, "T B"]) -> Bool[Array, "T B"]:
    """Teacher episodes: kept where the episode was won, or earned at least what students would from there on."""
    return won | (earned >= expected)


def advantage(
    better: Float[Array, "T B"], agrees: Bool[Array, "T B N"], gain: Float[Array, "T B N"], margin: Any
) -> Bool[Array, "T B N"]:
    """Student episodes: kept where the teacher would do better from there, or where the act was the teacher's and paid.

    Args:
        better: the teacher's value less the students'.
        agrees: whether the act taken is the teacher's best. gain: its advantage.
    """
    return (better > margin)[..., None] | (agrees & (gain > 0))


def won_later(steps: TimeStep, valid: Bool[Array, "T B"]) -> Bool[Array, "T B"]:
    """Whether the episode that a step belongs to is won before the rollout ends."""
    final = steps.last[1:] & valid
    won = steps.success[1:] & final

    def body(after: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        final, won, valid = step
        now = jnp.where(final, won, after) & valid
        return now, now

    return jax.lax.scan(body, jnp.zeros(valid.shape[1], bool), (final, won, valid), reverse=True)[1]


def gained(config: HintConfig, told: Told, theirs: Float[Array, "T+1 B"]) -> Float[Array, "T B"]:
    """The advantage of what was done over what students are expected to earn."""
    steps = told.steps
    return gae(steps.reward[1:], steps.discount[1:], theirs, told.valid, config.gamma, config.lam)


def worth_of_own(
    parts: Parts, teacher: Teacher, told: Told, theirs: Float[Array, "T+1 B"]
) -> Bool[Array, "T B 1"]:
    """The filter of teacher episodes."""
    config, steps, scale = parts.config, told.steps, teacher.returns
    value = team_value(parts, teacher.values.params["team"], scale, steps.state)
    # From where an episode is cut off nobody has earned anything: there it is worth what students would make of it.
    value = jnp.where(steps.last, theirs, value)
    earned = gae(steps.reward[1:], steps.discount[1:], value, told.valid, config.gamma, 1.0) + value[:-1]
    return episode(earned, won_later(steps, told.valid), theirs[:-1] + config.margin * scale.deviation)[..., None]


def worth_of_theirs(
    parts: Parts, teacher: Teacher, told: Told, theirs: Float[Array, "T+1 B"], label: Array
) -> Bool[Array, "T B N"]:
    """The filter of student episodes."""
    config, scale = parts.config, teacher.returns
    better = team_value(parts, teacher.values.params["team"], scale, told.steps.state[:-1]) - theirs[:-1]
    agrees = label.argmax(-1) == told.steps.action[1:]
    return advantage(better, agrees, gained(config, told, theirs)[..., None], config.margin * scale.deviation)


def teach(
    parts: Parts, teacher: Teacher, told: Told, theirs: Float[Array, "T+1 B"], own: bool, carry: Carry
) -> Labelled:
    """Label one source of experience and keep what is worth learning.

    Args:
        theirs: what students are expected to earn from each step on.
        own: whether the teacher acted.
        carry: the students' memory entering the first step.
    """
    config, label = parts.config, labels(parts, told) / parts.config.temperature
    keep = told.valid[..., None] & told.steps.alive[:-1]
    if own and config.filter_own == "episode":
        keep &= worth_of_own(parts, teacher, told, theirs)
    if not own and config.filter_student == "advantage":
        keep &= worth_of_theirs(parts, teacher, told, theirs, label)
    return Labelled(seen(told.steps), carry, label, keep)


def acted(
    config: HintConfig, told: Told, theirs: Float[Array, "T+1 B"], log_prob: Float[Array, "T B N"], carry: Carry
) -> Acted:
    """Students' own experience as PPO reads it; `theirs`: what they are expected to earn from each step on."""
    counts = told.valid[..., None] & told.steps.alive[:-1]
    every = normalise(jnp.broadcast_to(gained(config, told, theirs)[..., None], counts.shape), counts)
    return Acted(seen(told.steps), carry, told.steps.action[1:], log_prob, every, counts)


def learn_student_value(
    parts: Parts,
    scale: Normaliser,
    learner: Learner,
    told: Told,
    value: Float[Array, "T+1 B"],
    key: PRNGKeyArray,
    lr: Any,
) -> tuple[Learner, Metrics]:
    """As many passes for the students' value, along their own episodes, as the teacher's gets: the two are compared.

    Args:
        scale: of the teacher's returns, in units of which both speak from now on.
        value: what it said of these steps before.
    """
    config, steps = parts.config, told.steps
    target = gae(steps.reward[1:], steps.discount[1:], value, told.valid, config.gamma, config.lam) + value[:-1]

    def loss(params: Params, part: tuple[Array, Array, Array]) -> tuple[Array, Metrics]:
        state, target, valid = part
        error = (team_value(parts, params, scale, state) - target) / scale.deviation
        told = 0.5 * masked_mean(jnp.square(error), valid)
        return told, {"student_value": told}

    tx, data = clipped_adam(config.grad_clip), (steps.state[:-1], target, told.valid)
    step = lambda now, part: descend(tx, now, lambda p: loss(p, part), lr)
    return passes(step, learner, data, key, config.epochs, config.minibatches)


def put(store: Labelled, new: Labelled, index: Array) -> Labelled:
    """Write an iteration over the oldest: leaves (R, ...)."""
    return jax.tree.map(lambda old, x: old.at[index].set(x), store, new)


def student_loss(config: HintConfig, student: Policy, params: Params, part: Labelled) -> tuple[Array, Metrics]:
    """KL from the teacher's distribution to the students', less an entropy bonus, with PPO where it is asked for."""
    steps = part.steps
    scores = unroll(student, params, part.carry, steps, steps.first).scores
    assert scores is not None
    kl = kl_divergence(part.label, scores, steps.avail, part.keep)
    spread = entropy(scores, part.keep)
    return kl - config.student_entropy * spread, {"student_kl": kl, "student_entropy": spread}


def student_rl(config: HintConfig, student: Policy, params: Params, part: Acted) -> tuple[Array, Metrics]:
    """PPO on what the students did themselves."""
    scores = unroll(student, params, part.carry, part.steps, part.steps.first).scores
    assert scores is not None
    acts = log_prob_of(scores, part.action)
    loss = clipped_surrogate(acts, part.log_prob, part.advantage, part.counts, config.clip)
    return config.rl * loss, {"student_rl": loss}


SETTLES = 8
"""Steps after which memory has become that of the students who learn, where a sequence began with older students'."""


def settled(part: Labelled) -> Bool[Array, "T B 1"]:
    """Whether memory is the students' own: no matter without memory, from an episode's start, or after a few steps."""
    first = part.steps.first
    if not jax.tree.leaves(part.carry):
        return jnp.ones((*first.shape, 1), bool)
    return ((jnp.cumsum(first, 0) > 0) | (jnp.arange(first.shape[0]) >= SETTLES)[:, None])[..., None]


def distil(
    config: HintConfig,
    student: Policy,
    learner: Learner,
    store: Labelled,
    iteration: Array,
    latest: Acted | None,
    key: PRNGKeyArray,
    lr: Any,
) -> tuple[Learner, Metrics]:
    """Gradient steps on sequences drawn from the last iterations.

    Args:
        iteration: number of the latest, from 0.
        latest: the students' own, from which the PPO term has its own draw; None without that term.
    """
    tx, filled = clipped_adam(config.grad_clip), jnp.minimum(iteration + 1, config.store)

    def step(now: Learner, key: PRNGKeyArray) -> tuple[Learner, Metrics]:
        keys = jax.random.split(key, 3)
        which = jax.random.randint(keys[0], (config.batch,), 0, filled)
        column = jax.random.randint(keys[1], (config.batch,), 0, store.keep.shape[2])
        part = jax.tree.map(lambda x: jnp.moveaxis(x[which, :, column], 0, 1), store._replace(carry=()))
        part = part._replace(carry=jax.tree.map(lambda x: x[which, column], store.carry))
        part = part._replace(keep=part.keep & settled(part))
        if latest is None:
            return descend(tx, now, lambda p: student_loss(config, student, p, part), lr)
        columns = latest.counts.shape[1]
        # As many passes as the teacher makes, spread over all steps.
        mine = jax.random.randint(keys[2], (max(1, config.epochs * columns // config.distil),), 0, columns)
        own = rows(latest._replace(carry=()), mine)._replace(carry=rows(latest.carry, mine, 0))

        def loss(params: Params) -> tuple[Array, Metrics]:
            taught, told = student_loss(config, student, params, part)
            paid, more = student_rl(config, student, params, own)
            return taught + paid, told | more

        return descend(tx, now, loss, lr)

    learner, told = jax.lax.scan(step, learner, jax.random.split(key, config.distil))
    return learner, jax.tree.map(jnp.mean, told)


def joined(a: Labelled, b: Labelled) -> Labelled:
    """Two sources side by side."""
    both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), a._replace(carry=()), b._replace(carry=()))
    return both._replace(carry=jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a.carry, b.carry))

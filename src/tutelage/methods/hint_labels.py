"""What HINT's students are taught, and which of it is worth learning.

Reference: HINT (arXiv 2601.05407) for the filter by performance and DAgger; the exact rules are our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.configs.hint import HintConfig
from tutelage.learning.returns import gae
from tutelage.methods.hint_experience import Parts, Told, at, decisions, due_of, goals_at, of_acts, spread_out
from tutelage.methods.hint_teacher import Teacher, team_value
from tutelage.policies.hierarchy import assign_sequentially, valid_goals
from tutelage.types import Carry, TimeStep


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


def seen(steps: TimeStep) -> TimeStep:
    """(T, B, ...) of (T + 1, B, ...): what students see before each act."""
    now = jax.tree.map(lambda x: x[:-1], steps)
    return now._replace(state=(), goals=(), reward=(), discount=(), last=(), success=(), watch=())


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
        goal = assign_sequentially(tree, goals_at(now, when), at(when, told.prior), best)[0]
        return under(spread_out(goal, due, told.steps)[:-1])
    goal, logs = assign_sequentially(tree, now.goals, told.prior, best)
    if config.labels == "best":
        return under(goal)
    acted = of_acts(told.under, told.steps.action[1:])
    given = jax.nn.softmax(config.sharpness * logs)
    weight = likely_goals(given, acted, valid_goals(now.goals), now.first, config.renew)
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
    better: Float[Array, "T B"], agrees: Bool[Array, "T B N"], gain: Float[Array, "T B #N"], margin: Any
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


def gained(config: HintConfig, told: Told, theirs: Float[Array, "T1 B"]) -> Float[Array, "T1-1 B"]:
    """The advantage of what was done over what students are expected to earn."""
    steps = told.steps
    return gae(steps.reward[1:], steps.discount[1:], theirs, told.valid, config.gamma, config.lam)


def worth_of_own(parts: Parts, teacher: Teacher, told: Told, theirs: Float[Array, "T1 B"]) -> Bool[Array, "T1-1 B 1"]:
    """The filter of teacher episodes."""
    config, steps, scale = parts.config, told.steps, teacher.returns
    value = team_value(parts, teacher.values.params["team"], scale, steps.state)
    # From where an episode is cut off nobody has earned anything: there it is worth what students would make of it.
    value = jnp.where(steps.last, theirs, value)
    earned = gae(steps.reward[1:], steps.discount[1:], value, told.valid, config.gamma, 1.0) + value[:-1]
    return episode(earned, won_later(steps, told.valid), theirs[:-1] + config.margin * scale.deviation)[..., None]


def worth_of_theirs(
    parts: Parts, teacher: Teacher, told: Told, theirs: Float[Array, "T1 B"], label: Array
) -> Bool[Array, "T1-1 B N"]:
    """The filter of student episodes."""
    config, scale = parts.config, teacher.returns
    better = team_value(parts, teacher.values.params["team"], scale, told.steps.state[:-1]) - theirs[:-1]
    agrees = label.argmax(-1) == told.steps.action[1:]
    return advantage(better, agrees, gained(config, told, theirs)[..., None], config.margin * scale.deviation)


def teach(
    parts: Parts, teacher: Teacher, told: Told, theirs: Float[Array, "T1 B"], own: bool, carry: Carry
) -> Labelled:
    """Label one source of experience and keep what is worth learning.

    Args:
        theirs: what students are expected to earn from each step on.
        own: whether the teacher acted.
        carry: the students' memory entering the first step.
    """
    config, label = parts.config, labels(parts, told) / parts.config.temperature
    keep = told.valid[..., None] & told.steps.acts[:-1]
    if own and config.filter_own == "episode":
        keep &= worth_of_own(parts, teacher, told, theirs)
    if not own and config.filter_student == "advantage":
        keep &= worth_of_theirs(parts, teacher, told, theirs, label)
    return Labelled(seen(told.steps), carry, label, keep)


def joined(a: Labelled, b: Labelled) -> Labelled:
    """Two sources side by side."""
    both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), a._replace(carry=()), b._replace(carry=()))
    return both._replace(carry=jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a.carry, b.carry))

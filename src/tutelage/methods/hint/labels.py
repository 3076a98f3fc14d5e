"""Labels for HINT's students: the teacher's distributions along experience, and filters of what they learn from.

Reference: HINT (arXiv 2601.05407) for the filter by performance and DAgger; the exact rules are our reconstruction.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tutelage.configs.hint import HintConfig
from tutelage.data.experience import experience
from tutelage.data.transitions import transitions
from tutelage.learning.returns import gae
from tutelage.methods.hint.experience import (
    Experience,
    HintNetworks,
    at_decisions,
    decision_mask,
    find_decisions,
    goals_at_decisions,
    held_along,
    taken_log_probs,
)
from tutelage.methods.hint.teacher import TeacherState, team_value
from tutelage.policies.hierarchy import assign_sequentially, valid_goals
from tutelage.types import Carry, TimeStep

TEMPERATURE = 0.5
"""Temperature of labels. They are sharper than the teacher: a mixture over goals is broad, and students that draw from
it at every step waver between the goals."""


@experience
class LabelledExperience(NamedTuple):
    """Experience with the teacher's labels, leaves (T, B, ...); (R, T, B, ...) in the store of R iterations.

    Attributes:
        steps: timesteps without world state and goals.
        carry: the students' memory entering the first step, leaves (B, ...).
        label: (T, B, N, A) the teacher's logits, divided by TEMPERATURE.
        keep: (T, B, N) decisions that students learn from.
    """

    steps: TimeStep
    carry: Carry
    label: Float[Array, "T B N A"]
    keep: Bool[Array, "T B N"]


def student_inputs(now: Any) -> TimeStep:
    """What students read of timesteps."""
    return now._replace(state=(), goals=(), reward=(), discount=(), last=(), success=(), watch=())


def teacher_labels(networks: HintNetworks, experience: Experience) -> Float[Array, "T B N A"]:
    """The teacher's distributions over actions along experience, as logits: the targets of the students.

    They are given the most probable goals, chosen anew at every step (setting `best`) or at the decisions (`held`); or
    the goal is summed out at every step (`all`), see `goal_beliefs`.
    """
    hierarchy, config, data = networks.hierarchy, networks.config, transitions(experience)
    now = data.now
    most_likely = lambda i, log: log.argmax(-1)
    for_goal = lambda goal: jnp.take_along_axis(experience.goal_log_probs, goal[..., None, None], -2)[..., 0, :]
    if config.labels == "held":
        # Goals given before the first step are not known: the teacher decides there.
        due = decision_mask(experience).at[0].set(True) & experience.valid
        decision_steps, _ = find_decisions(due, experience.valid, config.every)
        logits = at_decisions(decision_steps, experience.coordinator_logits)
        goal = assign_sequentially(hierarchy, goals_at_decisions(now, decision_steps), logits, most_likely)[0]
        return for_goal(held_along(goal, due, experience.steps)[:-1])
    goal, conditional = assign_sequentially(hierarchy, now.goals, experience.coordinator_logits, most_likely)
    if config.labels == "best":
        return for_goal(goal)
    taken = taken_log_probs(experience.goal_log_probs, data.action)
    weight = goal_beliefs(jax.nn.softmax(conditional), taken, valid_goals(now.goals), now.first, config.renew)
    return jax.nn.logsumexp(jnp.log(weight)[..., None] + experience.goal_log_probs, -2)


def goal_beliefs(
    coordinator: Float[Array, "T B N G"],
    taken: Float[Array, "T B N G"],
    valid: Bool[Array, "T B N G"],
    first: Bool[Array, "T B"],
    renew: float,
) -> Float[Array, "T B N G"]:
    """Probability that each goal is held before each step's action, for a teacher that may give it anew at any step.

    q_t ~ (1 - renew) q_{t-1} pi(a_{t-1} | j) / Z + renew pi_H(j | s_t), and q_t = pi_H where an episode begins. So a
    student that is on its way to one of two equal goals is labelled with that one, without knowing when decisions fall.

    Args:
        coordinator: probabilities of goals pi_H(j | s_t).
        taken: log-probability of the action taken, given each goal.
        valid: which goals may be held (no goal, the last, always); an invalid one becomes no goal.
        renew: probability that goals are given at a step. The smaller it is, the more past actions decide.
    """

    def body(before: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        coordinator, taken, valid, first = step
        still_held = jnp.where(valid, before, 0.0)
        still_held = still_held.at[..., -1].add(jnp.where(valid, 0.0, before).sum(-1))
        now = jnp.where(first[:, None, None], coordinator, (1 - renew) * still_held + renew * coordinator)
        return jax.nn.softmax(jnp.log(now) + taken), now

    return jax.lax.scan(body, coordinator[0], (coordinator, taken, valid, first))[1]


def keep_episodes(
    returns: Float[Array, "T B"], won: Bool[Array, "T B"], expected: Float[Array, "T B"]
) -> Bool[Array, "T B"]:
    """Filter of teacher episodes: steps whose episode succeeds, or earns at least what students would."""
    return won | (returns >= expected)


def keep_by_advantage(
    better: Float[Array, "T B"], agrees: Bool[Array, "T B N"], gain: Float[Array, "T B #N"]
) -> Bool[Array, "T B N"]:
    """Filter of student episodes: where the teacher's value is higher, or its action was taken and paid off.

    Args:
        better: the teacher's value less the students'.
        agrees: whether the action taken is the teacher's most probable. gain: its advantage.
    """
    return (better > 0)[..., None] | (agrees & (gain > 0))


def won_later(steps: TimeStep, valid: Bool[Array, "T B"]) -> Bool[Array, "T B"]:
    """Whether a step's episode succeeds before the rollout ends."""
    final = steps.last[1:] & valid
    won = steps.success[1:] & final

    def body(after: Array, step: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        final, won, valid = step
        now = jnp.where(final, won, after) & valid
        return now, now

    return jax.lax.scan(body, jnp.zeros(valid.shape[1], bool), (final, won, valid), reverse=True)[1]


def advantage_of_students(
    config: HintConfig, experience: Experience, student_value: Float[Array, "T1 B"]
) -> Float[Array, "T1-1 B"]:
    """Generalised advantage of the actions by the students' value."""
    data = transitions(experience)
    return gae(data.reward, data.discount, student_value, data.valid, config.gamma, config.lam)


def filter_own_episodes(
    networks: HintNetworks, teacher: TeacherState, experience: Experience, student_value: Float[Array, "T1 B"]
) -> Bool[Array, "T1-1 B 1"]:
    """Decisions of the teacher's own episodes that students learn from, see `keep_episodes`."""
    steps, data = experience.steps, transitions(experience)
    value = team_value(networks, teacher.values.params["team"], teacher.returns, steps.state)
    # At a truncation returns bootstrap from the students' value: the teacher has earned nothing beyond it.
    value = jnp.where(steps.last, student_value, value)
    returns = gae(data.reward, data.discount, value, data.valid, networks.config.gamma, 1.0) + value[:-1]
    return keep_episodes(returns, won_later(steps, data.valid), student_value[:-1])[..., None]


def filter_student_episodes(
    networks: HintNetworks,
    teacher: TeacherState,
    experience: Experience,
    student_value: Float[Array, "T1 B"],
    label: Array,
) -> Bool[Array, "T1-1 B N"]:
    """Decisions of student episodes that students learn from, see `keep_by_advantage`."""
    data = transitions(experience)
    value = team_value(networks, teacher.values.params["team"], teacher.returns, data.now.state)
    agrees = label.argmax(-1) == data.action
    gain = advantage_of_students(networks.config, experience, student_value)[..., None]
    return keep_by_advantage(value - student_value[:-1], agrees, gain)


def label_and_filter(
    networks: HintNetworks,
    teacher: TeacherState,
    experience: Experience,
    student_value: Float[Array, "T1 B"],
    own: bool,
    carry: Carry,
) -> LabelledExperience:
    """Label one source of experience and mark what students learn from.

    Args:
        student_value: the students' expected return from each step on.
        own: whether the teacher acted.
        carry: the students' memory entering the first step.
    """
    config, label = networks.config, teacher_labels(networks, experience) / TEMPERATURE
    data = transitions(experience)
    keep = data.counts
    if own and config.filter_own == "episode":
        keep &= filter_own_episodes(networks, teacher, experience, student_value)
    if not own and config.filter_student == "advantage":
        keep &= filter_student_episodes(networks, teacher, experience, student_value, label)
    return LabelledExperience(student_inputs(data.now), carry, label, keep)


def concatenated(a: LabelledExperience, b: LabelledExperience) -> LabelledExperience:
    """Concatenate two sources along the environments."""
    both = jax.tree.map(lambda x, y: jnp.concatenate([x, y], 1), a._replace(carry=()), b._replace(carry=()))
    return both._replace(carry=jax.tree.map(lambda x, y: jnp.concatenate([x, y]), a.carry, b.carry))

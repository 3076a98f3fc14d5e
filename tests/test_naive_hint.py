"""HINT against a naive NumPy reading of it; as in `test_naive_ppo`: the teacher, its labels, the students."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import assert_close
from reference import goals as G
from reference import hint, scene
from reference.maths import Descent, Scale, gae, mean, normal
from reference.watching import SEEN, assert_moved, begun, learners, update
from tutelage.methods.hint import labels, teacher
from tutelage.methods.hint import state as states
from tutelage.policies.hierarchy import GoalDecision
from tutelage.registry import method_config

T = 6
SETTINGS = dict(
    core="mlp", size="width=3", share="team", teacher_width=2, envs=4, rollout=T, every=3,
    shaping=0.6, off_policy=0.7, renew=0.4, store=1, distil=2, batch=4,
    student_entropy=0.3, rl=0.4, epochs=2, minibatches=1, lr=0.04, student_lr=0.06, gamma=0.83, lam=0.7,
    clip=0.15, entropy=0.2, goal_entropy=0.25, grad_clip=3e-5, steps=1000, pretrain=400,
)  # fmt: skip
SETTLED = dict(pair_width=2, spread=0.8, temperature=0.7, goal_epochs=3)
"""Constants, for narrow networks and so that none is 0 or 1."""
C = SimpleNamespace(**vars(method_config("hint", **SETTINGS)), **SETTLED)
LR, STUDENT_LR = C.lr * 0.5, C.student_lr * 0.5


def due(steps):
    """Goals are given when a rollout or an episode begins, and every so many steps."""
    out = np.zeros((T, 2), bool)
    for b in range(2):
        age = 0
        for t in range(T):
            age = 0 if steps["first"][t, b] else age
            out[t, b], age = age % C.every == 0, age + 1
    return out


def held(steps):
    """Goals that a teacher might have given: none where the one it has is not valid any more."""
    can, out = G.valid_goals(steps["goals"])[:-1], np.zeros((T, 2, scene.N), int)
    for b, n in np.ndindex(2, scene.N):
        for t in range(T):
            goal = (t + b + n) % (scene.M + 1) if due(steps)[t, b] else out[t - 1, b, n]
            out[t, b, n] = goal if can[t, b, n, goal] else scene.M
    return out


class Lived(NamedTuple):
    """An update, the learners before it, and both sources of experience as the teacher before the update reads them."""

    got: object
    before: list
    own: hint.Experience
    other: hint.Experience
    batches: list


@cache
def lived():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(states, "PAIR_WIDTH", C.pair_width)
        patch.setattr(states, "SPREAD", C.spread)
        method, state = begun("hint", scene.Scene(), seed=2, **SETTINGS)
    coordinator, executor, values, *_ = before = learners(state)
    mine, theirs = scene.steps(T, goals=True), scene.steps(T, goals=True, seed=2)
    goal, ratios = held(mine), (scene.log_probs(T), scene.log_probs(T, seed=3))
    own = hint.teacher_experience(hint.Experience(C, mine, coordinator, executor, ratios[0], due(mine)), goal)
    other = hint.student_experience(hint.Experience(C, theirs, coordinator, executor, ratios[1], due(theirs)))
    logits = jnp.asarray(own.coordinator_logits, jnp.float32)
    drawn = GoalDecision(jnp.asarray(goal, jnp.int32), jnp.asarray(due(mine)), logits)
    carry = (jnp.full((2, scene.N), scene.M, jnp.int32), jnp.zeros(2, jnp.int32)), ()
    rollouts = {
        "teacher": scene.rollout(mine, ratios[0], drawn, carry),
        "student": scene.rollout(theirs, ratios[1]),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "GOAL_EPOCHS", C.goal_epochs)
        patch.setattr(labels, "TEMPERATURE", C.temperature)
        patch.setattr(jax.random, "categorical", lambda key, log: log.argmax(-1))
        got = update(method, state, rollouts, stage=1)
    scale = Scale(*map(float, SEEN))
    batches = [hint.TeacherBatch(C, own, values, scale, 1.0), hint.TeacherBatch(C, other, values, scale, C.off_policy)]
    return Lived(got, before, own, other, batches)


@cache
def taught():
    """The teacher's naive steps: coordinator, executor, values, and the scale of returns after them."""
    return hint.update_teacher(C, lived().batches, *lived().before[:3], Scale(*map(float, SEEN)), LR)


@pytest.mark.parametrize(("i", "part"), [*enumerate(["coordinator", "executor", "values"])])
def test_the_teacher_learns_from_its_own_and_its_students_experience(i, part):
    got, before = lived()[:2]
    naive = taught()[i]
    np.testing.assert_allclose(got.total(before[i]), np.mean(naive.totals), rtol=1e-4)
    assert_moved(before[i], learners(got.state)[i], naive.params, LR)


def test_the_scale_of_returns_goes_on():
    assert_close(list(lived().got.state.teacher.returns), list(vars(taught()[3]).values()))


def labelled():
    """Both sources as students see them: (experience, labels, what is kept), and what was expected of students."""
    _, before, own, other, _ = lived()
    _, _, values, scale = taught()
    sources, expected = [], []
    for source, is_own in ((own, True), (other, False)):
        student_value = hint.team_value(before[4], source.steps["state"], Scale(*map(float, SEEN)))
        value = hint.team_value(values.params["team"], source.steps["state"], scale)
        label = hint.teacher_labels(source)
        keep = (
            hint.filter_own_episodes(source, value, student_value)
            if is_own
            else hint.filter_student_episodes(source, value, student_value, label)
        )
        sources.append((source, label, source.counts & keep))
        expected.append(student_value)
    return sources, expected


def test_students_learn_what_was_kept_and_from_what_they_did():
    got, before, _, other, _ = lived()
    sources, expected = labelled()
    for name, (source, _, keep) in zip(("kept_own", "kept_student"), sources, strict=True):
        assert 0.05 < keep[source.counts].mean() < 0.95, "a filter that keeps all or nothing proves nothing"
        np.testing.assert_allclose(got.metrics[name], keep[source.counts].mean(), rtol=1e-5)
    gain = gae(other.steps, other.steps["reward"][1:], expected[1], C)
    gain = normal(np.repeat(gain[..., None], scene.N, -1), other.counts)
    naive = Descent(before[3], C)
    for _ in range(2):
        naive.step(lambda p: hint.student_loss(C, p, sources, gain), STUDENT_LR)
    np.testing.assert_allclose(got.total(before[3]), np.mean(naive.totals), rtol=1e-4)
    assert_moved(before[3], learners(got.state)[3], naive.params, STUDENT_LR)


def test_the_students_value_is_of_what_they_earn():
    got, before, _, other, _ = lived()
    scale, expected = taught()[3], labelled()[1][1]
    target = gae(other.steps, other.steps["reward"][1:], expected, C) + expected[:-1]
    error = lambda p: (hint.team_value(p, other.now["state"], scale) - target) / scale.deviation()
    naive = Descent(before[4], C)
    for _ in range(2):
        naive.step(lambda p: 0.5 * mean(error(p) ** 2, other.valid), LR)
    np.testing.assert_allclose(got.total(before[4]), np.mean(naive.totals), rtol=1e-4)
    assert_moved(before[4], learners(got.state)[4], naive.params, LR)

"""Loss terms of the user's own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK
from tutelage import BadInput, Fault, TermInput
from tutelage.configs.term import TermSettings
from tutelage.experiment.trust import code_named_in
from tutelage.methods.terms import own_term, with_term
from tutelage.types import Out

SMALL = dict(core="mlp", size="width=8", envs=4)
PPO = dict(steps=64, rollout=8, chunk=1, critic_width=8, **SMALL)


def seven(data: TermInput) -> jax.Array:
    """A term that is 7 and moves nothing."""
    return jnp.float32(7.0)


def first_action(data: TermInput) -> jax.Array:
    """How improbable the agents find action 0."""
    assert data.out.scores is not None
    log_prob = jax.nn.log_softmax(data.out.scores)[..., 0]
    return -(log_prob * data.acts).sum() / data.acts.sum()


def apart_from_teacher(data: TermInput) -> jax.Array:
    """What a term sees of the teacher: as many scores and features as agents decide."""
    assert data.teacher_scores is not None and data.teacher_scores.shape == (*data.action.shape, 3)
    assert data.teacher_features.shape[:-1] == data.action.shape and data.steps.obs.shape[:-1] == data.action.shape
    return jnp.square(data.out.features[0].mean() - data.teacher_features.mean())


def pair(data: TermInput) -> jax.Array:
    return jnp.zeros(2)


def raising(data: TermInput) -> jax.Array:
    raise KeyError("no such column")


def test_a_term_is_added_with_its_weight():
    term = own_term(TermSettings("test_terms:seven", 0.5))
    loss, metrics = with_term(term, jnp.float32(1.0), {"policy": 2.0}, lambda: None)
    assert float(loss) == 1.0 + 0.5 * 7.0 and float(metrics["term"]) == 7.0 and metrics["policy"] == 2.0
    assert with_term(None, 1.0, {}, lambda: None) == (1.0, {}) and own_term(TermSettings()) is None


@pytest.mark.parametrize(("name", "message"), [
    ("test_terms:pair", "term test_terms:pair: gives float32 \\(2,\\), must give one float"),
    ("test_terms:raising", "term test_terms:raising raised KeyError: 'no such column'"),
    ("test_terms:none", "'test_terms' has no 'none'"),
])  # fmt: skip
def test_what_is_wrong_with_it_is_told_before_anything_is_written(name, message, tmp_path):
    with pytest.raises((BadInput, Fault), match=message):
        tutelage.train("mappo", "probe/action", out=tmp_path / "run", fit=QUICK, term=name, **PPO)


@pytest.mark.parametrize(("method", "settings"), [
    ("mappo", dict(PPO, steps=2048, envs=32)),
    ("kd_marl", dict(gather=512, passes=40, core="mlp", size="width=8", envs=32, teacher="scripted:local")),
    ("ddn", dict(SMALL, steps=1024, envs=32, warm_up=64, chunk=4, burn_in=0, batch=8, updates=32, beta=0.0)),
])  # fmt: skip
def test_a_term_of_large_weight_decides_what_agents_do(method, settings, tmp_path):
    """The best action of probe/action is 1; the term asks for 0."""
    given = dict(term="test_terms:first_action", term_weight=1000.0, out=tmp_path / "run", fit=QUICK, **settings)
    run = tutelage.train(method, "probe/action", **given)[0]
    policy, params = run.policy("student"), run.params("student")
    _, start = jax.vmap(run.env.reset)(jax.random.split(jax.random.key(0), 4))
    _, out = policy.step(params, policy.carry(4), start, jax.random.key(0))
    assert isinstance(out, Out) and np.array_equal(out.scores.argmax(-1), np.zeros((4, 2)))
    assert code_named_in(run.record) == {"test_terms:first_action"}
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"term"' in lines or '"student_term"' in lines


def test_a_term_may_read_what_the_teacher_gives(tmp_path):
    teacher = tutelage.train("mappo", "probe/action", out=tmp_path / "teacher", fit=QUICK, **PPO)[0]
    settings = dict(gather=64, passes=1, rel=0.0, role=0.0, term="test_terms:apart_from_teacher", **SMALL)
    run = tutelage.train("kd_marl", "probe/action", teacher=teacher.path, out=tmp_path / "run", fit=QUICK, **settings)
    assert run[0].record["config"]["term"] == "test_terms:apart_from_teacher"

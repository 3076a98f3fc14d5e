"""PTDE: what is predicted, from what, and that nothing else changes while it is."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest

import tutelage
from helpers import QUICK, assert_close, assert_same, build, make_steps, rows, run_stage
from tutelage import BadInput, make
from tutelage.data.collect import unroll
from tutelage.methods import ptde as P
from tutelage.methods.off_policy import sample_replay
from tutelage.policies.agent import Group, make_agent, make_team
from tutelage.policies.blueprint import Network
from tutelage.policies.cost import agent_cost
from tutelage.policies.views import read_view, whole_row
from tutelage.registry import method_config

SMALL = dict(core="gru", size="width=12", chunk=8, burn_in=0, envs=16, batch=32, updates=2, warm_up=256, predict=150,
             epsilon_steps=4000, steps=6_000, capacity_steps=20_000, lr=3e-3, generator=8, fusion_width=10)  # fmt: skip


@cache
def stages():
    """The method, its networks, the state after each stage on probe/coordination, and metrics of the second."""
    env = make("probe/coordination")
    method = build("ptde", env, **SMALL)
    first = run_stage(env, method)[0]
    copied = jax.tree.map(np.array, (first.learning.q.online.params, first.learning.guess.params))
    last, metrics = run_stage(env, method, 1, first)
    return method, P.make_ptde_networks(env, method_config("ptde", **SMALL)), copied, last, metrics


ON_MAPPO = dict(core="mlp", size="width=12", critic_width=8, chunk=8, envs=32, rollout=16, steps=6_000, lr=3e-3,
                generator=8, fusion_width=10, predict=20_000)  # fmt: skip


@cache
def stages_on_mappo():
    """The method, the state after the first stage, after the second, and metrics of the second."""
    env = make("probe/coordination")
    method = build("ptde_mappo", env, **ON_MAPPO)
    first = run_stage(env, method)[0]
    copied = jax.tree.map(np.array, (first.ppo, first.guess.params))
    last, metrics = run_stage(env, method, 1, first)
    return method, copied, last, metrics


@pytest.mark.parametrize(("name", "settings"), rows([], [("ptde", SMALL), ("ptde_mappo", ON_MAPPO)]))
def test_students_learn_what_pays_without_the_state(tmp_path, name, settings):
    run = tutelage.train(name, "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **settings)[0]
    assert run.test["success_rate"] == 1 and run.test["beside"]["teacher"]["success_rate"] == 1
    assert_same(tutelage.load(run.path).params(), run.params())


def test_prediction_improves_and_changes_nothing_else():
    method, _, (teacher, predictor), last, metrics = stages()
    student, env = method.roles["student"], make("probe/coordination")
    assert tutelage.evaluate(env, student, method.params(last)["student"], 64).success_rate == 1, "it learned what pays"
    assert metrics["prediction"][-1] < 0.5 * metrics["prediction"][0]
    assert_same(last.learning.q.online.params, teacher)
    after, before = map(jax.tree.leaves, (last.learning.guess.params, predictor))
    assert any((np.asarray(a) != b).any() for a, b in zip(after, before, strict=True))


def test_on_mappo_prediction_improves_and_changes_nothing_else():
    method, (ppo, predictor), last, metrics = stages_on_mappo()
    student, env = method.roles["student"], make("probe/coordination")
    assert tutelage.evaluate(env, student, method.params(last)["student"], 64).success_rate == 1, "it learned what pays"
    assert metrics["prediction"][-1] < 0.5 * metrics["prediction"][0]
    assert_same(last.ppo, ppo)
    after, before = map(jax.tree.leaves, (last.guess.params, predictor))
    assert any((np.asarray(a) != b).any() for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize("form", [stages, stages_on_mappo])
def test_the_student_reads_no_state_and_is_the_teachers_network_behind_a_predictor(form):
    method, *_, last, _ = form()
    params = method.params(last)
    assert_same(params["student"][0]["act"], params["teacher"]["team"][0])
    steps = make_steps(make("probe/coordination").spec, (4,))
    other = steps._replace(state=steps.state + 1)
    scores = lambda role, ts: jax.jit(method.roles[role].step)(
        params[role], method.roles[role].carry(4), ts, jax.random.key(0)
    )[1].scores  # fmt: skip
    assert_same(scores("student", steps), scores("student", other))
    assert (np.asarray(scores("teacher", steps)) != np.asarray(scores("teacher", other))).any()


def test_with_a_perfect_prediction_students_score_as_the_teacher():
    """Let the fusion give what the predictor says: then both networks read the same."""
    method, networks, _, last, _ = stages()
    data = sample_replay(networks.td, last.replay, jax.random.key(0))
    teacher, student = (method.params(last)[role] for role in ("teacher", "student"))
    carry = networks.state_predictor.student.carry(32)
    history = read_view(networks.state_predictor.student.groups[0].view, data.steps)
    prediction = unroll(
        networks.state_predictor.predictor,
        last.learning.guess.params,
        networks.state_predictor.predictor.carry(32),
        data.steps._replace(obs=history),
        data.steps.first,
    ).scores
    rows = data.steps._replace(obs=np.concatenate([history, prediction], -1))
    agent = networks.state_predictor.student.groups[0].agent
    sizes = rows.obs.shape[-1], 12, 3
    behind = make_agent(Network("gru", *sizes))
    inner = make_team((Group((0, 1), behind, whole_row(sizes[0])),))
    expected = unroll(inner, teacher["team"], inner.carry(32), rows, data.steps.first).scores
    assert_close(
        unroll(networks.state_predictor.student, student, carry, data.steps, data.steps.first).scores, expected
    )
    params = jax.eval_shape(agent.init, jax.random.key(0))
    assert agent_cost(agent).params == sum(int(np.prod(x.shape)) for x in jax.tree.leaves(params))


@pytest.mark.parametrize("name", ["ptde", "ptde_mappo"])
def test_students_of_several_networks_are_refused(name):
    with pytest.raises(BadInput, match="one network for all"):
        build(name, make("probe/action"), size="tiers=0:8;1:16")

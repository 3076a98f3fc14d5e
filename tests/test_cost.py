"""What agents cost: formulas against XLA, the NumPy step against the JAX step, reports, latency, the command."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, random_params
from products import count_products, dot_macs
from tutelage.cli.cost import agent_ranges
from tutelage.cli.main import exit_code
from tutelage.deploy.cost import cost_report, joint_totals
from tutelage.deploy.latency import compiled_call, measure_latency, numpy_call, time_agents
from tutelage.deploy.layers import numpy_network
from tutelage.deploy.standalone import choose
from tutelage.deploy.step import agent_step
from tutelage.errors import BadInput, Fault
from tutelage.experiment.run_directory import LoadedRun
from tutelage.policies.agent import make_agent
from tutelage.policies.blueprint import Controller, Network
from tutelage.policies.cost import agent_cost
from tutelage.policies.traced import joint_macs, traced_macs

SHAPES = [(3, 2, 3), (132, 14, 10), (140, 16, 11), (54, 64, 5), (132, 128, 10)]
"""Inputs, width, actions."""


@pytest.fixture(scope="module")
def student_run(memory_run, tmp_path_factory):
    """Two unequal students of an 8-GRU teacher: their sizes matter here, not their skill."""
    return tutelage.train(
        "kd_marl",
        "probe/memory",
        out=tmp_path_factory.mktemp("students") / "memory",
        teacher=memory_run.path,
        size="tiers=0:4;1:2",
        gather=96,
        envs=16,
        passes=1,
        fit=QUICK,
        quiet=True,
    )[0]


# ---- products --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["gru", "mlp"])
@pytest.mark.parametrize("shape", SHAPES)
def test_formula_equals_the_products_of_the_compiled_module(kind, shape):
    agent = make_agent(Network(kind, *shape))
    counted = count_products(agent)
    assert counted.source == "compiled"
    assert counted.macs == agent_cost(agent).macs
    assert counted.dots == {"gru": 8, "mlp": 3}[kind]


@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_products_of_width_one_are_read_before_xla_simplifies_them(kind):
    agent = make_agent(Network(kind, 7, 1, 3))
    assert count_products(agent)[::2] == (agent_cost(agent).macs, "lowered")


@pytest.mark.parametrize("kind", ["gru", "mlp"])
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_formula_counts_every_parameter(kind, shape):
    agent = make_agent(Network(kind, *shape))
    leaves = jax.tree.leaves(jax.eval_shape(agent.init, jax.random.key(0)))
    assert sum(leaf.size for leaf in leaves) == agent_cost(agent).params


def test_dots_are_read_from_fused_computations_and_with_types_beside_names():
    text = """%fused (a: f32[3,5]) -> f32[2,5] {
  %a = f32[3,5]{1,0} parameter(0)
  %b = f32[2,3]{1,0} constant({...})
  ROOT %dot.1 = f32[2,5]{1,0} dot(%b, %a), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}
ENTRY %main (a: f32[4]) -> f32[6] {
  %a = f32[4]{0} parameter(0)
  ROOT %dot.2 = f32[6]{0} dot(f32[4]{0} %a, f32[4,6]{1,0} %w), lhs_contracting_dims={0}, rhs_contracting_dims={0}
}"""
    assert list(dot_macs(text)) == [2 * 3 * 5, 4 * 6]


# ---- the NumPy step --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["gru", "mlp"])
def test_numpy_step_equals_the_jax_step(kind):
    agent = make_agent(Network(kind, 9, 12, 5))
    # Real weights: no bias is zero, no logit tiny.
    params = random_params(agent)
    jax_step, (step, mine) = jax.jit(agent_step(agent)), numpy_network(agent.network, params)
    rng, theirs = np.random.default_rng(0), agent.carry()
    for _ in range(20):
        x, avail = 3 * rng.normal(size=9).astype(np.float32), rng.random(5) < 0.5
        avail[2] = True
        theirs, expected, scores = jax_step(params, theirs, jnp.asarray(x), jnp.asarray(avail))
        logits, mine, _ = step(x, mine)
        assert choose(logits, avail) == int(expected) and avail[int(expected)]
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits[avail], scores[avail], atol=1e-5, rtol=1e-5)
        if kind == "gru":
            np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_numpy_step_stays_finite_and_silent_on_huge_inputs():
    agent = make_agent(Network("gru", 4, 6, 3))
    step, memory = numpy_network(agent.network, random_params(agent))
    assert np.isfinite(step(np.full(4, 1e6, np.float32), memory)[0]).all()


# ---- reports ---------------------------------------------------------------------------------------------------------
def test_report_has_the_figures_worked_out_by_hand(student_run):
    report = cost_report(student_run, latency=False)
    # 3 inputs (one shown, two for the number), 3 actions; a W-GRU has 3 W + 6 W W + 3 W products.
    (teacher,) = report["teacher"]["tiers"]
    assert teacher == {
        "agents": [0, 1],
        "types": ["probe"],
        "core": "gru",
        "width": 8,
        "inputs": 3,
        "actions": 3,
        "macs": 432,
        "flops": 864,
        "flops_total": 864 + (8 + 3) + 8 + 15 * 8,
        "params": 432 + (8 + 3) + 4 * 8,
        "bytes": 4 * 475,
        "latency_us": None,
    }
    assert [row["agents"] for row in report["students"]] == [[0], [1]]
    assert [row["macs"] for row in report["students"]] == [120, 36]
    assert [row["params"] for row in report["students"]] == [143, 49]
    assert report["teacher"]["team"]["params"] == 2 * 475  # a copy for each agent
    assert report["team"]["flops"] == 2 * 156
    assert report["ratio"]["flops"] == pytest.approx(2 * 864 / 312)
    assert report["ratio"]["params"] == pytest.approx(950 / 192)
    assert report["ratio"]["latency"] is None and report["ratio"]["latency_numpy"] is None
    assert "MAC" in report["convention"] and json.dumps(report)


def test_without_a_teacher_there_is_no_ratio(memory_run):
    report = cost_report(memory_run, latency=False)
    assert report["teacher"] is None and report["ratio"] is None
    assert len(report["students"]) == 1 and report["team"]["agents"] == 2


def test_a_scripted_teacher_costs_nothing_that_could_be_compared(student_run):
    scripted = replace(student_run.roles["teacher"], made_of=Controller("local"))
    run = replace(student_run, roles={**student_run.roles, "teacher": scripted})
    report = cost_report(run, latency=False)
    assert report["teacher"] is None and report["ratio"] is None and len(report["students"]) == 2


def test_a_central_actor_is_a_teacher_without_students(tmp_path):
    settings = {**TINY, "steps": 64, "actor_view": "local+state"}
    run = tutelage.train("mappo", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **settings)[0]
    report = cost_report(run, latency=False)
    assert report["students"] == [] and report["team"] is None and report["ratio"] is None
    assert report["teacher"]["tiers"][0]["inputs"] == 5  # one shown, two for the number, two of the state


# ---- latency ---------------------------------------------------------------------------------------------------------
def test_latency_is_measured_in_a_child(student_run):
    result = measure_latency(student_run.path, rounds=2, calls=5)
    assert {role: len(tiers) for role, tiers in result.items()} == {"student": 2, "teacher": 1}
    for tier in (*result["student"], *result["teacher"]):
        for way in ("compiled", "numpy"):
            assert 0 < tier[way]["median"] <= tier[way]["p95"] < 1e6


def test_latency_of_teams_is_summed_and_divided(student_run, monkeypatch):
    timed = lambda x: {"compiled": {"median": x, "p95": 2 * x}, "numpy": {"median": x / 2, "p95": x}}
    fake = {"teacher": [timed(30.0)], "student": [timed(8.0), timed(4.0)]}
    monkeypatch.setattr("tutelage.deploy.cost.measure_latency", lambda path: fake)
    report = cost_report(student_run)
    assert report["teacher"]["team"]["latency_us"] == {"compiled": 60.0, "numpy": 30.0}
    assert report["students"][1]["latency_us"] == timed(4.0)
    assert report["ratio"]["latency"] == pytest.approx(60 / 12)
    assert report["ratio"]["latency_numpy"] == pytest.approx(30 / 6)


def test_both_implementations_decide_the_same(memory_run):
    (group,), (params,) = memory_run.policy().groups, memory_run.params()
    compiled, plain = compiled_call(group.agent, params), numpy_call(group.agent, params)
    assert plain is not None and [compiled() for _ in range(3)] == [plain() for _ in range(3)]


def test_what_has_no_numpy_step_has_no_numpy_latency():
    result = time_agents({"student": [{"compiled": lambda: 0, "numpy": None}]}, rounds=1, calls=3)
    assert result["student"][0]["numpy"] is None and result["student"][0]["compiled"]["median"] >= 0


def test_latency_failures_are_named(tmp_path):
    with pytest.raises(BadInput, match="calls = 0"):
        measure_latency(tmp_path, calls=0)
    with pytest.raises(Fault, match="no run at"):
        measure_latency(tmp_path / "nothing", rounds=1, calls=1)


def test_a_whole_team_has_the_products_of_its_agents(memory_run, student_run):
    for run in (memory_run, student_run):
        policy = run.policy()
        macs = joint_macs(policy._replace(groups=()), run.env)
        result = joint_totals(run.path, replace(run.roles["student"], macs=macs))
        team = cost_report(run, latency=False)["team"]
        assert (result["macs"], result["agents"]) == (team["macs"], team["agents"])
        assert result["params"] == sum(x.size for x in jax.tree.leaves(run.params("student")))
    assert joint_totals(memory_run.path, None) is None


def test_products_in_loops_count_as_often_as_they_run_and_of_branches_the_most():
    square, thin = jnp.ones((4, 4)), jnp.ones((4, 1))

    def f(x):
        x = jax.lax.scan(lambda x, _: (square @ x, None), x, None, length=5)[0]
        return jax.lax.cond(x.sum() > 0, lambda: square @ x, lambda: x @ thin @ thin.T)

    assert traced_macs(jax.make_jaxpr(f)(square).jaxpr) == 6 * 64
    assert traced_macs(jax.make_jaxpr(jax.vmap(lambda row: square @ row))(square).jaxpr) == 64


# ---- the command -----------------------------------------------------------------------------------------------------
def test_command_prints_json(student_run: LoadedRun, capsys):
    assert exit_code(["cost", str(student_run.path), "--json", "--no-latency"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"teacher", "students", "team", "ratio", "convention"}
    assert report == cost_report(student_run, latency=False)


def test_command_prints_a_table(student_run, memory_run, capsys):
    assert exit_code(["cost", str(student_run.path), "--no-latency"]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("gru 8", "gru 4", "gru 2", "5.5x", "4.9x", "team of 2")) and "µs" not in table
    assert exit_code(["cost", str(memory_run.path), "--no-latency"]) == 0
    assert "no ratio: the run has no teacher that is counted" in capsys.readouterr().out


def test_command_takes_the_first_of_several_seeds(student_run, tmp_path, capsys):
    (tmp_path / "seed-0").symlink_to(student_run.path)
    assert exit_code(["cost", str(tmp_path), "--json", "--no-latency"]) == 0
    assert len(json.loads(capsys.readouterr().out)["students"]) == 2


def test_command_refuses_what_is_no_run(tmp_path, capsys):
    assert exit_code(["cost", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


def test_agent_numbers_are_shortened():
    assert agent_ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"

"""Shrinking: a padded student is the narrow one, the test stops where it may, and bisection finds the smallest."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import assert_close, random_params
from tutelage import BadInput
from tutelage.cli.main import exit_code
from tutelage.cli.shrink import findings
from tutelage.configs.kd_marl import KdMarlConfig
from tutelage.experiment.find_teacher import find_teacher
from tutelage.experiment.sinks import Display
from tutelage.experiment.stats import ratio_of_shares, wilson
from tutelage.methods.kd_marl.data import init_student
from tutelage.methods.kd_marl.ladder import cut, make_ladder, padded
from tutelage.methods.kd_marl.method import kd_marl
from tutelage.policies.cost import layer_cost
from tutelage.shrinking import write
from tutelage.shrinking.from_scratch import sizes_about
from tutelage.shrinking.retention import Z_LOOKS, Scores, share_kept, verdict
from tutelage.shrinking.search import Judged, find_best, find_smallest, next_widths
from tutelage.shrinking.shrink import shrink
from tutelage.shrinking.sizes import Costs, Size, parse_budget, widest
from tutelage.shrinking.trials import Trials, run_stage

CONFIG = KdMarlConfig(gather=192, envs=32, batch=16, passes=3)
COSTS = Costs((10, 12), 4, 50_000)
SMALL = ("--gather", "4000", "--passes", "10", "--lr", "0.02", "--quiet")


def sizes(core, *widths):
    return [replace(CONFIG, core=core, size=f"width={width}") for width in widths]


# ---- students of several widths in one program -----------------------------------------------------------------------
@cache
def gathered(path):
    """Environment, teacher and gathered experience of a run."""
    run = tutelage.load(path)
    teacher = find_teacher(str(path), run.record["env"], run.env, {})[0]
    method, root = kd_marl(run.env, sizes("mlp", 1)[0], teacher), jax.random.key(0)
    state, _ = run_stage(run.env, method.stages[0], 0, jax.jit(method.init)(root), root, Display(quiet=True), "")
    return run.env, teacher, state


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_what_is_learned_padded_and_cut_is_what_the_narrow_network_learns_alone(memory_run, core):
    env, teacher, experience = gathered(memory_run.path)
    ladder, key, root = make_ladder(env, sizes(core, 8, 3), teacher), jax.random.key(1), jax.random.key(2)
    go = lambda stage, learner: run_stage(
        env, stage, 1, jax.tree.map(jnp.copy, experience._replace(student=learner)), root, Display(quiet=True), ""
    )[0]
    together = go(ladder.distil, ladder.init(key))
    alone = go(kd_marl(env, ladder.parts[1].config, teacher).stages[1], init_student(ladder.parts[1], key))
    assert_close(ladder.students(together)[1], alone.student.params["net"], 1e-4)


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_units_that_are_padded_stay_zero(memory_run, core):
    env, teacher, experience = gathered(memory_run.path)
    ladder = make_ladder(env, sizes(core, 8, 3), teacher)
    state = jax.tree.map(jnp.copy, experience._replace(student=ladder.init(jax.random.key(1))))
    after, _ = run_stage(env, ladder.distil, 1, state, jax.random.key(2), Display(quiet=True), "")
    narrow = jax.tree.map(lambda x: x[1], after.student.params)
    like = jax.eval_shape(lambda key: init_student(ladder.parts[1], key).params, jax.random.key(0))
    again = padded(cut(narrow, like), narrow)
    for kept, whole in zip(jax.tree.leaves(again), jax.tree.leaves(narrow), strict=True):
        np.testing.assert_array_equal(kept, whole)


@pytest.mark.parametrize("core", ["mlp", "gru"])
def test_a_padded_team_plays_as_the_narrow_one(memory_run, core):
    env, teacher, experience = gathered(memory_run.path)
    ladder = make_ladder(env, sizes(core, 8, 3), teacher)
    narrow = ladder.parts[1].student
    params, inputs = random_params(narrow), jax.tree.map(lambda x: x[0], experience.memory.inputs)
    like = jax.eval_shape(ladder.team.init, jax.random.key(0))
    n, key = len(inputs.reward), jax.random.key(0)
    ours = ladder.team.step(padded(params, like), ladder.team.carry(n), inputs, key)[1].scores
    assert_close(ours, narrow.step(params, narrow.carry(n), inputs, key)[1].scores, 1e-6)


def test_students_that_differ_in_more_than_width_are_refused(memory_run):
    env, teacher, _ = gathered(memory_run.path)
    with pytest.raises(BadInput, match="differ in width alone"):
        make_ladder(env, [*sizes("mlp", 8), *sizes("gru", 8)], teacher)


# ---- the sequential test ---------------------------------------------------------------------------------------------
def test_the_interval_of_a_ratio_of_shares_has_a_width_where_all_succeed():
    share, (low, high) = ratio_of_shares((128, 128), (320, 320))
    assert share == 1 and low == pytest.approx(wilson(128, 128)[0]) and high == pytest.approx(1 / wilson(320, 320)[0])
    assert ratio_of_shares((0, 64), (32, 64))[1][0] == 0


def test_the_interval_of_a_ratio_of_shares_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = [
        low <= 0.8 / 0.9 <= high
        for _ in range(2000)
        for _, (low, high) in [ratio_of_shares((rng.binomial(64, 0.8), 64), (rng.binomial(320, 0.9), 320))]
    ]
    assert 0.93 < np.mean(held) < 0.97


@pytest.mark.parametrize(
    ("won", "of", "keep", "keeps", "decided"),
    [
        (64, 64, 0.95, True, False),  # too few episodes to say so
        (128, 128, 0.95, True, True),
        (40, 64, 0.95, False, True),
        (60, 64, 0.95, False, False),
        (300, 320, 0.95, False, False),
        (308, 320, 0.95, True, False),
        (308, 320, 0.9, True, True),
        (280, 320, 0.95, False, True),
    ],
)
def test_it_is_decided_where_the_interval_leaves_the_share_out(won, of, keep, keeps, decided):
    student = Scores(np.arange(of) < won, np.zeros(of))
    share, interval = share_kept(student, Scores(np.arange(320) < 320, np.zeros(320)), "success", 0.0, Z_LOOKS)
    assert verdict(share, interval, keep) == (keeps, decided)


def test_of_returns_the_share_is_that_of_the_way_from_random_play():
    teacher = Scores(np.zeros(4, bool), np.array([-10.0, -12.0, -8.0, -10.0]))
    student = Scores(np.zeros(4, bool), np.array([-15.0, -17.0, -13.0, -15.0]))
    share, (low, high) = share_kept(student, teacher, "return", -30.0)
    assert share == pytest.approx(0.75) and low < 0.75 < high
    assert json.loads(json.dumps(verdict(share, (low, high), 0.7))) == [True, low >= 0.7]


# ---- the search ------------------------------------------------------------------------------------------------------
def table(least, asked):
    """A judge by whom a student keeps the share from a width on, `least` by core; notes what it was asked."""

    def judge(core, widths):
        asked.append((core, tuple(widths)))
        share = lambda width: min(1.0, width / least.get(core, 10**6))
        return [Judged(Size(core, w), 64, share(w), share(w), 0.0, 1.0, share(w) >= 1, True) for w in widths]

    return judge


@pytest.mark.parametrize("least", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 15, 16])
@pytest.mark.parametrize("top", [16, 23, 300])
def test_bisection_finds_the_smallest(least, top):
    asked = []
    allowed = lambda size: size.width <= top
    judged, best = find_smallest(table({"mlp": least}, asked), ["mlp"], allowed, COSTS.team)
    assert best.size == Size("mlp", least) and len(asked) <= 4
    tried = [each.size.width for each in judged]
    assert len(set(tried)) == len(tried) and max(tried) <= top


@pytest.mark.parametrize("least", [17, 33, 50, 100, 257, 300])
def test_wide_students_are_found_to_an_eighth(least):
    best = find_smallest(table({"mlp": least}, []), ["mlp"], lambda size: size.width <= 300, COSTS.team)[1]
    assert least <= best.size.width <= least * 1.15


def test_nothing_is_found_where_none_keeps_it():
    judged, best = find_smallest(table({}, []), ["mlp"], lambda size: size.width <= 40, COSTS.team)
    assert best is None and max(each.size.width for each in judged) == 40


def test_of_a_later_core_only_cheaper_students_are_tried():
    asked = []
    best = find_smallest(table({"mlp": 9, "gru": 2}, asked), ["mlp", "gru"], lambda size: size.width < 64, COSTS.team)[
        1
    ]
    assert best.size == Size("gru", 2)
    others = [Size(core, width) for core, widths in asked for width in widths if core == "gru"]
    assert others and max(COSTS.team(size).macs for size in others) < COSTS.team(Size("mlp", 9)).macs
    assert find_smallest(table({"mlp": 2, "gru": 60}, []), ["mlp", "gru"], lambda size: True, COSTS.team)[1].size == (
        Size("mlp", 2)
    )


def test_nothing_is_left_to_try_beside_the_smallest():
    assert next_widths({32: True, 16: True, 8: True, 4: False, 5: False, 6: True}, 300) == ()
    assert next_widths({8: True, 4: False}, 300) == (7, 6, 5)


def test_the_best_within_a_budget_is_the_cheapest_of_those_that_keep_most():
    judged, best = find_best(table({"mlp": 6}, []), ["mlp"], lambda size: size.width <= 12, COSTS.team)
    assert [each.size.width for each in judged] == [12, 9, 6, 3] and best.size.width == 6


# ---- budgets ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [("flops=20k", "flops", 20_000), ("bytes=8k", "bytes", 8_000), ("params=1.5M", "params", 1.5e6),
     ("latency=20us", "latency", 20), ("latency=1ms", "latency", 1000), ("ratio=100", "ratio", 100)],
)  # fmt: skip
def test_budgets_have_units(text, kind, limit):
    budget = parse_budget(text)
    assert (budget.kind, budget.limit) == (kind, limit)


@pytest.mark.parametrize(
    "text", ["flops", "flops=", "flops=k", "flops=-3", "flops=0", "size=3", "ratio=1e999", "latency=2k"]
)
def test_a_strange_budget_is_refused_by_its_name(text):
    with pytest.raises(BadInput, match=r"within: budget 'size'|within = "):
        parse_budget(text)


def test_the_widest_within_a_budget_meets_it_and_the_next_does_not():
    per_agent = lambda width: sum(2 * layer_cost("mlp", i, width, 4).macs for i in (10, 12)) / 2
    for text, of in (("flops=1k", per_agent), ("bytes=4k", lambda w: COSTS.agent(Size("mlp", w), "bytes"))):
        budget = parse_budget(text)
        top = widest("mlp", lambda size, b=budget: b.fits(size, COSTS, {}))
        assert of(top) <= budget.limit < of(top + 1)
    ratio = parse_budget("ratio=100")
    top = widest("gru", lambda size: ratio.fits(size, COSTS, {}))
    assert 100 * COSTS.team(Size("gru", top)).macs <= 50_000 < 100 * COSTS.team(Size("gru", top + 1)).macs


def test_a_latency_is_that_of_the_next_size_that_was_measured():
    budget, measured = parse_budget("latency=9us"), {Size("mlp", 8): 8.0, Size("mlp", 16): 10.0, Size("gru", 64): 5.0}
    assert widest("mlp", lambda size: budget.fits(size, COSTS, measured)) == 8


# ---- the command -----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shrunk(memory_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("shrink") / "small"
    assert exit_code(["shrink", str(memory_run.path), "-o", str(out), "--keep", "0.9", *SMALL]) == 0
    return out


def test_where_memory_is_needed_the_smallest_student_has_some(shrunk, memory_run):
    report, run = json.loads((shrunk / "shrink.json").read_text()), tutelage.load(shrunk)
    assert report["chosen"]["core"] == "gru" and report["chosen"]["keeps"] and report["test"]["share"] > 0.8
    without = [each for each in report["students"] if each["core"] == "mlp"]
    assert without and not any(each["keeps"] for each in without)
    assert min(each["episodes"] for each in without) == 64  # far from it: decided at the first look
    (group,) = run.policy("student").groups
    assert (group.agent.kind, group.agent.width) == ("gru", report["chosen"]["width"])
    assert run.record["method"] == "kd_marl" and run.record["config"]["size"] == f"width={group.agent.width}"
    assert (shrunk / "shrink.png").stat().st_size > 1000


def test_what_is_found_is_an_ordinary_run(shrunk, capsys):
    test = json.loads((shrunk / "eval.json").read_text())
    assert exit_code(["eval", str(shrunk), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["success_rate"], again["episodes"]) == (test["success_rate"], 320)
    for argv in (["cost", str(shrunk), "--no-latency"], ["verify", str(shrunk)], ["resume", str(shrunk)]):
        assert exit_code(argv) == 0, argv


def test_a_budget_that_is_too_small_is_told_with_the_nearest(shrunk):
    report = json.loads((shrunk / "shrink.json").read_text())
    worst = {**report["chosen"], "share": 0.4, "low": 0.3, "high": 0.5, "keeps": False}
    first = findings({**report, "within": "flops=20", "chosen": worst})[0]
    assert first.startswith(f"no student within flops=20 keeps 0.9; the nearest is gru {worst['width']}")
    assert "0.400 [0.300, 0.500]" in first


def test_a_test_below_the_share_is_a_warning_that_names_the_next_larger(shrunk):
    report = json.loads((shrunk / "shrink.json").read_text())
    larger = {**report["chosen"], "width": 99, "flops": 10**9, "keeps": True}
    told = findings({**report, "students": [larger], "test": {**report["test"], "share": 0.5}})
    assert told[-1].startswith("warning: that is less than 0.9") and "gru 99" in told[-1]


def test_from_scratch_the_sizes_next_to_the_chosen_one_are_trained():
    students = [{"core": "mlp", "width": width} for width in (4, 32, 8, 16)] + [{"core": "gru", "width": 5}]
    about = lambda width: [
        x["width"] for x in sizes_about({"chosen": {"core": "mlp", "width": width}, "students": students})
    ]
    assert (about(8), about(4), about(32)) == ([4, 8, 16], [4, 8], [16, 32])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(keep=0.0), "keep = 0.0: must be greater than 0 and at most 1"),
        (dict(keep=1.2), "keep = 1.2"),
        (dict(within="flops=1"), r"within = 'flops=1': cannot be met; the smallest student, mlp 1, has \d+ FLOPs"),
        (dict(within="weight=3"), "within: budget 'weight'"),
        (dict(cores=("rnn",)), "core 'rnn'"),
        (dict(cores=()), "cores = none"),
        (dict(seed=-1), "seed = -1"),
        (dict(size="width=3"), "size = 'width=3': it is what shrink looks for"),
        (dict(data="dagger"), "data = 'dagger': shrink needs 'offline'"),
        (dict(gather=0), "gather = 0"),
        (dict(against="all"), "against 'all'"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_written(memory_run, tmp_path, arguments, message):
    with pytest.raises(BadInput, match=message):
        shrink(memory_run.path, out=tmp_path / "out", quiet=True, **arguments)
    assert not (tmp_path / "out").exists()


def test_teachers_that_are_none_and_directories_in_use_are_refused(memory_run, tmp_path):
    for name, message in (("nowhere", "no run at nowhere"), (f"{memory_run.path}@coach", "no policy 'coach'")):
        with pytest.raises(BadInput, match=message):
            shrink(name, out=tmp_path / "out", quiet=True)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        shrink(memory_run.path, out=tmp_path, quiet=True)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_an_interrupt_while_the_run_is_written_leaves_nothing(memory_run, shrunk, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    env, teacher, _ = gathered(memory_run.path)
    (config,) = sizes("mlp", 2)
    params = kd_marl(env, config, teacher).roles["student"].init(jax.random.key(0))
    trials = SimpleNamespace(env=env, teacher=teacher, config=config, params={Size("mlp", 2): params}, steps=0)
    report, record = json.loads((shrunk / "shrink.json").read_text()), tutelage.load(shrunk).record["teacher"]
    monkeypatch.setattr(write, "write_finished_run", stop)
    with pytest.raises(KeyboardInterrupt):
        write.write_run(tmp_path, trials, Size("mlp", 2), None, record, report, Display(quiet=True))
    assert not any(tmp_path.iterdir())


def test_an_interrupt_before_leaves_nothing(memory_run, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Trials, "gather", stop)
    with pytest.raises(KeyboardInterrupt):
        shrink(memory_run.path, out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()

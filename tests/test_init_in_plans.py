"""Rows of a plan whose training starts from another row's weights."""

from __future__ import annotations

import pytest

import tutelage
from tutelage import BadInput
from tutelage.experiment.plan import fingerprint, read_plan
from tutelage.experiment.shape_check import check_rows
from tutelage.experiment.sinks import Display
from tutelage.experiment.sweep import missing_results, sweep
from tutelage.experiment.sweep_paths import SweepPaths
from tutelage.report.results import read_results

ROW = """
[[row]]
name = "{name}"
method = "{method}"
env = "probe/action"
variant = "some"
seeds = 1
priority = 1
minutes = 1
"""
SMALL = 'config = {core = "mlp", size = "width=4", critic_width = 4, envs = 16, rollout = 4, chunk = 1, steps = 600}\n'
GOES_ON = "config = {envs = 16, rollout = 4, chunk = 1, steps = 300, critic_warm_up = 299}\n"


def row(name, method, *more):
    return ROW.format(name=name, method=method) + "".join(more)


def plan(tmp_path, *rows):
    path = tmp_path / "plan.toml"
    path.write_text("".join(rows))
    return path


def test_a_row_starts_from_another_rows_run_of_the_same_seed_and_follows_it(tmp_path):
    first, second = row("a/x", "mappo", SMALL), row("b/{task}", "mappo", GOES_ON, 'init = "a/x@student"\n')
    path = plan(tmp_path, second, first)
    places = SweepPaths(tmp_path / "results", tmp_path / "runs", tmp_path / "zoo")
    rows = read_plan(path)
    before = fingerprint(rows["b/action"], rows)
    assert sweep(path, places, display=Display(quiet=True)) == (2, 0)
    found = read_results(places.results)
    assert found["b/action"].seeds[0]["init"] == {"name": "a/x@student", "test": found["a/x"].seeds[0]["test"]}
    runs = [tutelage.load(places.run(rows[name], 0)) for name in ("a/x", "b/action")]
    assert (runs[0].path / "student.safetensors").read_bytes() == (runs[1].path / "student.safetensors").read_bytes()
    changed = read_plan(plan(tmp_path, second, first.replace("steps = 600", "steps = 700")))
    assert fingerprint(changed["b/action"], changed) != before
    assert {r.name for r, _ in missing_results(changed, places, "*")} == {"a/x", "b/action"}
    other = read_plan(plan(tmp_path, second.replace("@student", ""), first))
    assert fingerprint(other["b/action"], other) != before


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((row("a/x", "mappo", 'init = "a/y"\n'),), "unknown init of row 'a/x' 'a/y'; there are none"),
        ((row("a/x", "mappo", 'init = "a/x"\n'),), "'a/x' is taught by itself: a/x <- a/x"),
        ((row("f/x", "random"), row("a/x", "mappo", 'init = "f/x"\n')), "its init 'f/x' is only evaluated"),
        (
            (row("a/x", "mappo"), row("f/x", "random", 'init = "a/x"\n')),
            "it has no config, preset, teacher, init or zoo",
        ),
    ],
)
def test_rows_that_can_start_from_nothing_are_refused(tmp_path, rows, message):
    with pytest.raises(BadInput, match=message):
        read_plan(plan(tmp_path, *rows))


def test_what_does_not_fit_is_refused_before_any_row_is_run(tmp_path):
    wide = row("b/x", "mappo", 'config = {size = "width=8"}\n', 'init = "a/x"\n')
    rows = read_plan(plan(tmp_path, row("a/x", "mappo", SMALL), wide))
    with pytest.raises(BadInput, match="row 'b/x': init = a/x: student does not fit: width is 4 there, 8 here"):
        check_rows({"b/x"}, rows)

"""The results harness: plans are checked, rows run once and in order, and tables say what the results say."""

from __future__ import annotations

import json
from contextvars import Context
from dataclasses import dataclass, replace

import pytest

from conftest import ROOT
from tutelage import BadInput, make
from tutelage.cli.jobs import cores
from tutelage.cli.main import exit_code
from tutelage.configs.checks import fingerprinted, later
from tutelage.errors import Fault
from tutelage.experiment import plan as plans
from tutelage.experiment.plan import fingerprint, read_plan, settings_of
from tutelage.experiment.run_lock import try_lock
from tutelage.experiment.sinks import Display
from tutelage.experiment.sweep import missing_results, needed_runs, sweep
from tutelage.experiment.sweep_paths import SweepPaths
from tutelage.registry import METHODS, method_config
from tutelage.report import curves
from tutelage.report.ablations import ablations, front, sights
from tutelage.report.curves import draw_front
from tutelage.report.glance import ddn_glance, hint_glance
from tutelage.report.hint import hint_table
from tutelage.report.results import (
    Expected,
    RowResults,
    current_results,
    mark_other_jax,
    marl_eval,
    read_results,
    short,
)
from tutelage.report.scores import measure
from tutelage.report.scratch import ratios, verdict
from tutelage.report.tables import TABLES, choices, fill, first_look, headline
from tutelage.report.value import value_based, value_changes

TINY = 'config = {core = "mlp", size = "width=4", critic_width = 4, envs = 16, rollout = 4, chunk = 1, steps = 600}'
STUDENT = 'config = {core = "mlp", size = "width=2", gather = 64, envs = 16, batch = 8, passes = 2}'


def row(name: str, method: str, *more: str, seeds: int = 1, priority: int = 1, env: str = '"probe/action"') -> str:
    lines = [f'name = "{name}"', f'method = "{method}"', f"env = {env}", 'variant = "some"']
    lines += [f"seeds = {seeds}", f"priority = {priority}", "minutes = 1", *more]
    return "\n".join(["[[row]]", *lines, ""])


PLAN = "\n".join([
    row("kd_marl/action", "kd_marl", 'teacher = "mappo/action"', "zoo = true", STUDENT, seeds=2),
    row("mappo/action", "mappo", TINY, seeds=2),
    row("random/action", "random", priority=2),
    row("scripted/action", "scripted", priority=0),
])  # fmt: skip


def plan_of(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return path


def places_of(tmp_path):
    return SweepPaths(tmp_path / "results", tmp_path / "runs", tmp_path / "zoo")


def test_rows_run_once_in_order_and_only_what_changed_runs_again(tmp_path):
    plan, places = plan_of(tmp_path, PLAN), places_of(tmp_path)
    rows = read_plan(plan)
    order = [(r.name, seed) for r, seed in missing_results(rows, places, "*")]
    assert order == [
        ("scripted/action", 0), ("kd_marl/action", 0), ("mappo/action", 0), ("kd_marl/action", 1), ("mappo/action", 1),
        ("random/action", 0),
    ]  # fmt: skip
    two = [(r.name, seed) for r, seed in missing_results(rows, places, "random/*, mappo/*")]
    assert two == [("mappo/action", 0), ("mappo/action", 1), ("random/action", 0)]
    with pytest.raises(BadInput, match="unknown row 'mapo'"):
        list(missing_results(rows, places, "random/*,mapo"))
    assert sweep(plan, places, display=Display(quiet=True)) == (6, 0)
    assert sweep(plan, places, display=Display(quiet=True)) == (0, 0)

    found = read_results(places.results)
    student, expert = found["kd_marl/action"], found["mappo/action"]
    assert [s["seed"] for s in student.seeds] == [0, 1] and student.seeds[0]["teacher"]["name"] == "mappo/action"
    for s, t in zip(student.seeds, expert.seeds, strict=True):
        assert s["teacher"]["test"] == t["test"], "seed s learns from seed s"
    assert found["scripted/action"].success[0] == 1 and found["random/action"].success[0] < 0.9
    assert (places.zoo / "kd_marl" / "probe-action" / "student.safetensors").exists()
    assert set(marl_eval(found)["probe"]["action"]) == {"kd_marl", "mappo", "random", "scripted"}

    changed = plan_of(tmp_path, PLAN.replace("passes = 2", "passes = 3"))
    again = [(r.name, seed) for r, seed in missing_results(read_plan(changed), places, "*")]
    assert again == [("kd_marl/action", 0), ("kd_marl/action", 1)]
    changed = plan_of(tmp_path, PLAN.replace("steps = 600", "steps = 700"))
    again = {r.name for r, _ in missing_results(read_plan(changed), places, "*")}
    assert again == {"kd_marl/action", "mappo/action"}, "a student follows its teacher"
    assert [r.name for r, _ in missing_results(read_plan(changed), places, "kd*")] == ["kd_marl/action"] * 2

    # A run that says more or less of itself, as another version's would, is the same run while its fingerprint is.
    expert = places.run(rows["mappo/action"], 0)
    (expert / "row.json").write_text(json.dumps({"fingerprint": fingerprint(rows["mappo/action"], rows)}))
    kept = (expert / "metrics.jsonl").read_bytes()
    (places.results / "kd_marl/action/seed-0.json").unlink()
    assert sweep(plan_of(tmp_path, PLAN), places, display=Display(quiet=True)) == (1, 0)
    assert (expert / "metrics.jsonl").read_bytes() == kept

    for name in ("README.md", "docs.md"):
        (tmp_path / name).write_text("".join(f"<!-- table: {t} -->\nold\n<!-- end -->\n" for t in TABLES))
        assert fill(tmp_path / name, found) and "old" not in (tmp_path / name).read_text()


def test_seeds_begin_where_the_row_says_and_the_zoo_has_the_first(tmp_path):
    rows = [
        row("mappo/action", "mappo", TINY, "zoo = true", "first_seed = 3"),
        row("random/action", "random", "first_seed = 1", seeds=2),
    ]
    plan, places = plan_of(tmp_path, "\n".join(rows)), places_of(tmp_path)
    order = [(r.name, seed) for r, seed in missing_results(read_plan(plan), places, "*")]
    assert order == [("mappo/action", 3), ("random/action", 1), ("random/action", 2)]
    first = [(r.name, seed) for r, seed in missing_results(read_plan(plan), places, "*", seeds=1)]
    assert first == [("mappo/action", 3), ("random/action", 1)], "one seed of each"
    assert sweep(plan, places, seeds=1, display=Display(quiet=True)) == (2, 0)
    assert sweep(plan, places, "mappo/*", display=Display(quiet=True)) == (0, 0)
    assert [s["seed"] for s in read_results(places.results)["mappo/action"].seeds] == [3]
    assert json.loads((places.zoo / "mappo" / "probe-action" / "config.json").read_text())["seed"] == 3


def test_a_run_whose_loss_is_no_number_does_not_keep_others_from_running(tmp_path):
    bad = row("mappo/action/bad", "mappo", TINY.replace("}", ", lr = 1e30}"), priority=0)
    rows = [
        bad,
        row("kd_marl/action", "kd_marl", STUDENT, 'teacher = "mappo/action/bad"', priority=0),
        row("random/action", "random"),
    ]
    plan, places = plan_of(tmp_path, "\n".join(rows)), places_of(tmp_path)
    said = r"1 results made, 2 runs broke: mappo/action/bad seed 0: .* became nan"
    with pytest.raises(Fault, match=said) as failure:
        sweep(plan, places, display=Display(quiet=True))
    assert "; kd_marl/action seed 0: " in str(failure.value), "who needs it is named too"
    assert set(read_results(places.results)) == {"random/action"}


def test_a_damaged_run_does_not_keep_others_from_being_made(tmp_path):
    plan, places = plan_of(tmp_path, row("mappo/action", "mappo", TINY, seeds=2)), places_of(tmp_path)
    assert sweep(plan, places, seeds=1, display=Display(quiet=True)) == (1, 0)
    (places.results / "mappo" / "action" / "seed-0.json").unlink()
    (places.runs / "mappo" / "action" / "seed-0" / "eval.json").write_text("{")
    with pytest.raises(Fault, match=r"1 results made, 1 runs broke: mappo/action seed 0: .*eval.json is damaged"):
        sweep(plan, places, display=Display(quiet=True))
    assert [x["seed"] for x in read_results(places.results)["mappo/action"].seeds] == [1]
    (places.results / "mappo" / "action" / "seed-1.json").write_text("[]")
    with pytest.raises(Fault, match=r"seed-1.json is damaged"):
        read_results(places.results)


@pytest.mark.parametrize("damaged", [None, "{", "[]"])
def test_what_no_sweep_has_made_is_not_taken_away(tmp_path, damaged):
    plan, places = plan_of(tmp_path, row("mappo/action", "mappo", TINY)), places_of(tmp_path)
    folder = places.runs / "mappo" / "action" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "notes.md").write_text("mine")
    if damaged:
        (folder / "row.json").write_text(damaged)
    with pytest.raises(Fault, match="made by no sweep"):
        sweep(plan, places, display=Display(quiet=True))
    assert (folder / "notes.md").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *[(row(name, "mappo", TINY), "must be a path below runs/") for name in ("", "/a", "../a", "a/../b", "a//b")],
        (row("mappo/x", "mappo", 'teacher = "scripted:local"'), "mappo learns by itself and takes none"),
        (row("kd_marl/x", "kd_marl", 'teacher = "kd_marl/y"'), "'kd_marl/y'; there are none"),
        ("rows = 3", "unknown key 'rows'"),
        ("rows = 3\nname = 4", "unknown key 'name', 'rows'"),
        ("", r"allowed: \[\[row\]\] tables, at least one"),
    ],
)  # fmt: skip
def test_plans_that_would_do_harm_or_nothing_are_refused(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        read_plan(plan_of(tmp_path, text))


def test_a_plan_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match=r"plan .*: 'utf-8' codec"):
        read_plan(tmp_path / "plan.toml")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (row("mappo/action", "mappo", 'config = {size = "width=-8"}'), "row 'mappo/action': size = 'width=-8'"),
        (row("mappo/action", "mappo", 'config = {sight = "drop=nonsense"}'), "row 'mappo/action': .*nonsense"),
        (row("hint/action", "hint"), "row 'hint/action': .*goals"),
        (row("bc/action", "bc", 'teacher = "scripted:nobody"'), "row 'bc/action': .*'nobody'"),
        (
            row("mappo/action", "mappo", TINY) + row("bc/action", "bc", 'teacher = "mappo/action"'),
            "row 'bc/action': size = 'ratio=28.6': cannot be met",
        ),
    ],
)
def test_a_row_that_cannot_be_trained_is_refused_before_any_other_is(tmp_path, rows, message):
    plan = plan_of(tmp_path, row("random/action", "random", priority=0) + rows)
    with pytest.raises(BadInput, match=message):
        sweep(plan, places_of(tmp_path), display=Display(quiet=True))
    assert [file.name for file in tmp_path.iterdir()] == ["plan.toml"]


def change(result, *path, value):
    """The same with one value another."""
    changed = json.loads(json.dumps(result))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("seed",), "x", "seed = 'x': must be int"),
        (("seed",), 1, "row and seed belong at random/action/seed-1.json"),
        (("row",), "random/other", "row and seed belong at random/other/seed-0.json"),
        (("test", "success_rate"), 1.5, "success_rate = 1.5: must be between 0 and 1"),
        (("curve",), [{"total_steps": 3}], r"curve\[0\] has total_steps: must have total_steps, seconds"),
        (("curv",), [], "unknown field 'curv'; did you mean 'curve'"),
        (("widths",), 3, "widths = 3: must be list"),
    ],
)
def test_a_damaged_result_is_named_in_one_line(tmp_path, path, value, message):
    plan, places = plan_of(tmp_path, row("random/action", "random")), places_of(tmp_path)
    sweep(plan, places, display=Display(quiet=True))
    file = places.results / "random" / "action" / "seed-0.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()), *path, value=value)))
    with pytest.raises(Fault, match=f"seed-0.json is damaged: .*{message}.*delete it and `tutelage sweep`"):
        read_results(places.results)


def test_a_table_without_an_end_leaves_what_follows_alone(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table: verdict -->\nmine\n<!-- table: all-rows -->\n<!-- end -->\n")
    assert fill(page, {})
    assert page.read_text().startswith("<!-- table: verdict -->\nmine\n<!-- table: all-rows -->\n| row |")


@pytest.mark.skipif(len(cores()) < 2, reason="two processes need two cores")
def test_sweeps_side_by_side_share_the_work(tmp_path):
    plan, places = plan_of(tmp_path, PLAN), places_of(tmp_path)
    rows = read_plan(plan)
    with try_lock([places.run(rows["mappo/action"], 0)]) as other:
        assert other

        # What needs the claimed run is left out: its result, and its students' while it is not trained.
        def claims(seed):
            with try_lock(needed_runs(rows["kd_marl/action"], seed, rows, places)) as mine:
                return mine

        assert not Context().run(claims, 0) and Context().run(claims, 1)  # as another process would
    assert exit_code(["sweep", str(plan), "--out", str(tmp_path / "out"), "--jobs", "2"]) == 0
    logs = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("[kms]*/**/seed-*.json")]
    assert sorted((x["row"], x["seed"]) for x in logs) == [
        ("kd_marl/action", 0), ("kd_marl/action", 1), ("mappo/action", 0), ("mappo/action", 1), ("scripted/action", 0),
    ]  # fmt: skip
    assert {x["device"]["used"] for x in logs} == {len(cores()) // 2}
    assert exit_code(["sweep", str(plan), "--jobs", "0"]) == 2
    assert exit_code(["sweep", str(plan), "--seeds", "0"]) == 2


def test_one_row_can_be_for_many_environments(tmp_path):
    text = row("kd_marl/{task}/x", "kd_marl", 'teacher = "mappo/{task}"', env='["probe/action", "probe/value"]')
    text += row("mappo/{task}", "mappo", env='["probe/action", "probe/value"]')
    rows = read_plan(plan_of(tmp_path, text))
    assert list(rows) == ["kd_marl/action/x", "kd_marl/value/x", "mappo/action", "mappo/value"]
    assert (rows["kd_marl/value/x"].env, rows["kd_marl/value/x"].teacher) == ("probe/value", "mappo/value")
    alone = row("kd_marl/value/x", "kd_marl", 'teacher = "mappo/value"', env='"probe/value"')
    alone += row("mappo/value", "mappo", env='"probe/value"')
    same = read_plan(plan_of(tmp_path, alone))
    assert fingerprint(same["kd_marl/value/x"], same) == fingerprint(rows["kd_marl/value/x"], rows)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (row("a/b", "mapo"), "unknown method 'mapo'"),
        (row("a/b", "mappo", env='"probe/none"'), "unknown environment 'probe/none'"),
        (row("a/b", "mappo", "config = {width = 3}"), "unknown field of mappo 'width'"),
        (row("a/b", "kl", 'teacher = "c/d"'), "unknown teacher of row 'a/b' 'c/d'"),
        (row("a/b", "mappo") * 2, "'a/b' is named twice"),
        (row("a/b", "mappo", env='["probe/action", "probe/value"]'), "'a/b' is named twice"),
        (row("a/b", "mappo", "seed = 3"), "unknown key 'seed'"),
        (row("a/b", "random", "config = {steps = 3}"), "only evaluated"),
        (row("a/b", "mappo", "fit = {acts = 1}"), "unknown field of fit 'acts'"),
        (row("a/b", "mappo", 'fit = {act = "best"}'), "unknown act 'best'"),
        ('[[row]]\nname = "a/b"', "key: method, env, variant, seeds, priority, minutes are missing$"),
        (
            '[[row]]\nnames = "a/b"\nmethods = "mappo"',
            "'names'; .*; unknown key 'methods'; .*; key: name, method, .* are missing",
        ),
        (row("a/b", "mappo", "config = {steps = 1.5}"), "steps = 1.5: must be int"),
        (row("a/b", "mappo", "each = []"), "'a/b' .* allowed: a list of tables, at least one"),
        (row("a/b", "mappo", "each = [3]"), r"each = \[3\]; allowed"),
        (row("a/b", "mappo", 'each = [{name = "c/d"}, {seed = 3, name = "e/f"}]'), "row 'e/f' .* unknown key 'seed'"),
        (row("a/b", "mappo", "each = [{each = [{}]}]"), "none with an each"),
        (row("a/b", "mappo", "eache = [{}]"), "unknown key 'eache'; did you mean 'each'"),
        (row("a/b", "mappo", 'env_options = {reward = "sourc"}', env='"marine/easy"'), "did you mean 'source'"),
        (row("a/b", "mappo", "config = 3"), "row 'a/b' .* config = 3: must be dict"),
        (row("a/b", "mappo", 'config = {steps = "2M"}'), "steps = '2M': must be int"),
        (row("a/b", "mappo", "fit = {act = 3}"), "unknown act '3'"),
        (row("a/b", "mappo", seeds=0), "seeds = 0: must be greater than 0"),
        (row("a/b", "mappo", env="3"), "env = 3: must be str"),
        ("row = 3", r"row = 3; allowed: \[\[row\]\] tables"),
        ("[[row]", "plan"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_by_name(tmp_path, text, names):
    with pytest.raises(BadInput, match=names):
        read_plan(plan_of(tmp_path, text))


def test_whole_numbers_of_a_plan_are_also_written_as_1e6(tmp_path):
    short = row("a/b", "mappo", "config = {steps = 1e6}\nenv_options = {max_steps = 1e2}", env='"smax/3m"', seeds="1e1")
    long = row(
        "a/b", "mappo", "config = {steps = 1_000_000}\nenv_options = {max_steps = 100}", env='"smax/3m"', seeds=10
    )
    plans = [read_plan(plan_of(tmp_path, text)) for text in (short, long)]
    assert settings_of(plans[0]["a/b"]).steps == 1_000_000 and plans[0]["a/b"].seeds == 10
    assert fingerprint(plans[0]["a/b"], plans[0]) == fingerprint(plans[1]["a/b"], plans[1])


def test_each_repeats_a_row_and_adds_to_its_tables(tmp_path):
    each = [
        '{env = ["probe/value", "probe/memory"]}',
        '{name = "c/{task}/small", priority = 2, config = {size = "width=8", steps = 600}}',
    ]
    shared = row("a/{task}", "mappo", 'config = {size = "width=4", envs = 16}', f"each = [{', '.join(each)}]")
    rows = read_plan(plan_of(tmp_path, shared))
    assert {name: (r.env, r.priority, r.config) for name, r in rows.items()} == {
        "a/value": ("probe/value", 1, {"size": "width=4", "envs": 16}),
        "a/memory": ("probe/memory", 1, {"size": "width=4", "envs": 16}),
        "c/action/small": ("probe/action", 2, {"size": "width=8", "envs": 16, "steps": 600}),
    }


def test_a_field_that_joined_later_leaves_fingerprints_alone_at_its_old_value():
    @dataclass(frozen=True)
    class Before:
        lr: float = 0.1

    @dataclass(frozen=True)
    class After(Before):
        form: str = later("old")

    assert fingerprinted(Before()) == fingerprinted(After()) == {"lr": 0.1}
    assert fingerprinted(After(form="new")) == {"lr": 0.1, "form": "new"}


# ---- tables --------------------------------------------------------------------------------------------------------
def results(
    name: str,
    scores: list[float],
    flops: float = 0.0,
    env: str = "smax/x",
    negative: bool = False,
    lr: float = 0.002,
) -> RowResults:
    """A row whose seeds have these scores: success rates, or returns (with no success) where `negative`."""
    method, teacher = name.split("/")[0], {"flops": 1000, "params": 1}
    cost = {"student": {"flops": flops or 100, "params": 1}, "teacher": teacher}
    test = [
        {"success_rate": 0.0 if negative else x, "return_mean": x if negative else 2 * x, "steps": 1, "seconds": 1}
        for x in scores
    ]
    cost = {"student": teacher} if name == "mappo/x" else cost
    measure = "return" if negative else "success"
    seeds = [dict(row=name, method=method, env=env, variant="v", seed=i, test=t, cost=cost, widths=[1], curve=[],
                  measure=measure, config={"lr": lr}) for i, t in enumerate(test)]  # fmt: skip
    return RowResults(name, seeds)


def rows_of(*found: RowResults) -> dict[str, RowResults]:
    return {r.name: r for r in found}


def cells(table: str, one: str) -> list[str]:
    """The line of a table that has this cell."""
    (line,) = [line for line in table.splitlines() if f"| {one} |" in line]
    return [cell.strip() for cell in line.strip("|").split("|")]


EXPERT, FULL = [0.9, 1.0, 0.95, 0.95], [0.85, 0.95, 0.9, 0.9]


def test_the_headline_is_the_ratio_of_means_over_shared_seeds():
    rows = rows_of(results("mappo/x", EXPERT), results("kd_marl/x", FULL[:3]), results("kl/x", [0.5]))
    row_cells = cells(headline(rows), "smax/x")
    assert row_cells[1] == "3" and row_cells[4].startswith(f"**{0.9 / 0.95:.3f}**") and row_cells[5] == "10.0x"
    assert row_cells[-4] == "0.500 (1)" and row_cells[-1] == "-"


def test_nothing_is_kept_of_an_expert_of_other_seeds():
    expert = results("mappo/x", EXPERT)
    expert.seeds[:] = [seed | {"seed": seed["seed"] + 10} for seed in expert.seeds]
    assert cells(headline(rows_of(expert, results("kd_marl/x", FULL))), "smax/x")[4] == "-"


def test_negative_returns_are_measured_from_random_play():
    rows = rows_of(
        results("mappo/x", [-10.0, -10.0], negative=True),
        results("kd_marl/x", [-12.0, -12.0], negative=True),
        results("random/x", [-30.0], negative=True),
    )
    row_cells = cells(headline(rows), "smax/x")
    assert row_cells[2].startswith("-10.00") and row_cells[4].startswith("**0.900**")
    del rows["random/x"]
    assert cells(headline(rows), "smax/x")[4] == "-", "no share of a way that has no beginning"


def test_what_a_task_is_judged_by_decides_what_is_scored_not_the_sign_of_returns():
    rows = rows_of(results("mappo/x", [0.5] * 5), results("kd_marl/x", [0.4] * 5), results("scripted/x", [0.3]))
    for row in rows.values():
        for s in row.seeds:
            s["test"]["return_mean"] = -1.0
    row_cells = cells(headline(rows), "smax/x")
    assert row_cells[2].startswith("0.500") and row_cells[-1] == "0.300 (1)", "the script stands beside"
    assert (
        measure(results("qmix/x", [1.0])) == "success" and measure(results("qmix/x", [1.0], negative=True)) == "return"
    )


def test_parameters_are_told_deployed_and_shared():
    rows = rows_of(results("mappo/x", EXPERT), results("kd_marl/x", FULL))
    for s in rows["kd_marl/x"].seeds:
        s |= {"widths": [4, 4], "cost_report": {"ratio": {"params": 30.0, "latency": 2.0, "latency_numpy": 3.0}}}
    assert cells(headline(rows), "smax/x")[6] == "30.0x / 15.0x", "two networks where the expert's agents share one"


def test_how_many_evaluations_parameters_were_chosen_from_is_told():
    rows = rows_of(results("mappo/x", EXPERT), results("kd_marl/x", FULL))
    for row, counts in (("mappo/x", (22, 22, 22, 22)), ("kd_marl/x", (20, 21, 33, 20))):
        for s, n in zip(rows[row].seeds, counts, strict=True):
            s["curve"] = [{}] * n
    assert cells(choices(rows), "`smax/x`")[:4] == ["`smax/x`", "22", "20 to 33", "-"]


def test_seeds_of_another_jax_than_most_are_marked():
    row, other = results("hint/x", [0.5] * 3, env="marine/x"), results("random/x", [0.0], env="marine/x")
    for s, jax in zip(row.seeds, ("0.10.2", "0.11.2", "0.10.2"), strict=True):
        s["versions"] = {"jax": jax}
    marked = mark_other_jax(rows_of(row, other))
    assert marked["hint/x"].variant == "v (jax 0.11.2: seeds 1)" and marked["random/x"].variant == "v"
    assert [marked[name].mark for name in ("hint/x", "random/x")] == ["†", ""]
    assert "0.500 (3)†" in hint_glance(marked) and "0.500 (3) |" in hint_glance(rows_of(row))
    assert mark_other_jax(rows_of(other)) == rows_of(other), "nothing says what it was made with"


def test_a_change_is_called_worse_or_better_only_where_its_interval_leaves_out_zero():
    rows = rows_of(
        results("mappo/x", [*EXPERT, 0.9]), results("kd_marl/x", [*FULL, 0.9]),
        results("kd_marl/x/no-kl", [x - 0.1 for x in FULL] + [0.85]),
        results("kd_marl/x/awr", [x + 0.02 for x in FULL] + [0.91]),
        results("kd_marl/x/no-rel", [0.9, 0.9, 0.95, 0.85, 0.9]), results("kd_marl/x/no-ce", [0.0] * 4),
    )  # fmt: skip
    table = ablations(rows)
    assert (
        cells(table, "without KL")[1] == "-0.090 [-0.118, -0.062]"
        and cells(table, "without KL")[2] == "worse on 1 of 1"
    )
    assert cells(table, "advantage term: weighted likelihood")[2] == "better on 1 of 1"
    assert cells(table, "without the relation term")[2] == "no difference shown on 1"
    assert cells(table, "without cross-entropy")[2] == "too few seeds"


def test_sight_is_told_as_retention():
    rows = rows_of(results("mappo/x", EXPERT), results("kd_marl/x", FULL), results("kd_marl/x/zero", [0.19] * 4))
    assert cells(sights(rows), "no sight, everybody")[1].startswith("0.200")


def test_the_front_finds_the_smallest_from_scratch_that_is_good_enough(tmp_path):
    rows = rows_of(
        results("mappo/x", EXPERT), results("kd_marl/x", FULL), results("kd_marl/x/ratio-100", FULL, flops=10),
        results("mappo/x/small", EXPERT, flops=100), results("mappo/x/ratio-5", EXPERT, flops=200),
        results("mappo/x/ratio-100", [0.5] * 4, flops=10),
    )  # fmt: skip
    table_text = front(rows)
    assert "smallest team from scratch with 95 % of the expert: 10.0x fewer" in table_text
    rows["ippo/x/small"] = results("ippo/x/small", EXPERT, flops=50)
    assert "with 95 % of the expert: 20.0x fewer" in front(rows), "of either method"
    draw_front(rows, tmp_path / "front.png")
    assert (tmp_path / "front.png").stat().st_size > 5000
    costs = [line.split("|")[3].strip() for line in table_text.splitlines() if "| distilled |" in line]
    assert costs == ["0.10", "0.01"]


def test_curves_are_drawn_of_all_that_a_method_is_compared_with(tmp_path, monkeypatch):
    rows = [results(name, [0.1, 0.3], env="smax/x") for name in
            ("ddn/x", "qmix/x", "qmix/x/published", "qmix/x/1m", "ddn/x/raw", "mappo/x")]  # fmt: skip
    rows.append(results("qmix/y", [0.5], env="smax/y"))  # ddn has no row there
    for row in rows:
        for s in row.seeds:
            s["curve"] = [dict(total_steps=1000 * i, success_rate=i / 10) for i in range(4)]
    drawn, draw = [], curves.draw_curve
    look = lambda axis, row, label, **style: (drawn.append((row.name, label)), draw(axis, row, label, **style))
    monkeypatch.setattr(curves, "draw_curve", look)
    curves.draw_compared(rows_of(*rows), tmp_path / "ddn.png", "ddn", ("ddn", "qmix"))
    assert drawn == [("ddn/x", "ddn"), ("qmix/x", "qmix"), ("qmix/x/published", "qmix/published")]
    assert (tmp_path / "ddn.png").exists()
    curves.draw_compared(rows_of(*rows), tmp_path / "hint.png", "hint", ("mappo",))
    assert not (tmp_path / "hint.png").exists(), "nothing to show, no picture"


def from_scratch(
    method: str, scores: list[float], best: float = 0.002, lr: float = 0.002, trials=(0.002, 0.004, 0.008)
):
    """A team of the students' size at a learning rate, and trials on other seeds, of which `best` does best."""
    tried = [results(f"{method}/x/small/lr-{i}", [0.9 if x == best else 0.5] * 2, lr=x) for i, x in enumerate(trials)]
    for row in tried:
        row.seeds[:] = [s | {"seed": s["seed"] + 100} for s in row.seeds]
    return [results(f"{method}/x/small", scores, lr=lr), *tried]


DISTILLED = [0.85, 0.95, 0.9, 0.9, 0.9]


@pytest.mark.parametrize(
    ("mappo", "ippo", "words"),
    [
        ([0.5, 0.6, 0.7, 0.6, 0.6], [0.7, 0.8, 0.7, 0.75, 0.8], "distillation helps; student minus the best of its size"
         " from scratch (`ippo/x/small`), success: +0.150 [+0.086, +0.214]"),
        ([0.5, 0.6, 0.7, 0.6, 0.6], [0.97, 0.99, 0.98, 0.98, 0.98], "from scratch is better"),
        ([0.88, 0.93, 0.9, 0.9, 0.89], [0.1] * 5, "no difference shown"),
    ],
)  # fmt: skip
def test_a_student_is_compared_with_the_best_of_its_size_from_scratch(mappo, ippo, words):
    expert, student = results("mappo/x", [0.9] * 5), results("kd_marl/x", DISTILLED)
    table_text = verdict(rows_of(expert, student, *from_scratch("mappo", mappo), *from_scratch("ippo", ippo)))
    assert table_text.startswith(f"- `smax/x`: {words}")


MAPPO_SCRATCH = from_scratch("mappo", [0.5, 0.6, 0.7, 0.6, 0.6])


@pytest.mark.parametrize(
    ("ippo", "lacks"),
    [
        ([], "IPPO from scratch"),
        (from_scratch("ippo", [0.8] * 4), "IPPO from scratch has 4 of 5 seeds"),
        (from_scratch("ippo", [0.8] * 5, trials=(0.004, 0.002)), "learning rates of IPPO not tried: 0.008"),
        (from_scratch("ippo", [0.8] * 5, best=0.008), "IPPO at its best learning rate, 0.008"),
        (from_scratch("ippo", [0.8] * 5)[:1], "no learning rates of IPPO tried"),
    ],
)
def test_without_both_from_scratch_tuned_alike_there_is_no_verdict(ippo, lacks):
    table_text = verdict(rows_of(results("mappo/x", [0.9] * 5), results("kd_marl/x", DISTILLED), *MAPPO_SCRATCH, *ippo))
    best = "`ippo/x/small`" if ippo else "`mappo/x/small`"
    assert table_text.startswith(f"- `smax/x`: not enough measured ({lacks}); student minus the best so far ({best}, ")
    assert "helps" not in table_text and "[" not in table_text


def test_of_four_seeds_of_the_student_there_is_no_verdict():
    rows = rows_of(results("mappo/x", [0.9] * 5), results("kd_marl/x", DISTILLED[:4]), *MAPPO_SCRATCH,
                   *from_scratch("ippo", [0.1] * 5))  # fmt: skip
    assert "not enough measured (the student has 4 of 5 seeds)" in verdict(rows)


def test_trials_on_seeds_that_are_compared_do_not_count():
    small, *tried = from_scratch("ippo", [0.8] * 5)
    for row in tried:
        row.seeds[:] = [s | {"seed": s["seed"] - 100} for s in row.seeds]
    rows = rows_of(results("mappo/x", [0.9] * 5), results("kd_marl/x", DISTILLED), *MAPPO_SCRATCH, small, *tried)
    assert "no learning rates of IPPO tried" in verdict(rows)


def test_students_are_compared_in_size_with_smaller_experts():
    """Products of three agents' layers: into the width, out of it, and six (GRU) or one (MLP) of width x width."""
    env = "smax/3m"
    rows = rows_of(
        results("mappo/3m", EXPERT, env=env, flops=28600.0), results("kd_marl/3m", FULL, env=env, flops=1000.0)
    )
    spec = make(env).spec
    inputs, actions = spec.obs_width + 3, spec.n_actions
    gru, mlp = (2 * 3 * (64 * (inputs + actions) + k * 64 * 64) for k in (6, 1))
    row_cells = cells(ratios(rows), "`smax/3m`")
    assert row_cells[1:5] == ["1.0", "28.6x", f"{gru / 1000:.1f}x", f"{mlp / 1000:.1f}x"] and row_cells[5] == "-"


def with_curve(row, rates, steps=1000):
    for s in row.seeds:
        s["curve"] = [dict(total_steps=100 * (i + 1), success_rate=r, return_mean=0.0) for i, r in enumerate(rates)]
        s["config"] = {"steps": steps}
        s["test"] |= {"steps": steps, "beside": {"teacher": {"success_rate": 1.0}}}
    return row


def test_value_based_rows_tell_their_last_evaluations_their_area_and_when_they_were_good():
    row = with_curve(results("qmix/x", [0.9, 0.9, 0.9]), [0.0] * 5 + [1.0] * 4 + [0.5])
    row_cells = cells(value_based({"qmix/x": row}), "`qmix`")
    assert row_cells[2:4] == ["3", "0.0 M"] and row_cells[4].startswith("0.900") and row_cells[8].startswith("0.900")
    assert (
        row_cells[5].startswith("0.425")
        and row_cells[6] == ""
        and row_cells[9].startswith("1.000")
        and row_cells[10] == "0.900"
    )
    late = with_curve(results("qmix/x", [0.9] * 3), [0.0] * 9 + [1.0], steps=10_000_000)
    assert cells(value_based({"qmix/x": late}), "`qmix`")[3] == "10.0 M"


def test_ddn_is_compared_with_others_and_with_itself_changed():
    ddn = with_curve(results("ddn/x", [1.0] * 5), [0.5] * 5 + [1.0] * 5)
    qmix = with_curve(results("qmix/x", [1.0] * 5), [0.0] * 5 + [1.0] * 5)
    raw = with_curve(results("ddn/x/raw", [1.0] * 5), [0.5] * 10)
    longer = with_curve(results("ddn/x/1m", [1.0] * 3), [0.5] * 10, steps=2000)
    rows = rows_of(ddn, qmix, raw, longer)
    table_text = value_based(rows)
    assert cells(table_text, "`qmix`")[6] == "+0.250 [+0.250, +0.250]" and cells(table_text, "`ddn`")[6] == ""
    assert "`ddn/raw`" not in table_text and cells(table_text, "`ddn/1m`")[4].startswith("0.500")
    changes = value_changes(rows)
    assert cells(changes, "`raw`")[5:7] == ["+0.500 [+0.500, +0.500]", "+0.225 [+0.225, +0.225]"]
    assert cells(table_text, "`ddn/1m`")[6] == "", "other steps"
    four = rows_of(ddn, RowResults("qmix/x", qmix.seeds[:4]))
    assert cells(value_based(four), "`qmix`")[6] == "", "no difference is told of four seeds"
    assert "1m" not in changes and value_changes(rows_of(ddn)) == "No results yet."
    for success, share in ((0.5, "2.000"), (0.01, "-")):
        for seed in raw.seeds:
            seed["test"] |= {"beside": {"teacher": {"success_rate": success}}}
        assert cells(value_changes(rows), "`raw`")[-1] == share, "two failures have no ratio"


def test_hint_is_told_as_a_ratio_to_every_baseline_and_by_what_it_aims_at():
    rows = [results(name, scores, env="marine/x") for name, scores in
            (("hint/x", [0.6, 0.8]), ("mappo/x", [0.2, 0.4]), ("happo/x", [0.0]), ("hint/x/flat", [0.1]),
             ("tarmac/x", [0.5, 0.5]), ("hint/x/hetgat", [0.5, 0.55]), ("maddpg/x", [0.9]))]  # fmt: skip
    for row in rows:
        for s in row.seeds:
            s["test"]["length_mean"] = 20.0
            rates = (0.1, 0.25, 0.5) if row.name == "hint/x" else (0.0, 0.2, 0.31)
            s["curve"] = [dict(total_steps=1000 * (i + 1), success_rate=r) for i, r in enumerate(rates)]
    for s in rows[0].seeds:
        s["test"] |= {"beside": {"teacher": {"success_rate": 0.9}}, "greedy": {"success_rate": 0.65}}
        ends = (10, 0.5, 0.8), (30, 0.1, 0.4), (0, None, None)
        s["forks"] = [dict(going=n, student_success=a, teacher_success=b) for n, a, b in ends]
    for s in rows[1].seeds:
        s["test"]["greedy"] = {"success_rate": 0.35}
    table_text = hint_table(rows_of(*rows))
    lines = [
        [c.strip() for c in line.strip("|").split("|")] for line in table_text.splitlines() if line.startswith("| `")
    ]
    line = {cells[1].strip("`"): cells for cells in lines}
    assert line["hint/x"][4].startswith("0.700")
    assert line["hint/x"][5:] == ["0.650 [0.650, 0.650]", "0.900", "0.200 / 0.500", "20.0", ""]
    assert line["mappo/x"][9] == "2.33x" and line["happo/x"][9] == "-" and line["hint/x/flat"][9] == ""
    plain, talking = (line for line in table_text.splitlines() if line.startswith("- "))
    assert (
        "best baseline 0.300 (`mappo/x`), aimed at 0.480, HINT 0.700: reached, from 2 and 2 seeds, too few to be sure."
        in plain
    )
    assert plain.endswith("0.300 in evaluations: HINT 3,000 steps, it 3,000 steps.")
    for row in rows[1:3]:
        for s in row.seeds:
            s["test"] |= {"success_rate": 0.0, "greedy": {"success_rate": 0.0}}
    assert "in evaluations" not in hint_table(rows_of(*rows[:3])), "no success comes at once"
    assert "best baseline 0.000 (`mappo/x`)" in hint_table(rows_of(rows[0], rows[2], rows[1])), "two seeds say more"
    assert (
        "best baseline 0.500 (`tarmac/x`), aimed at 0.750, HINT 0.525: missed, from 2 and 2 seeds, too few to be sure."
        in talking
    )
    talks = results("mappo/x/hetgat", [0.52, 0.53], env="marine/x")
    for s in talks.seeds:
        s |= {"test": s["test"] | {"length_mean": 20.0}, "curve": rows[0].seeds[0]["curve"]}
    assert "best baseline 0.525 (`mappo/x/hetgat`)" in hint_table(rows_of(*rows, talks)), (
        "also against MAPPO that talks"
    )
    assert "reached, one seed." in hint_table(rows_of(rows[2], rows[5]._replace(seeds=rows[5].seeds[:1])))
    assert hint_table(rows_of(results("qmix/y", [1.0]))) == "No results yet."
    for row in rows[:2]:
        row.seeds[:] = [row.seeds[0] | {"seed": i} for i in range(5)]
        for s, x in zip(row.seeds, (-0.02, -0.01, 0.0, 0.01, 0.02), strict=True):
            s["test"] = {
                **s["test"],
                "success_rate": 0.5 + x if row.name == "hint/x" else 0.25 + x,
                "greedy": {"success_rate": 0.0},
            }
    assert "reached, difference +0.250 [+0.227, +0.273]." in hint_table(rows_of(*rows[:2]))


def test_a_glance_shows_plain_rows_as_the_plan_tests_them_and_of_how_many_seeds():
    hint, flat, mappo = (results(name, scores, env="marine/x") for name, scores in
                         (("hint/x", [0.6, 0.8]), ("hint/x/flat", [0.1]), ("mappo/x", [0.2])))  # fmt: skip
    for s in hint.seeds:
        s["test"] |= {"beside": {"teacher": {"success_rate": 0.9}}, "greedy": {"success_rate": 0.75}}
    rows = rows_of(hint, flat, mappo, results("mappo/y", [0.3], env="marine/y"), results("ddn/z", [0.5]))
    table_text = hint_glance(rows)
    assert table_text.splitlines()[2:] == ["| `marine/x` | 0.700 (2) | 0.900 | 0.200 (1) |" + " - |" * 6]
    assert cells(ddn_glance(rows), "0.500 (1)")[1:3] == ["0.500 (1)", "-"], "a row without a teacher's test"
    assert ddn_glance(rows_of(hint)) == hint_glance(rows_of(mappo)) == "No results yet."


def test_the_front_page_compares_with_the_better_team_from_scratch():
    env = "smax/2s3z"
    named = {"mappo/2s3z": [1.0, 1.0], "kd_marl/2s3z": [0.9, 0.7], "mappo/2s3z/small": [0.5], "ippo/2s3z/small": [0.6]}
    rows = rows_of(*(results(name, scores, env=env) for name, scores in named.items()))
    (line,) = (line for line in first_look(rows).splitlines() if env in line)
    assert [cell.strip() for cell in line.split("|")][2:4] == ["1.000 (2)", "0.800 (2)"]
    assert line.endswith("| 0.600 (1) IPPO |") and first_look(rows_of()) == "No results yet."


def test_results_of_an_earlier_plan_are_left_out():
    row = results("mappo/x", [0.9, 0.8, 0.7])
    for s, mark in zip(row.seeds, "aab", strict=True):
        s["fingerprint"] = mark
    kept, stale = current_results({"mappo/x": row, "gone/x": row}, {"mappo/x": Expected({1: "a"}, range(9))})
    assert list(kept) == ["mappo/x"] and [s["seed"] for s in kept["mappo/x"].seeds] == [0, 1] and stale == 4
    kept, _ = current_results({"mappo/x": row}, {"mappo/x": Expected({1: "a"}, range(1, 9))})
    assert [s["seed"] for s in kept["mappo/x"].seeds] == [1], "a seed that the plan does not ask for"


def test_results_of_an_earlier_version_stand_in_until_there_are_later_ones():
    row = results("hint/x", [0.9, 0.8, 0.7])
    for s, mark in zip(row.seeds, "aab", strict=True):
        s["fingerprint"] = mark
    shown = lambda marks: current_results({"hint/x": row}, {"hint/x": Expected(marks, range(9))})
    kept, stale = shown({2: "b", 1: "a"})
    assert [s["seed"] for s in kept["hint/x"].seeds] == [2] and kept["hint/x"].variant == row.variant and stale == 2
    kept, stale = shown({3: "c", 2: "z", 1: "a"})
    assert [s["seed"] for s in kept["hint/x"].seeds] == [0, 1] and stale == 1
    assert kept["hint/x"].variant == f"{row.variant} (version 1)"


def test_no_results_is_said(tmp_path):
    with pytest.raises(BadInput, match="no results"):
        read_results(tmp_path)


def test_how_a_row_is_evaluated_is_a_part_of_its_fingerprint(tmp_path):
    marks = []
    for more in ((), ('fit = {act = "greedy"}',), ('fit = {act = "sample"}',)):
        rows = read_plan(plan_of(tmp_path, row("mappo/action", "mappo", TINY, *more)))
        marks.append(fingerprint(rows["mappo/action"], rows))
    assert marks[0] == marks[1] != marks[2]


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("mappo/3m", "6d3f85517a177705"),
        ("kd_marl/2s3z", "3175d08081b13462"),
        ("qmix/MMM2/published", "f7f30b70443a44ad"),
        ("random/simple_spread", "0a09eab8a43c22e3"),
    ],
)
def test_fingerprints_of_published_results_stay(name, mark):
    rows = read_plan(ROOT / "results" / "plan.toml")
    assert fingerprint(rows[name], rows) == mark


def test_every_published_result_of_hint_is_of_the_present_plan():
    """Its settings have become fewer since: `benchmarks/rewrite_marks.py`."""
    rows = read_plan(ROOT / "results" / "plan.toml")
    results = [json.loads(file.read_text()) for file in sorted((ROOT / "results" / "hint").rglob("seed-*.json"))]
    marks = {name: fingerprint(rows[name], rows) for name in {result["row"] for result in results}}
    assert len(results) > 30
    for result in results:
        row = rows[result["row"]]
        assert result["fingerprint"] == marks[row.name] and result["seed"] in row.all_seeds
        assert method_config("hint", **result["config"]) == settings_of(row)


def test_what_parameters_are_chosen_by_is_a_part_of_a_fingerprint(tmp_path, monkeypatch):
    text = row("mappo/action", "mappo", TINY) + row("random/action", "random")
    rows, marks = read_plan(plan_of(tmp_path, text)), []
    for judged_by in ("success", "return"):
        env = make("probe/action")
        env.spec = replace(env.spec, measure=judged_by)
        monkeypatch.setattr(plans, "make", lambda name, env=env: env)
        marks.append([fingerprint(rows[name], rows) for name in ("mappo/action", "random/action")])
    assert marks[0][0] != marks[1][0] and marks[0][1] == marks[1][1], "of a floor nothing is chosen"


def test_results_of_a_method_that_learned_otherwise_are_measured_anew(tmp_path, monkeypatch):
    rows = read_plan(plan_of(tmp_path, row("mappo/action", "mappo", TINY)))
    marks = []
    for version in (1, 2, 3):
        monkeypatch.setitem(METHODS, "mappo", replace(METHODS["mappo"], version=version))
        marks.append(fingerprint(rows["mappo/action"], rows))
    assert len(set(marks)) == 3


def test_a_teacher_that_is_trained_first_is_a_part_of_its_students_fingerprint(tmp_path, monkeypatch):
    rows = read_plan(plan_of(tmp_path, row("bc/action", "bc", STUDENT)))
    before = fingerprint(rows["bc/action"], rows)
    monkeypatch.setitem(METHODS, "mappo", replace(METHODS["mappo"], version=2))
    assert fingerprint(rows["bc/action"], rows) != before


def test_rows_that_cannot_be_taught_are_refused(tmp_path):
    taught = lambda name, teacher: row(name, "bc", STUDENT, f'teacher = "{teacher}"')
    with pytest.raises(BadInput, match="'a/action' is taught by itself: a/action <- b/action <- a/action"):
        read_plan(plan_of(tmp_path, taught("a/action", "b/action") + taught("b/action", "a/action")))
    floor = row("random/action", "random")
    with pytest.raises(BadInput, match="its teacher 'random/action' is only evaluated"):
        read_plan(plan_of(tmp_path, floor + taught("a/action", "random/action")))


# ---- reports ---------------------------------------------------------------------------------------------------------
OWN = "lights:Lights"


def test_an_environment_of_your_own_has_its_rows_in_every_table():
    scores = {"mappo/lights": EXPERT, "kd_marl/lights": FULL, "mappo/lights/small": FULL, "random/lights": [0.1]}
    rows = rows_of(*(results(name, x, env=OWN) for name, x in scores.items()))
    assert cells(headline(rows), OWN)[:2] == [OWN, "4"]
    assert f"`{OWN}`" in verdict(rows) and f"`{OWN}`" in TABLES["choices"](rows)
    assert all(f"`{name}`" in TABLES["all-rows"](rows) for name in scores)
    assert set(marl_eval(rows)[OWN]["lights"]) == {"mappo", "kd_marl", "mappo/small", "random"}


def test_two_environments_of_your_own_do_not_mix():
    names = [("a", "mine:A"), ("b", "mine:B")]
    rows = rows_of(*(results(f"{m}/{task}", EXPERT, env=env) for task, env in names for m in ("mappo", "kd_marl")))
    assert [short(rows, env) for _, env in names] == ["a", "b"]
    assert cells(headline(rows), "mine:A") != cells(headline(rows), "mine:B")


def report_of(tmp_path, page, plan=""):
    """Results of one row, and a page."""
    given, places = row("random/action", "random"), places_of(tmp_path)
    sweep(plan_of(tmp_path, given), places, display=Display(quiet=True))
    (tmp_path / "README.md").write_text(page)
    if plan:
        (tmp_path / "results" / "plan.toml").write_text(plan)
    return exit_code(["report", str(tmp_path / "results")])


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (
            "# mine\n",
            "has a table to fill: put `<!-- table: all-rows -->` and, below it, `<!-- end -->` into",
        ),
        ("<!-- table: methods -->\n<!-- end -->\n", "rewrote "),
        ("<!-- table: verdict -->\nNo results yet.\n<!-- end -->\n", "are as they were"),
    ],
)
def test_a_report_never_ends_in_silence(page, message, tmp_path, capsys):
    assert report_of(tmp_path, page) == 0
    out = capsys.readouterr().out
    assert out.startswith("1 rows, 1 results: ") and message in out


def test_a_report_of_nothing_but_old_results_says_so_and_writes_nothing(tmp_path, capsys):
    page = "<!-- table: all-rows -->\nkept\n<!-- end -->\n"
    assert report_of(tmp_path, page, plan=row("random/action", "random", env='"probe/value"')) == 2
    err = capsys.readouterr().err
    assert "no result in" in err and "belongs to" in err and "run `tutelage sweep" in err
    assert (tmp_path / "README.md").read_text() == page and not (tmp_path / "results" / "marl_eval.json").exists()

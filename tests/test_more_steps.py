"""More steps for a run, finished or not: it goes on from its last state, and stays as it is until that has ended."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

import tutelage
from helpers import BREAKS, QUICK, TINY, Killed, assert_same_run, kill_at, lines_of
from tutelage import BadInput
from tutelage.cli.main import exit_code
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment import more_steps as E
from tutelage.experiment import resume_run as R
from tutelage.experiment.checkpoint import CHECKPOINT, LAST
from tutelage.experiment.commands import extend
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.sinks import Display

SHORT, LONGER = {**TINY, "steps": 256}, 512


def train(out, method="mappo", env="probe/action", **more):
    return tutelage.train(method, env, out=out, quiet=True, fit=QUICK, **{**SHORT, **more})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    train(out)
    return out


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory):
    out = tmp_path_factory.mktemp("extended") / "run"
    shutil.copytree(finished, out)
    tutelage.resume(out, quiet=True, steps=LONGER)
    return out


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def said(monkeypatch):
    """What is told."""
    words = []
    monkeypatch.setattr(Display, "say", lambda self, line: words.append(line))
    return words


def content(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ---- what comes of it ------------------------------------------------------------------------------------------------
def test_a_finished_run_becomes_one_of_more_steps(finished, extended):
    before, after = tutelage.load(finished), tutelage.load(extended)
    assert after.record["config"] == {**before.record["config"], "steps": LONGER}
    assert (
        after.record["extended"] == [256] and json.loads((extended / "plan.json").read_text())["config"]["steps"] == 512
    )
    assert before.test["steps"] < LONGER <= after.test["steps"]
    old, new = lines_of(finished), lines_of(extended)
    assert new[: len(old)] == old
    steps = [line["total_steps"] for line in new]
    assert steps == sorted(steps) and steps[len(old)] > steps[len(old) - 1]
    assert content(finished).keys() == content(extended).keys()


def test_optimisers_go_on_where_they_stood_and_the_best_is_kept(finished, run, said):
    extend(run, LONGER, Display(), False)
    last, checkpoint = load_file(run / LAST), load_file(run / E.EXTENSION / CHECKPOINT)
    assert {name.split(".")[-1] for name in last} >= {"mean", "square"} and any(".mu" in name for name in last)
    for name, values in last.items():
        np.testing.assert_array_equal(checkpoint[f"['loop'].train_state{name}"], values)
    best = {name: values for name, values in checkpoint.items() if name.startswith("['best']['student']")}
    student = load_file(run / "student.safetensors")
    for name, values in best.items():
        np.testing.assert_array_equal(student[name.removeprefix("['best']['student']")], values)
    done = tutelage.load(finished).test["steps"]
    assert said == [
        f"{run}: goes on from {done:,} to 512 steps in total; "
        f"the learning rate goes on at {1 - done / 512:.0%} of 0.002 and falls to 0"
    ]


def test_without_its_last_state_a_run_goes_on_from_its_best_parameters(run, said):
    (run / LAST).unlink()
    (after,) = tutelage.resume(run, steps=LONGER)
    assert "from its best parameters with new optimisers" in said[0] and after.test["steps"] >= LONGER
    assert (run / LAST).exists()


def test_experience_is_not_kept_but_gathered_again(tmp_path, said):
    settings = dict(
        core="mlp", size="width=4", warm_up=64, envs=4, chunk=8, burn_in=0, capacity_steps=64, batch=2, updates=1
    )
    tutelage.train("qmix", "probe/action", out=tmp_path / "run", fit=QUICK, steps=128, **settings)
    assert not [name for name in load_file(tmp_path / "run" / LAST) if "replay" in name]
    before = load_file(tmp_path / "run" / LAST)[".learning.steps"]
    said.clear()
    tutelage.resume(tmp_path / "run", steps=256)
    assert "and gathers experience anew" in said[0]
    assert before < load_file(tmp_path / "run" / LAST)[".learning.steps"]


# ---- kills and failures ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("save", [0, 3])
def test_an_extension_that_is_killed_goes_on_to_the_new_total(extended, run, finished, monkeypatch, save):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, save, 1)
        tutelage.resume(run, quiet=True, steps=LONGER)
    assert tutelage.load(run).test == tutelage.load(finished).test, "it stays as it is meanwhile"
    assert exit_code(["resume", str(run), "--steps", "1024", "--quiet"]) == 2
    tutelage.resume(run, quiet=True)
    assert_same_run(run, extended)


def test_an_extension_that_fails_early_leaves_the_run_as_it_was(run, monkeypatch):
    before = content(run)

    def fails(*_, **__):
        raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        patch.setattr(R, "fit_into", fails)
        tutelage.resume(run, quiet=True, steps=LONGER)
    after = content(run)
    assert all(after[name] == before[name] for name in before if name != "plan.json")
    assert tutelage.load(run).record["config"]["steps"] == 256


@pytest.mark.parametrize("moved", [0, 2, 6])
def test_a_kill_while_it_takes_the_runs_place_loses_nothing(extended, run, monkeypatch, moved):
    replace, calls = os.replace, []

    def killed(source, target):
        if E.EXTENSION in str(source) and not source.name.startswith("."):
            calls.append(source)
            if len(calls) > moved:
                raise Killed
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(E.os, "replace", killed)
        tutelage.resume(run, quiet=True, steps=LONGER)
    with pytest.raises(BadInput, match=f"has not finished .tutelage resume {run}"):
        tutelage.load(run)
    tutelage.resume(run, quiet=True)
    assert_same_run(run, extended)
    assert content(run).keys() == content(extended).keys()


def test_what_a_kill_left_of_an_extension_that_had_not_begun_is_removed(run):
    (run / E.EXTENSION).mkdir()
    (run / E.EXTENSION / "student.json").write_text("{")
    tutelage.resume(run, quiet=True)
    assert not (run / E.EXTENSION).exists()


def test_an_extension_that_broke_is_recovered(tmp_path, monkeypatch):
    monkeypatch.setitem(BREAKS, "on", False)
    tutelage.train("helpers:breaking", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **SHORT)
    monkeypatch.setitem(BREAKS, "on", True)
    with pytest.raises(NonFinite, match=f"`tutelage recover {tmp_path}/run --trust` makes"):
        tutelage.resume(tmp_path / "run", quiet=True, trust=True, steps=LONGER)
    assert tutelage.load(tmp_path / "run", trust=True).test["steps"] < LONGER
    (run,) = tutelage.recover(tmp_path / "run", quiet=True, trust=True)
    assert "policy became nan" in run.test["recovered"]["error"] and not (run.path / E.EXTENSION).exists()
    assert not (run.path / LAST).exists(), "it was of before"


# ---- what is not finished --------------------------------------------------------------------------------------------
def test_a_run_that_was_stopped_goes_on_to_another_total(tmp_path, monkeypatch):
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunRecorder, "interrupted", lambda self: len(lines_of(self.path)) >= 4)
        train(out)
    before = lines_of(out)
    (run,) = tutelage.resume(out, quiet=True, steps=LONGER)
    assert run.test["steps"] >= LONGER and lines_of(out)[: len(before)] == before
    assert not (out / CHECKPOINT).exists()


def test_seeds_that_have_not_begun_are_trained_to_the_new_total(tmp_path, monkeypatch):
    out = tmp_path / "runs"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, 1, 1)
        train(out, seeds=2)
    runs = tutelage.resume(out, quiet=True, steps=320)
    assert [run.record["config"]["steps"] for run in runs] == [320, 320]
    assert [run.record.get("extended", []) for run in runs] == [[256], []]


# ---- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("steps", [256, 100])
def test_steps_that_are_done_already_are_refused(run, capsys, steps):
    before = content(run)
    assert exit_code(["resume", str(run), "--steps", str(steps)]) == 2
    assert f"steps = {steps}: {run} has done" in capsys.readouterr().err
    assert content(run) == before


def test_what_more_steps_do_not_lengthen_is_refused(memory_run, tmp_path):
    out = tmp_path / "kd"
    kd = dict(core="mlp", size="width=2", gather=64, envs=16, batch=8, passes=2, teacher=memory_run.path)
    tutelage.train("bc", "probe/memory", out=out, quiet=True, fit=QUICK, **kd)
    assert not (out / LAST).exists(), "nothing could follow it"
    with pytest.raises(BadInput, match=f"bc has no setting steps; `train --init {out}` goes on from it"):
        tutelage.resume(out, quiet=True, steps=1000)


def test_a_stage_that_is_over_is_not_lengthened():
    stages = lambda *budgets: [tutelage.types.training.Stage(f"s{i}", {}, None, n) for i, n in enumerate(budgets)]
    place = E.Place(1, 100, 5, 50, (0.5, 1.0))
    check = lambda old, new: E.check_budgets("RUN", 7, stages(*old), stages(*new), place)
    check((100, 60), (100, 70))
    with pytest.raises(BadInput, match="the stage s0 of RUN, which would be longer, is over; `train --init RUN`"):
        check((100, 60), (110, 60))
    with pytest.raises(BadInput, match="RUN has done 150 already"):
        check((100, 60), (100, 50))
    with pytest.raises(BadInput, match="the stages of RUN do not depend on it"):
        check((100, 60), (100, 60))


def test_a_sweeps_run_follows_its_plan(run):
    (run / "row.json").write_text("{}")
    with pytest.raises(BadInput, match="was made by a sweep"):
        tutelage.resume(run, quiet=True, steps=LONGER)

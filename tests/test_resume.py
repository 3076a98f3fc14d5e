"""A killed training goes on where it stood: every file is that of a training that was never killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

import tutelage
from helpers import QUICK, TINY, Killed, assert_same, assert_same_run, kill_at, lines_of, rows
from tutelage import BadInput, FitConfig

PPO = {**TINY, "core": "gru", "size": "width=4", "rollout": 5, "chunk": 5, "steps": 1000}
KD = dict(core="gru", size="width=4", gather=192, envs=16, batch=16, passes=6)


def killed_and_resumed(out, monkeypatch, save, after, train):
    with monkeypatch.context() as patch:
        kill_at(patch, save, after)
        with pytest.raises(Killed):
            train(out)
    assert not (out / "eval.json").exists()
    (run,) = tutelage.resume(out, quiet=True, trust=True)
    return run


def train_ppo(out):
    return tutelage.train("mappo", "probe/memory", out=out, quiet=True, fit=QUICK, **PPO)


@pytest.fixture(scope="module")
def ppo_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("ppo") / "run"
    train_ppo(out)
    return out


@pytest.mark.parametrize(("save", "after"), [(0, 1), (4, 3), (11, 2)])
def test_a_killed_ppo_run_ends_as_if_it_had_not_been_killed(ppo_run, tmp_path, monkeypatch, save, after):
    run = killed_and_resumed(tmp_path / "run", monkeypatch, save, after, train_ppo)
    assert_same_run(run.path, ppo_run)


def test_a_run_can_be_killed_twice(ppo_run, tmp_path, monkeypatch):
    out = tmp_path / "run"
    for save in (3, 4):
        with monkeypatch.context() as patch:
            kill_at(patch, save, 1)
            with pytest.raises(Killed):
                tutelage.resume(out, quiet=True) if out.exists() else train_ppo(out)
    tutelage.resume(out, quiet=True)
    assert_same_run(out, ppo_run)


@pytest.fixture(scope="module")
def train_kd(memory_run):
    """Distil the recurrent teacher."""
    return lambda out: tutelage.train(
        "kd_marl", "probe/memory", teacher=memory_run.path, out=out, quiet=True, fit=QUICK, **KD
    )


@pytest.fixture(scope="module")
def kd_run(train_kd, tmp_path_factory):
    out = tmp_path_factory.mktemp("kd") / "run"
    train_kd(out)
    return out


# Occasions to save: 1-4 after each gathered rollout, 5 at the start of the second stage, 6-11 after each pass; in the
# second case a pass is lost.
@pytest.mark.parametrize(("save", "after"), rows([(5, 1), (8, 2)], [(4, 1), (10, 1)]))
def test_a_killed_distillation_ends_as_if_it_had_not_been_killed(kd_run, train_kd, tmp_path, monkeypatch, save, after):
    run = killed_and_resumed(tmp_path / "run", monkeypatch, save, after, train_kd)
    assert_same_run(run.path, kd_run)


def test_a_run_is_resumed_without_its_teachers_directory(kd_run, train_kd, tmp_path, monkeypatch, memory_run):
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        kill_at(patch, 3, 1)
        with pytest.raises(Killed):
            train_kd(out)
    hidden = memory_run.path.with_name("hidden")
    memory_run.path.rename(hidden)
    try:
        tutelage.resume(out, quiet=True)
    finally:
        hidden.rename(memory_run.path)
    assert_same_run(out, kd_run)


def test_what_a_team_taught_by_its_own_teacher_teaches_is_resumed(tmp_path, monkeypatch):
    """Such a run has a `student` and a `teacher`; who learns from it learns from the students."""
    (team,) = tutelage.train(
        "helpers:taught", "probe/action", out=tmp_path / "team", quiet=True, fit=FitConfig(6, 8, 8)
    )
    assert {"student", "teacher"} <= team.frozen.roles.keys()
    ask = dict(teacher=team.path, trust=True, quiet=True, fit=QUICK, **KD)
    train = lambda out: tutelage.train("bc", "probe/action", out=out, **ask)
    (whole,) = train(tmp_path / "whole")
    assert_same(whole.params("teacher"), team.params("student"))
    assert_same_run(killed_and_resumed(tmp_path / "run", monkeypatch, 4, 1, train).path, whole.path)


def train_both(out):
    """Distillation that trains its own teacher first."""
    return tutelage.train(
        "bc", "probe/action", out=out, quiet=True, fit=QUICK, teacher_config={**TINY, "steps": 1024}, **KD
    )


@pytest.fixture(scope="module")
def both_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("both") / "run"
    train_both(out)
    return out


@pytest.mark.parametrize(("save", "after"), [(15, 2), (40, 1)])
def test_teacher_and_students_are_resumed_in_turn(both_run, tmp_path, monkeypatch, save, after):
    assert (both_run / "teacher" / "eval.json").exists()
    run = killed_and_resumed(tmp_path / "run", monkeypatch, save, after, train_both)
    assert_same_run(run.path, both_run)


def test_the_best_student_survives_a_kill(tmp_path, monkeypatch):
    """The third of six updates is the best one; the kill comes after it."""
    train = lambda out: tutelage.train("helpers:counting", "probe/action", out=out, quiet=True, fit=FitConfig(6, 8, 8))
    run = killed_and_resumed(tmp_path / "run", monkeypatch, 4, 1, train)
    assert int(run.params()["n"]) == 3 and run.test["success_rate"] == 1


def test_several_seeds_are_resumed_in_turn(tmp_path, monkeypatch):
    train = lambda out: tutelage.train("mappo", "probe/memory", out=out, seeds=2, seed=3, quiet=True, fit=QUICK, **PPO)
    runs = train(tmp_path / "whole")
    assert [run.path.name for run in runs] == ["seed-3", "seed-4"]
    assert lines_of(runs[0].path) != lines_of(runs[1].path)
    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        kill_at(patch, 20, 1)  # in the second seed
        with pytest.raises(Killed):
            train(out)
    assert (out / "seed-3" / "eval.json").exists() and not (out / "seed-4" / "eval.json").exists()
    assert len(tutelage.resume(out, quiet=True)) == 2
    for seed in ("seed-3", "seed-4"):
        assert_same_run(out / seed, tmp_path / "whole" / seed)
    assert tutelage.load(out).path.name == "seed-3"


def test_resuming_a_finished_run_changes_nothing(ppo_run):
    before = {p.name: p.read_bytes() for p in ppo_run.iterdir()}
    tutelage.resume(ppo_run, quiet=True)
    assert {p.name: p.read_bytes() for p in ppo_run.iterdir()} == before


def test_a_finished_run_keeps_no_checkpoint(ppo_run, kd_run):
    assert not [*ppo_run.glob("checkpoint*"), *kd_run.glob("checkpoint*"), *kd_run.glob(".*")]


def test_what_is_no_run_cannot_be_resumed(tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        tutelage.resume(tmp_path / "nowhere", quiet=True)
    with pytest.raises(BadInput, match=r"no config\.json"):
        tutelage.resume(tmp_path, quiet=True)


# ---- real processes (`make faults` kills them by the thousand, running programs compiled as they are shipped) --------
COMMAND = Path(sys.executable).with_name("tutelage")
LONG = {**PPO, "steps": 12_000}
OFTEN = FitConfig(evaluations=2, eval_episodes=8, test_episodes=16, checkpoint_seconds=1e-3)


def start(*argv):
    """A command in a process of its own."""
    return subprocess.Popen([COMMAND, *argv], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def in_the_middle(out, lines=20):
    """A training in a process of its own, as soon as it has logged so many lines."""
    asked = LONG | {name: value for name, value in asdict(OFTEN).items() if value is not False}
    settings = [x for name, value in asked.items() for x in (f"--{name.replace('_', '-')}", str(value))]
    process = start("train", "mappo", "probe/memory", *settings, "--out", out)
    limit = time.monotonic() + 120
    log = out / "metrics.jsonl"
    while not (log.exists() and (out / "checkpoint.safetensors").exists() and log.read_bytes().count(b"\n") > lines):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, "training did not start"
        time.sleep(0.005)
    return process


@pytest.fixture(scope="module")
def long_run(tmp_path_factory):
    """The same training, not disturbed."""
    out = tmp_path_factory.mktemp("long") / "run"
    tutelage.train("mappo", "probe/memory", out=out, quiet=True, fit=OFTEN, **LONG)
    return out


def test_kill_9_and_resume_from_the_command_line(tmp_path, long_run):
    out = tmp_path / "run"
    process = in_the_middle(out)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (out / "eval.json").exists()
    resumed = start("resume", out, "--quiet")
    printed, said = resumed.communicate(timeout=120)
    assert resumed.returncode == 0 and str(out) in printed and "success" in printed, said
    assert_same_run(out, long_run)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, long_run):
    out = tmp_path / "run"
    process = in_the_middle(out)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"tutelage resume {out}" in said and "Traceback" not in said
    assert not (out / "eval.json").exists()
    tutelage.resume(out, quiet=True)
    assert_same_run(out, long_run)

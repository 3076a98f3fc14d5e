"""What goes wrong around a training: a shared terminal, a full disk, a stop at a bad moment, a killed process."""

from __future__ import annotations

import io
import os
import shutil
import signal
from contextlib import nullcontext
from contextvars import Context
from pathlib import Path

import pytest

import tutelage
from helpers import QUICK, TINY
from tutelage import BadInput, Fault
from tutelage.cli import jobs, main
from tutelage.cli.main import exit_code
from tutelage.errors import Interrupted
from tutelage.experiment import sweep as S
from tutelage.experiment import sweep_row as R
from tutelage.experiment.evaluator import Evaluator
from tutelage.experiment.files import read_lines
from tutelage.experiment.find_teacher import find_teacher
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.run_directory import load
from tutelage.experiment.run_lock import exclusive
from tutelage.experiment.sinks import Display, JsonLines, TensorBoard
from tutelage.registry import method_config


# ---- error messages ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("second", ["train", "distil"])
def test_two_runs_share_a_terminal(second):
    """As a teacher and its students do, or several seeds."""
    display = Display()
    display.fancy = True
    for stage in ("train", second):
        display.progress(stage, 1, 2, "steps", 1.0)
        display.say("words")
        display.close()


# ---- what is kept ----------------------------------------------------------------------------------------------------
def test_a_full_disk_is_told_once_and_closing_adds_nothing(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl", None)
    lines.file.close()
    lines.file = open("/dev/full", "wb")  # noqa: SIM115
    with pytest.raises(Fault, match=r"cannot write .*metrics.jsonl"):
        lines.write("metrics", {"x": 1})
    lines.close()


def test_a_log_that_is_shorter_than_its_checkpoint_is_damaged(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"x": 1}\n{"x"')
    with pytest.raises(Fault, match="damaged: it has less than the checkpoint"):
        JsonLines(path, 100)
    with pytest.raises(Fault, match="damaged"):
        read_lines(path)
    JsonLines(path, 9).close()
    assert read_lines(path) == [{"x": 1}]


def test_a_zoo_team_stays_whole_where_its_successor_cannot_be_written(action_run, tmp_path, monkeypatch):
    place = tmp_path / "zoo" / "team"
    R.copy_to_zoo(action_run, place)
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    assert load(place).test == action_run.test
    with monkeypatch.context() as patch:
        patch.setattr(R.shutil, "copy", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(Fault, match=r"cannot write .*team: No space left"):
            R.copy_to_zoo(action_run, place)
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before
    assert [p.name for p in place.parent.iterdir()] == ["team"]


def test_two_processes_do_not_train_one_run(tmp_path):
    out = tmp_path / "run"
    with pytest.raises(Interrupted), pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunRecorder, "interrupted", lambda self: True)
        tutelage.train("mappo", "probe/action", out=out, quiet=True, fit=QUICK, **TINY)
    before = (out / "metrics.jsonl").read_bytes()
    with exclusive([out]), pytest.raises(Fault, match=f"another process is training {out}"):
        Context().run(tutelage.resume, out, quiet=True)
    assert (out / "metrics.jsonl").read_bytes() == before
    assert tutelage.resume(out, quiet=True)[0].test["episodes"]


def test_tensorboard_that_cannot_write_does_not_wait_for_ever(tmp_path, monkeypatch):
    board = TensorBoard(tmp_path)
    board.write("metrics", {"total_steps": 1, "x": 1.0})
    monkeypatch.setattr(TensorBoard, "writer_died", lambda self: True)
    with pytest.raises(Fault, match=f"cannot write {tmp_path}"):
        board.write("metrics", {"total_steps": 2, "x": 1.0})
    board.close()


def test_a_demo_removes_nothing(tmp_path, capsys):
    (tmp_path / "expert").mkdir()
    (tmp_path / "expert" / "thesis.tex").write_text("mine")
    for more, message in (([], "was left by no demo"), (["--seed", "-1"], "seed = -1")):
        assert exit_code(["demo", "--out", str(tmp_path), *more]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "expert" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", ["expert", "student"])
def test_a_demo_does_not_take_a_run_of_somebody_for_its_own(action_run, tmp_path, capsys, name):
    shutil.copytree(action_run.path, tmp_path / name)
    before = {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
    assert exit_code(["demo", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / name} is another run than this demo's" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} == before
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_demo_does_not_draw_over_a_picture_of_somebody(tmp_path, capsys):
    (tmp_path / "episode.gif").write_bytes(b"mine")
    assert exit_code(["demo", "--out", str(tmp_path)]) == 2
    assert "episode.gif is there and was left by no demo" in capsys.readouterr().err


def test_what_does_not_fit_into_memory_is_told_in_one_line(monkeypatch, capsys):
    def fails(argv):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 17 bytes.")

    monkeypatch.setattr(main, "run", fails)
    assert exit_code(["train"]) == 1 and capsys.readouterr().err.startswith("tutelage: out of memory;")


LONG = "n" * 300


@pytest.mark.parametrize(
    "argv",
    [
        ["eval", LONG], ["cost", LONG], ["resume", LONG], ["recover", LONG], ["report", LONG], ["sweep", LONG],
        ["demo", "--out", LONG], ["train", "mappo", "probe/action", "--out", LONG],
        ["train", "bc", "probe/action", "--teacher", LONG],
    ],
    ids=lambda argv: argv[0],
)  # fmt: skip
def test_a_name_that_is_too_long_for_a_file_is_one_line(argv, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exit_code(argv) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "File name too long" in said and not [*tmp_path.iterdir()]


# ---- stops -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_during_the_final_test_ends_this_run_and_begins_no_other(which, tmp_path, monkeypatch):
    test, out = Evaluator.test, tmp_path / "runs"

    def pressed(self, params):
        os.kill(os.getpid(), which)
        return test(self, params)

    monkeypatch.setattr(Evaluator, "test", pressed)
    with pytest.raises(Interrupted, match="tutelage resume"):
        tutelage.train("mappo", "probe/action", out=out, seeds=2, quiet=True, fit=QUICK, **{**TINY, "steps": 256})
    assert (out / "seed-0" / "eval.json").exists() and not (out / "seed-1").exists()


def test_a_killed_process_is_no_success(monkeypatch):
    class Child:
        def __init__(self, code):
            self.code, self.stderr = code, io.StringIO()

        def wait(self):
            return self.code

    codes = iter([0, -9])
    monkeypatch.setattr(jobs, "restricted_to", lambda cores: nullcontext())
    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *_, **__: Child(next(codes)))
    assert jobs.run_in_processes(["sweep"], 2) == 137


# ---- what is asked ---------------------------------------------------------------------------------------------------
def test_a_sweep_from_within_the_plans_folder_keeps_its_runs_beside_it(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "plan.toml").write_text("")
    found = []
    monkeypatch.setattr(S, "sweep", lambda plan, places, *_: found.append(places) or (0, 0))
    monkeypatch.setattr(S, "estimate", lambda *_: (0, 0.0))
    for folder, plan in ((tmp_path, "results/plan.toml"), (tmp_path / "results", "plan.toml")):
        monkeypatch.chdir(folder)
        assert exit_code(["sweep", plan]) == 0
        assert [p.resolve() for p in found[-1].__dict__.values()] == [tmp_path / x for x in ("results", "runs", "zoo")]
    assert not found[0].runs.is_absolute(), "runs remember their teachers' paths"


@pytest.mark.parametrize("seed", [-1, 2**32, "a", 0.5])
def test_seeds_that_are_none_are_refused_and_nothing_is_written(tmp_path, seed):
    env = tutelage.make("probe/action")
    with pytest.raises(BadInput, match="seed = "):
        tutelage.train("mappo", "probe/action", out=tmp_path / "run", seed=seed, **TINY)
    with pytest.raises(BadInput, match="seed = "):
        tutelage.evaluate(env, env.scripted(), (), 1, seed)
    assert not (tmp_path / "run").exists()


def test_more_steps_than_can_be_counted_are_refused():
    with pytest.raises(BadInput, match="steps = 5000000000: must be less than 2147483648"):
        method_config("mappo", steps=5_000_000_000)


@pytest.mark.parametrize(
    ("name", "message"),
    [("helpers:make_spec", "gives a Spec"), ("helpers:lines_of", "missing a required argument"),
     (":x", "must be module:name"), ("helpers:QUICK", "is a FitConfig, must be a function or class")],
)  # fmt: skip
def test_what_is_no_environment_is_refused(name, message):
    with pytest.raises(BadInput, match=message):
        tutelage.make(name)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
@pytest.mark.parametrize(("method", "field"), [("mappo", "grad_clip"), ("qmix", "memory_gb"), ("kd_marl", "kl")])
def test_numbers_without_end_are_refused(method, field, value):
    with pytest.raises(BadInput, match=f"{field} = {value}: must be finite"):
        method_config(method, **{field: value})


def test_seed_i_learns_from_seed_i(action_run, tmp_path):
    parent = tmp_path / "teachers"
    for seed in (3, 4):
        (parent / f"seed-{seed}").mkdir(parents=True)
        for file in action_run.path.iterdir():
            (parent / f"seed-{seed}" / file.name).write_bytes(file.read_bytes())
    teacher = lambda path, seed: Path(find_teacher(str(path), "probe/action", action_run.env, {}, seed)[1]["name"]).name
    assert teacher(parent, 4) == "seed-4" and teacher(parent, None) == "seed-3"
    assert teacher(parent / "seed-3", 7) == "seed-3", "a single run teaches all"
    ask = lambda **more: tutelage.train("bc", "probe/action", teacher=parent, out=tmp_path / "run", quiet=True, **more)
    with pytest.raises(BadInput, match="has no seed-5; it has seed-3, seed-4"):
        ask(seed=4, seeds=2)
    assert not (tmp_path / "run").exists()

"""Checkpoints: when they are made, whose they are, and what can still be made of a training that cannot go on."""

from __future__ import annotations

import json
import shutil

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

import tutelage
from helpers import BREAKS, QUICK, TINY, Killed, Silent, assert_same, assert_same_run, counting, kill_at, lines_of
from tutelage import BadInput, Fault, FitConfig, make
from tutelage.errors import Interrupted, NonFinite
from tutelage.experiment import pieces as F
from tutelage.experiment.arrays import read_meta
from tutelage.experiment.checkpoint import BEST, CHECKPOINT
from tutelage.experiment.fit import fit
from tutelage.experiment.make_record import device, versions
from tutelage.experiment.pieces import Pace
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.resume_run import machine_changes
from tutelage.experiment.sinks import Display, TensorBoard
from tutelage.registry import method_config

SHORT = {**TINY, "steps": 512}
OFTEN = FitConfig(4, 8, 8, checkpoint_seconds=1e-9)


def train(out, method="mappo", **more):
    return tutelage.train(method, "probe/action", out=out, quiet=True, **{**SHORT, "fit": OFTEN, **more})


def stop(out, monkeypatch, lines=4, **more):
    """Stopped by Ctrl-C after so many records."""
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunRecorder, "interrupted", lambda self: len(lines_of(self.path)) >= lines)
        train(out, **more)


def said(monkeypatch):
    """What is told from now on."""
    words = []
    monkeypatch.setattr(Display, "say", lambda self, line: words.append(line))
    return words


# ---- pieces ----------------------------------------------------------------------------------------------------------
def test_the_pace_doubles_until_a_piece_takes_its_time(monkeypatch):
    monkeypatch.setattr(F, "PIECE_SECONDS", 5.0)
    pace, went = Pace(), []
    for seconds_each in (0.5, 0.5, 0.5, 0.5, 0.5, 2.0, 60.0):
        went.append(pace.updates)
        pace.measured(pace.updates, pace.updates * seconds_each)
    assert went == [1, 2, 4, 8, 10, 10, 2] and pace.updates == 1


def test_a_piece_that_a_record_cuts_short_does_not_slow_the_pace():
    pace = Pace()
    pace.updates = 64
    pace.measured(1, 1e-3)
    assert pace.updates == 128


def test_a_piece_ends_at_the_next_record_at_the_latest():
    pace = Pace()
    pace.updates = 8
    assert [pace.until(update, 10) for update in (0, 8, 10, 19)] == [8, 10, 18, 20]


def long_counting(monkeypatch, env):
    """Two thousand updates, ten between two records."""
    method = counting(env, method_config("mappo"))
    return method._replace(stages=(method.stages[0]._replace(budget=2000),))


def test_pieces_change_no_number_and_no_record(monkeypatch):
    env, found = make("probe/action"), []
    for seconds in (1e-9, 1e9):
        monkeypatch.setattr(F, "PIECE_SECONDS", seconds)
        recorder = Silent()
        result = fit(env, long_counting(monkeypatch, env), FitConfig(4, 8, 8), 0, recorder)
        assert len(recorder.records) == 200
        found.append(([{**r, "seconds": 0} for r in recorder.records], recorder.evaluations, result.params))
    assert found[0][0] == found[1][0]
    assert [e["update"] for e in found[0][1]] == [e["update"] for e in found[1][1]] == [500, 1000, 1500, 2000]
    assert_same(found[0][2], found[1][2])


def test_a_stop_is_heard_within_a_chunk(monkeypatch):
    class Stops(Silent):
        def checkpoint(self, status, force):
            self.status = status

        def interrupted(self):
            return int(self.status.loop.update) == 13

    env, recorder = make("probe/action"), Stops()
    monkeypatch.setattr(F, "PIECE_SECONDS", 1e-9)
    with pytest.raises(Interrupted):
        fit(env, long_counting(monkeypatch, env), FitConfig(4, 8, 8), 0, recorder)
    assert [r["update"] for r in recorder.records] == [10]
    assert recorder.status.unlogged.metrics["n"].tolist() == [11, 12, 13] and recorder.status.unlogged.due_before == 0


@pytest.fixture(scope="module")
def by_fives(tmp_path_factory):
    """A training of 25 updates, five between two records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tutelage.experiment.fit.cadence", lambda stage, config: (5, 10))
        (whole,) = train(tmp_path_factory.mktemp("whole") / "run", steps=1600, fit=QUICK)
    assert [line["update"] for line in lines_of(whole.path) if "policy" in line][:3] == [5, 10, 15]
    return whole.path


@pytest.mark.parametrize(("save", "after"), [(3, 2), (10, 1), (14, 1)], ids=["in the first", "between", "in a later"])
def test_a_run_that_is_killed_within_a_chunk_ends_as_if_it_had_not_been(by_fives, tmp_path, monkeypatch, save, after):
    monkeypatch.setattr("tutelage.experiment.fit.cadence", lambda stage, config: (5, 10))
    monkeypatch.setattr(F, "PIECE_SECONDS", 1e-9)
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, save, after)
        train(out, steps=1600, fit=QUICK)
    tutelage.resume(out, quiet=True)
    assert_same_run(out, by_fives)


# ---- whose a checkpoint is -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("where", "name", "value", "message"),
    [
        (("config", "lr"), "config.lr", 0.5, "config.lr = 0.002, config.json says 0.5"),
        (("config", "steps"), "config.steps", 900, "config.steps = 512, config.json says 900"),
        (("seed",), "seed", 3, "seed = 0, config.json says 3"),
        (("fit", "evaluations"), "fit.evaluations", 9, "fit.evaluations = 4, config.json says 9"),
    ],
)
def test_a_setting_that_was_edited_between_stop_and_resume_is_named(stopped, tmp_path, where, name, value, message):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    record = json.loads((out / "config.json").read_text())
    inner = record
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    (out / "config.json").write_text(json.dumps(record))
    before = (out / "metrics.jsonl").read_bytes()
    with pytest.raises(BadInput, match=f"was made with {message}: put it back"):
        tutelage.resume(out, quiet=True)
    assert (out / "metrics.jsonl").read_bytes() == before


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop(out, patch)
    return out


def test_how_often_is_saved_may_be_edited(stopped, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    record = json.loads((out / "config.json").read_text())
    record["fit"]["checkpoint_seconds"] = 7.0
    (out / "config.json").write_text(json.dumps(record))
    assert tutelage.resume(out, quiet=True)[0].test["episodes"] == 8


def test_a_checkpoint_of_another_run_is_refused(stopped, tmp_path, monkeypatch):
    out = tmp_path / "run"
    stop(out, monkeypatch, seed=4)
    shutil.copy(stopped / CHECKPOINT, out / CHECKPOINT)
    with pytest.raises(BadInput, match=r"checkpoint.safetensors was made with seed = 0, config.json says 4"):
        tutelage.resume(out, quiet=True)


# ---- what is told, and what is tidied --------------------------------------------------------------------------------
def test_other_cores_and_another_jax_are_told_at_resume():
    record = {"device": device(), "versions": versions()}
    assert machine_changes(record) == []
    other = {"device": {**device(), "used": 64}, "versions": {**versions(), "jax": "0.9"}}
    (message,) = machine_changes(other)
    assert f"begun with cores 64, now {device()['used']}; jax 0.9, now {versions()['jax']}" in message


def test_resuming_on_other_cores_warns(stopped, tmp_path, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    record = json.loads((out / "config.json").read_text())
    record["device"]["used"] = 64
    (out / "config.json").write_text(json.dumps(record))
    words = said(monkeypatch)
    tutelage.resume(out)
    assert any("begun with cores 64" in line for line in words)


def test_what_a_kill_at_the_very_end_left_is_tidied_up_by_resume(action_run, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(action_run.path, out)
    names = {file.name for file in out.iterdir()}
    for left in (CHECKPOINT, "checkpoint-stage0.safetensors", BEST, ".eval.json.tmp"):
        (out / left).write_text("x")
    (out / "checkpoint-mine.safetensors").write_text("mine")
    tutelage.resume(out, quiet=True)
    assert {file.name for file in out.iterdir()} == names | {"checkpoint-mine.safetensors"}


# ---- a teacher that is found again -----------------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["from elsewhere", "moved together"])
def test_a_teacher_is_found_from_another_directory_and_after_a_move(action_run, tmp_path, monkeypatch, how):
    project = tmp_path / "project"
    shutil.copytree(action_run.path, project / "expert")
    monkeypatch.chdir(project)
    settings = dict(core="mlp", size="width=2", gather=64, envs=16, batch=8, passes=2, teacher="expert", seeds=2)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunRecorder, "interrupted", lambda self: True)
        tutelage.train("bc", "probe/action", out="runs/student", quiet=True, fit=QUICK, **settings)
    if how == "moved together":
        project.rename(tmp_path / "renamed")
        project = tmp_path / "renamed"
    monkeypatch.chdir(tmp_path)
    runs = tutelage.resume(project / "runs" / "student", quiet=True)
    assert [run.path.name for run in runs] == ["seed-0", "seed-1"]
    for run in runs:
        assert_same(run.params("teacher"), action_run.params("student"))


def test_a_teacher_that_is_nowhere_is_named(action_run, tmp_path):
    shutil.copytree(action_run.path, tmp_path / "expert")
    settings = dict(core="mlp", size="width=2", gather=64, envs=16, batch=8, passes=2, teacher=tmp_path / "expert")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunRecorder, "interrupted", lambda self: True)
        tutelage.train("bc", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, seeds=2, **settings)
    shutil.rmtree(tmp_path / "expert")
    with pytest.raises(Fault, match=f"its teacher is neither at {tmp_path}/expert nor at {tmp_path}/run/../expert"):
        tutelage.resume(tmp_path / "run", quiet=True)


# ---- a training that cannot go on ------------------------------------------------------------------------------------
def broken(out, **more):
    with pytest.raises(NonFinite, match="policy became nan") as failure:
        train(out, "helpers:breaking", **more)
    return str(failure.value)


@pytest.fixture
def breaks(monkeypatch):
    monkeypatch.setitem(BREAKS, "on", True)


def test_the_best_so_far_of_a_training_that_broke_becomes_a_finished_run(breaks, tmp_path):
    out = tmp_path / "run"
    message = broken(out, fit=FitConfig(4, 8, 16))
    assert f"`tutelage recover {out} --trust`" in message and not (out / CHECKPOINT).exists()
    (run,) = tutelage.recover(out, quiet=True, trust=True)
    best = max(line["success_rate"] for line in lines_of(out) if "success_rate" in line)
    assert run.test["episodes"] == 16 and "policy became nan" in run.test["recovered"]["error"]
    assert 0 < run.test["steps"] < SHORT["steps"] and best <= 1
    again = tutelage.evaluate(run.env, run.policy(), run.params(), 16)
    assert again.episodes == 16 and tutelage.load(out, trust=True).test == run.test
    assert not (out / BEST).exists() and not (out / CHECKPOINT).exists()


def test_what_is_recovered_are_the_parameters_of_the_best_evaluation(tmp_path, monkeypatch):
    """Of six updates the third is good; training is stopped after the fifth."""
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunRecorder, "interrupted", lambda self: lines_of(self.path)[-1]["update"] == 5)
        tutelage.train("helpers:counting", "probe/action", out=out, quiet=True, fit=FitConfig(6, 8, 8))
    (run,) = tutelage.recover(out, quiet=True, trust=True)
    assert int(run.params()["n"]) == 3 and run.test["success_rate"] == 1 and run.test["recovered"] == {"error": None}
    assert tutelage.resume(out, quiet=True, trust=True)[0].test == run.test, "it is finished"


def test_recover_tests_as_a_training_does(breaks, tmp_path, monkeypatch):
    """The same parameters in the same episodes."""
    (whole,) = tutelage.train(
        "helpers:counting", "probe/action", out=tmp_path / "w", quiet=True, fit=FitConfig(6, 8, 8)
    )
    out = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(RunRecorder, "interrupted", lambda self: lines_of(self.path)[-1]["update"] == 5)
        tutelage.train("helpers:counting", "probe/action", out=out, quiet=True, fit=FitConfig(6, 8, 8))
    (run,) = tutelage.recover(out, quiet=True, trust=True)
    same = ("episodes", "success_rate", "ci95", "return_mean", "return_ci95", "length_mean", "seed")
    assert [run.test[k] for k in same] == [whole.test[k] for k in same]


def test_resuming_a_training_that_broke_says_what_repeats(breaks, tmp_path, monkeypatch):
    out = tmp_path / "run"
    broken(out)
    words = said(monkeypatch)
    with pytest.raises(NonFinite):
        tutelage.resume(out, trust=True)
    assert any("the same numbers come again" in line and f"`tutelage recover {out} --trust`" in line for line in words)


def test_seeds_trained_together_that_broke_are_recovered(breaks, tmp_path):
    out = tmp_path / "runs"
    message = broken(out, fit=FitConfig(4, 8, 8), seeds=2, together=True)
    assert f"`tutelage recover {out} --trust`" in message
    assert [run.path.name for run in tutelage.recover(out, quiet=True, trust=True)] == ["seed-0", "seed-1"]


@pytest.mark.parametrize("state", ["finished", "never evaluated"])
def test_what_cannot_be_recovered_is_refused(action_run, tmp_path, monkeypatch, state):
    if state == "finished":
        with pytest.raises(BadInput, match="is finished: there is nothing to recover"):
            tutelage.recover(action_run.path, quiet=True)
        return
    stop(tmp_path / "run", monkeypatch, lines=1, fit=FitConfig(1, 8, 8))
    with pytest.raises(BadInput, match="before its first evaluation"):
        tutelage.recover(tmp_path / "run", quiet=True)


def test_a_checkpoint_says_how_far_its_best_has_come(stopped):
    meta = read_meta(stopped / CHECKPOINT)
    assert meta["total_steps"] == lines_of(stopped)[-1]["total_steps"] and len(meta["best"]) == 2


# ---- tensorboard -----------------------------------------------------------------------------------------------------
def events(folder):
    """What TensorBoard shows: a restart takes away what is at its step and later."""
    shown = []
    for file in sorted(folder.iterdir()):
        content, at = file.read_bytes(), 0
        while at < len(content):
            size = int.from_bytes(content[at : at + 8], "little")
            event = Event.FromString(content[at + 12 : at + 12 + size])
            at += 16 + size
            if event.session_log.status == SessionLog.START:
                shown = [(step, value) for step, value in shown if step < event.step]
            shown += [(event.step, v.simple_value) for v in event.summary.value if v.tag == "metrics/x"]
    return shown


def test_tensorboards_curve_does_not_run_backwards_after_a_resume(tmp_path):
    board = TensorBoard(tmp_path)
    for step in (10, 20, 30):
        board.write("metrics", {"total_steps": step, "x": float(step)})
    board.close()
    first = sorted(tmp_path.iterdir())[0]
    first.rename(first.with_name("events.0"))
    board = TensorBoard(tmp_path, 21)
    for step in (30, 40):
        board.write("metrics", {"total_steps": step, "x": step + 0.5})
    board.close()
    assert events(tmp_path) == [(10, 10.0), (20, 20.0), (30, 30.5), (40, 40.5)]

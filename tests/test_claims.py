"""Whose a run directory is: one process at a time, nobody writes through links, nothing of others is removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextvars import Context

import pytest

import tutelage
from helpers import QUICK, TINY
from tutelage import BadInput, Fault
from tutelage.errors import NotWritten
from tutelage.experiment import commands, run_lock
from tutelage.experiment.files import write_json
from tutelage.experiment.run_lock import LOCK, exclusive, remove_stale_locks, try_lock
from tutelage.experiment.sinks import JsonLines, TensorBoard
from tutelage.experiment.sweep_row import copy_to_zoo, remove_stale_run


def elsewhere(run):
    """Whether another process could claim it now."""

    def ask():
        with try_lock([run]) as mine:
            return mine

    return Context().run(ask)


def begin(out, **more):
    return tutelage.train("mappo", "probe/action", out=out, quiet=True, fit=QUICK, **{**TINY, "steps": 256, **more})


# ---- one process at a time -------------------------------------------------------------------------------------------
def test_a_claim_keeps_others_out_and_leaves_nothing(tmp_path):
    run = tmp_path / "run"
    with try_lock([run]) as mine:
        assert mine and not elsewhere(run)
    assert elsewhere(run) and not run.exists()


def test_who_holds_a_claim_may_claim_again_and_still_holds_it_afterwards(tmp_path):
    with exclusive([tmp_path]):
        with exclusive([tmp_path]):
            pass
        assert not elsewhere(tmp_path)


def test_of_several_directories_all_or_none_are_claimed(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    with try_lock([second]) as mine:
        assert mine and not Context().run(lambda: try_lock([first, second]).__enter__())
        assert elsewhere(first)


def test_a_lock_that_its_holder_unlinked_keeps_nobody_out_and_nobody_in(tmp_path, monkeypatch):
    """The file is opened while another process holds it, and locked after that one has unlinked it and gone."""
    opened, other = [], tmp_path / LOCK
    lock = run_lock.fcntl.flock

    def late(file, how):
        if not opened:
            opened.append(file)
            other.unlink()
        lock(file, how)

    monkeypatch.setattr(run_lock.fcntl, "flock", late)
    with try_lock([tmp_path]) as mine:
        assert mine and other.exists(), "a new file, which others see, is held"
        assert not elsewhere(tmp_path)


def test_a_lock_that_a_kill_left_is_taken_away_and_one_that_is_held_stays(tmp_path):
    left, held = tmp_path / "left", tmp_path / "held"
    for run in (left, held):
        run.mkdir()
        (run / "eval.json").touch()
    (left / LOCK).touch()
    with try_lock([held]):
        Context().run(lambda: remove_stale_locks([left, held, tmp_path / "nowhere"]))
        assert (held / LOCK).exists()
    assert [p.name for p in left.iterdir()] == ["eval.json"] and not (tmp_path / "nowhere").exists()


def test_a_directory_in_which_a_kill_left_nothing_but_a_lock_goes_with_it(tmp_path):
    """As where a sweep was killed while it measured a floor, which has no run."""
    for name in ("empty", "locked", "held"):
        (tmp_path / name).mkdir()
    (tmp_path / "locked" / LOCK).touch()
    with try_lock([tmp_path / "held"]):
        Context().run(lambda: remove_stale_locks([tmp_path / name for name in ("empty", "locked", "held")]))
        assert [p.name for p in tmp_path.iterdir()] == ["held"]


def test_resuming_a_finished_run_takes_away_the_lock_that_a_kill_left(tmp_path):
    begin(tmp_path / "run")
    (tmp_path / "run" / LOCK).touch()
    tutelage.resume(tmp_path / "run", quiet=True)
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    mine = tmp_path / "thesis.tex"
    mine.write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).symlink_to(mine)
    with pytest.raises(NotWritten, match="it is a link"):
        begin(tmp_path / "run")
    assert mine.read_text() == "mine"


def test_who_comes_second_is_refused_before_it_writes_anything(tmp_path, monkeypatch):
    """Both have seen an empty directory; the other one was quicker with its checks."""
    out, check = tmp_path / "run", commands.check_job

    def slow(*asked):
        check(*asked)
        write_json(out / "plan.json", {"of": "the other"})

    monkeypatch.setattr(commands, "check_job", slow)
    with pytest.raises(BadInput, match="exists already"):
        begin(out)
    assert [file.name for file in out.iterdir()] == ["plan.json"]
    assert json.loads((out / "plan.json").read_text()) == {"of": "the other"}


def test_who_comes_while_another_trains_is_told_so(tmp_path):
    out = tmp_path / "run"
    with exclusive([out]), pytest.raises(Fault, match=f"another process is training {out}"):
        Context().run(begin, out)
    assert not out.exists()


def test_what_a_kill_during_the_first_file_leaves_can_be_begun_again(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in (LOCK, ".plan.json.tmp"):
        (out / name).write_text("{")
    (run,) = begin(out)
    assert run.test["episodes"] == QUICK.test_episodes and not [*out.glob(".*")]


def test_any_other_file_is_somebodys(tmp_path):
    (tmp_path / ".plan.json.bak").write_text("{")
    with pytest.raises(BadInput, match="exists already; name a new or empty directory"):
        begin(tmp_path)


# ---- links and what has gone -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["metrics.jsonl", ".config.json.tmp", ".student.safetensors.tmp"])
def test_nothing_is_written_through_a_link_inside_a_run(tmp_path, monkeypatch, name):
    mine, out = tmp_path / "thesis.tex", tmp_path / "run"
    mine.write_text("mine")
    record = commands.start_run

    def laid(*given):
        (out / name).symlink_to(mine)
        return record(*given)

    monkeypatch.setattr(commands, "start_run", laid)
    with pytest.raises(NotWritten, match=f"cannot write {out}"):
        begin(out)
    assert mine.read_text() == "mine"


def test_a_teacher_inside_that_is_a_link_is_not_written_through(tmp_path, monkeypatch):
    out, there = tmp_path / "run", tmp_path / "elsewhere"
    there.mkdir()
    out.mkdir()
    (out / "teacher").symlink_to(there)
    monkeypatch.setattr(commands, "check_unused", lambda *asked: None)
    with pytest.raises(Fault, match="teacher is a link"):
        tutelage.train("bc", "probe/action", out=out, quiet=True, size="width=4", teacher_config=TINY)
    assert not [*there.iterdir()]


def test_a_seed_inside_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "seed-1").symlink_to(tmp_path)
    with pytest.raises(Fault, match="seed-1 is a link"):
        commands.check_no_link(tmp_path, tmp_path / "seed-1")
    commands.check_no_link(tmp_path / "seed-1", tmp_path / "seed-1")  # where a user's own directory lies is his choice


def test_tensorboards_folder_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "tensorboard").symlink_to(tmp_path / "there")
    with pytest.raises(NotWritten, match="it is a link"):
        TensorBoard(tmp_path / "tensorboard")


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_run_directory_that_vanishes_is_noticed_with_the_next_line(tmp_path, how):
    out = tmp_path / "run"
    lines = JsonLines(out / "metrics.jsonl", None)
    lines.write("metrics", {"x": 1})
    shutil.rmtree(out) if how == "deleted" else out.rename(tmp_path / "other")
    with pytest.raises(NotWritten, match="it was deleted or moved"):
        lines.write("metrics", {"x": 2})
    lines.close()
    assert not out.exists()


# ---- nothing of others is removed ------------------------------------------------------------------------------------
def unfinished(folder, fingerprint="1"):
    """What a sweep leaves that was killed."""
    folder.mkdir(parents=True)
    (folder / "row.json").write_text(json.dumps({"fingerprint": fingerprint}))
    for name in ("config.json", "metrics.jsonl", "checkpoint.safetensors", "checkpoint-stage0.safetensors", LOCK):
        (folder / name).write_text("x")
    return folder


def test_a_sweep_removes_an_unfinished_run_of_its_own_but_not_its_lock(tmp_path):
    folder = unfinished(tmp_path / "run")
    remove_stale_run(folder)
    assert [file.name for file in folder.iterdir()] == [LOCK]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("eval.json", "is a finished run of other settings"),
        ("manifest.json", "is a finished run of other settings"),
        ("teacher/eval.json", "teacher is a finished run of other settings"),
        ("notes.txt", "notes.txt was made by no sweep"),
        ("teacher/thesis.tex", "thesis.tex was made by no sweep"),
    ],
)
def test_what_a_sweep_did_not_make_or_has_finished_is_named_and_stays(tmp_path, name, said):
    folder = unfinished(tmp_path / "run")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    before = sorted(folder.rglob("*"))
    with pytest.raises(Fault, match=said):
        remove_stale_run(folder)
    assert sorted(folder.rglob("*")) == before


def test_a_link_in_a_sweeps_run_is_not_removed(tmp_path):
    folder = unfinished(tmp_path / "run")
    (folder / "student.safetensors").symlink_to(tmp_path)
    with pytest.raises(Fault, match=r"student.safetensors was made by no sweep"):
        remove_stale_run(folder)
    assert (folder / "row.json").exists()


def test_a_zoo_team_of_another_row_is_not_replaced(action_run, tmp_path):
    place = tmp_path / "zoo" / "team"
    place.mkdir(parents=True)
    (place / "config.json").write_text(json.dumps({"method": "mappo", "env": "probe/action", "seed": 7}))
    with pytest.raises(Fault, match="was not made by this row"):
        copy_to_zoo(action_run, place)
    assert [file.name for file in place.iterdir()] == ["config.json"]


# ---- modules of the user ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_a_users_random_py_stands_in_for_nothing(tmp_path, flags):
    (tmp_path / "random.py").write_text("raise SystemExit('mine')")
    command = [sys.executable, *flags, "-m", "tutelage", "list", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0 and "mappo" in json.loads(done.stdout)["methods"]


def test_sweeps_side_by_side_do_not_look_for_modules_in_the_current_directory_first(monkeypatch):
    from tutelage.cli import jobs

    asked = []

    def start(command, **_):
        asked.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.subprocess, "Popen", start)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_in_processes(["sweep"], 1)
    assert asked == [[sys.executable, "-P", "-m", "tutelage", "sweep"]]

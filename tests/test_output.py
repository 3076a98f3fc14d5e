"""What is printed: JSON that is JSON, tables that no terminal cuts, and streams that cannot be written to."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import TINY
from tutelage.cli import cost, main
from tutelage.cli import sweep as sweep_command
from tutelage.cli.main import exit_code
from tutelage.cli.printing import blocks, lines, print_json, print_table
from tutelage.errors import Fault, Interrupted, NotWritten
from tutelage.experiment import sinks, train_run
from tutelage.experiment import sweep as S
from tutelage.experiment.files import write_json
from tutelage.experiment.sinks import Display, JsonLines
from tutelage.experiment.streams import StandardError, StandardOutput, line_width
from tutelage.jsons import to_json

COMMAND = Path(sys.executable).with_name("tutelage")
SMALL = [word for key, value in TINY.items() for word in (f"--{key.replace('_', '-')}", str(value))]
FIT = ["--evaluations", "2", "--eval-episodes", "16", "--test-episodes", "32"]
NAN = float("nan")


class Fails(io.StringIO):
    """A stream on which writing fails."""

    def __init__(self, number, tty=False):
        super().__init__()
        self.number, self.tty = number, tty

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))

    def isatty(self):
        return self.tty


# ---- JSON ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"return_mean": NAN}, "return_mean is nan"),
        ({"forks": [{"step": 0}, {"regret_ci95": (0.0, float("inf"))}]}, r"forks\[1\]\.regret_ci95\[1\] is inf"),
        ({"ratio": {"flops": -float("inf")}}, r"ratio\.flops is -inf"),
    ],
)
def test_a_number_that_is_none_is_named_and_never_printed(value, message, capsys):
    with pytest.raises(Fault, match=message):
        print_json(value)
    assert capsys.readouterr().out == ""


def test_what_is_not_measured_is_null():
    assert to_json({"regret": None, "x": 0.5}) == '{"regret": null, "x": 0.5}'


def test_metrics_and_files_take_no_number_that_is_none(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl", None)
    with pytest.raises(Fault, match="return_mean is nan"):
        sink.write("evaluation", {"return_mean": NAN})
    sink.write("evaluation", {"return_mean": 1.0})
    sink.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"kind": "evaluation", "return_mean": 1.0}\n'
    with pytest.raises(Fault, match=r"test\.success_rate is nan"):
        write_json(tmp_path / "eval.json", {"test": {"success_rate": NAN}})
    assert not (tmp_path / "eval.json").exists()


# ---- tables ----------------------------------------------------------------------------------------------------------
LABELS = ("per", ("MACs", "parameters"))
COLUMNS = [("teacher\n0-2", ("101,632", "102,277")), ("team", ("304,896", "306,831")), ("ratio", ("28.6x", ""))]


def test_a_wide_table_is_one_block():
    assert [len(block) for block in blocks(LABELS, COLUMNS, None)] == [3]
    assert [line.rstrip() for line in lines(LABELS, COLUMNS)] == [
        "             teacher",
        "per              0-2      team   ratio",
        "──────────────────────────────────────",
        "MACs         101,632   304,896   28.6x",
        "parameters   102,277   306,831",
    ]


@pytest.mark.parametrize(
    ("limit", "sizes"), [(38, [3]), (37, [2, 1]), (30, [2, 1]), (29, [1, 2]), (27, [1, 1, 1]), (1, [1, 1, 1])]
)
def test_columns_that_do_not_fit_go_into_blocks_of_their_own(limit, sizes):
    assert [len(block) for block in blocks(LABELS, COLUMNS, limit)] == sizes


@pytest.mark.parametrize("columns", ["80", "40", "20", "0", "", "wide"])
def test_no_width_cuts_a_number(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    print_table("run", LABELS, COLUMNS)
    out = capsys.readouterr().out
    for text in ("101,632", "102,277", "304,896", "306,831", "28.6x"):
        assert out.count(text) == 1
    assert "…" not in out
    widest = max(map(len, out.splitlines()))
    assert widest == (20 if columns == "20" else 38)


def test_the_width_is_that_of_columns_then_of_the_terminal_then_none(monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((33, 24)))
    terminal = Fails(errno.EIO, tty=True)
    terminal.fileno = lambda: 1
    for columns, here, nowhere in (("70", 70, 70), ("0", 33, None), ("", 33, None)):
        monkeypatch.setenv("COLUMNS", columns)
        assert (line_width(terminal), line_width(io.StringIO())) == (here, nowhere)


def test_the_costs_of_a_run_are_whole_on_forty_columns(monkeypatch, capsys):
    tier = {"agents": [0, 1, 2], "core": "gru", "width": 128, "inputs": 21, "macs": 101632, "flops": 203264,
            "flops_total": 205445, "params": 102277, "bytes": 409108, "latency_us": None}  # fmt: skip
    team = {**tier, "agents": 3, "macs": 1304896}
    report = {"teacher": {"tiers": [tier], "team": team}, "students": [tier], "team": team,
              "ratio": {"flops": 28.6, "params": None}, "convention": "1 multiply-add is 2 FLOPs"}  # fmt: skip
    monkeypatch.setenv("COLUMNS", "40")
    cost.print_report("run", report)
    out = capsys.readouterr().out
    assert out.count("101,632") == 2 and out.count("1,304,896") == 2 and out.count("28.6x") == 2
    assert max(map(len, out.splitlines())) <= 40


# ---- standard output -------------------------------------------------------------------------------------------------
def test_standard_output_that_is_full_is_one_line_and_exit_code_1(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", StandardOutput(Fails(errno.ENOSPC)))
    assert exit_code(["list"]) == 1
    assert capsys.readouterr().err == "tutelage: cannot write to standard output: No space left on device\n"


def test_standard_output_that_is_closed_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", StandardOutput(None))
    assert exit_code(["--version"]) == 1
    assert capsys.readouterr().err == "tutelage: cannot write to standard output: it is closed\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO])
def test_a_reader_that_has_left_is_no_error(number, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", StandardOutput(Fails(number)))
    assert exit_code(["list"]) == 0 and capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "argv", [["--help"], ["--version"], ["list"], ["list", "--json"], ["train", "--help"], ["eval", "--help"],
             ["train", "mappo", "probe/action", "--help"]], ids=" ".join
)  # fmt: skip
@pytest.mark.parametrize("unbuffered", ["1", ""])
def test_a_full_disk_behind_standard_output_is_one_line(argv, unbuffered):
    """Unbuffered it fails at once, else when the command is done."""
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, *argv], stdout=full, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, check=False)  # fmt: skip
    message = "tutelage: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)


# ---- standard error --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [None, Fails(errno.EPIPE), Fails(errno.ENOSPC), Fails(errno.EIO, tty=True)])
def test_a_run_goes_on_whatever_happens_to_who_listens(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    display = Display()
    display.say("words")
    display.progress("train", 1, 2, "steps", 1.0)
    display.say("more")
    display.close()


def test_an_error_that_nobody_can_read_keeps_its_exit_code(monkeypatch):
    monkeypatch.setattr(sys, "stderr", StandardError(Fails(errno.ENOSPC)))
    assert exit_code(["trian"]) == 2


def lost(out: Path, how: str) -> int:
    """The exit code of a training whose standard error is lost."""
    words = " ".join([str(COMMAND), "train", "mappo", "probe/action", "--out", str(out), *SMALL, *FIT])
    return subprocess.run(f"{words} {how}", shell=True, stdout=subprocess.DEVNULL, check=False).returncode


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&- <&-"])
def test_training_outlives_its_standard_error(how, action_run, tmp_path):
    assert lost(tmp_path / "run", how) == 0
    assert kinds(tmp_path / "run") == kinds(action_run.path)
    same = (tmp_path / "run" / "student.safetensors").read_bytes()
    assert same == (action_run.path / "student.safetensors").read_bytes()


def test_training_outlives_its_terminal(action_run, tmp_path):
    """The terminal is closed when the first lines have come: SIGHUP, and from then on nothing can be written."""
    out, (terminal, end) = tmp_path / "run", pty.openpty()
    take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", take, COMMAND, "train", "mappo", "probe/action", "--out", out, *SMALL, *FIT]
    job = subprocess.Popen(argv, stdin=end, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
    while job.poll() is None and not (out / "metrics.jsonl").exists():
        if select.select([terminal], [], [], 0.05)[0]:
            os.read(terminal, 4096)
    os.close(terminal)
    assert job.wait() == 0
    assert kinds(out) == kinds(action_run.path)


def kinds(path: Path) -> list[str]:
    """What each line of metrics.jsonl is."""
    return [json.loads(line)["kind"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_folder_that_is_gone_stops_no_command(tmp_path):
    gone = tmp_path / "gone"
    done = subprocess.run(f"mkdir {gone} && cd {gone} && rmdir {gone} && {COMMAND} --version", shell=True,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_streams_of_a_command_are_guarded(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys, "path", [])
    main.prepare()
    assert isinstance(sys.stdout, StandardOutput) and isinstance(sys.stderr, StandardError)
    with pytest.raises(NotWritten):
        StandardOutput(Fails(errno.ENOSPC)).write("x")


# ---- what is said while one waits ------------------------------------------------------------------------------------
def test_a_compilation_that_takes_seconds_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sinks, "ANNOUNCE_SECONDS", 0.0)
    assert exit_code(["train", "mappo", "probe/action", "--out", str(tmp_path / "run"), *SMALL, *FIT]) == 0
    assert "train: compiling, which is kept for the next start ...\n" in capsys.readouterr().err


def test_what_comes_at_once_is_not_waited_for(monkeypatch, capsys):
    monkeypatch.setattr(sinks, "ANNOUNCE_SECONDS", 0.05)
    for ends in (Display.cancel_announcement, Display.close):
        display = Display()
        display.announce_later("compiling")
        ends(display)
    Display(quiet=True).announce_later("compiling")
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_seeds_together_on_an_accelerator_are_warned_of(monkeypatch, capsys, tmp_path):
    def stops(*_):
        raise Interrupted

    for backend, warned in (("gpu", True), ("cpu", False)):
        with monkeypatch.context() as patch:
            patch.setattr(train_run, "fit_together", stops)
            patch.setattr(train_run.jax, "default_backend", lambda backend=backend: backend)
            out = str(tmp_path / backend)
            argv = ["train", "mappo", "probe/action", "--seeds", "2", "--together", "--out", out, *SMALL, *FIT]
            assert exit_code(argv) == 130
        said = capsys.readouterr().err
        assert ("evaluations on an accelerator have been wrong" in said) == warned
        assert ("JAX_PLATFORMS=cpu tutelage eval RUN" in said) == warned


# ---- what takes hours ------------------------------------------------------------------------------------------------
class Terminal(io.StringIO):
    """A terminal on which something was typed."""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("minutes", "more", "typed", "began", "message"),
    [
        (61, [], "y\n", True, "2 results are missing, about 61 minutes; begin? [y/N] "),
        (61, [], "n\n", False, "begin? [y/N] "),
        (600, [], "", False, "about 10 hours; begin?"),
        (6000, [], "no\n", False, "about 4 days; begin?"),
        (600, ["--yes"], "n\n", True, ""),
        (600, ["--minutes", "50"], "n\n", True, "2 results are missing, about 50 minutes\n"),
        (60, [], "n\n", True, "2 results are missing, about 60 minutes\n"),
    ],
)
def test_a_sweep_asks_beyond_an_hour(minutes, more, typed, began, message, monkeypatch, tmp_path):
    begun = []
    monkeypatch.setattr(S, "estimate", lambda *_: (2, minutes))
    monkeypatch.setattr(S, "sweep", lambda *_: begun.append(1) or (2, 0))
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert exit_code(["sweep", str(tmp_path / "plan.toml"), *more]) == (0 if began else 130)
    assert bool(begun) == began and message in sys.stderr.getvalue()


def test_without_a_terminal_nothing_is_asked(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(S, "estimate", lambda *_: (919, 9000.0))
    monkeypatch.setattr(S, "sweep", lambda *_: (919, 0))
    for stdin in (io.StringIO("n\n"), None):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert exit_code(["sweep", str(tmp_path / "plan.toml")]) == 0
        assert capsys.readouterr().err == "919 results are missing, about 6 days\n"


def test_processes_side_by_side_ask_once_and_share_the_time(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(S, "estimate", lambda *_: (2, 100.0))
    monkeypatch.setattr(sweep_command, "cores", lambda: [0, 1])
    monkeypatch.setattr(sweep_command, "run_in_processes", lambda argv, jobs: asked.append(argv) or 0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert exit_code(["sweep", str(tmp_path / "plan.toml"), "--jobs", "2"]) == 0
    assert asked[0][-3:] == ["--jobs", "1", "--yes"] and "about 50 minutes\n" in sys.stderr.getvalue()

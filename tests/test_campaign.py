"""The campaign of faults: a small slice of it, and that it sees what it looks for."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import fault_damage as D  # noqa: E402
import fault_files as F  # noqa: E402
import fault_inputs as I  # noqa: E402
import fault_kills as K  # noqa: E402
import fault_report as R  # noqa: E402
from fault_sandbox import Outcome, differences, leftovers, tree  # noqa: E402

BLAMED = Outcome(2, "", "tutelage: gamma = 2.0: must be between 0 and 1\n")


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """Trials by name, each in processes of its own."""
    folder = tmp_path_factory.mktemp("campaign")

    def tried(*names, **more):
        command = [sys.executable, ROOT / "benchmarks" / "faults.py", "--folder", folder, "--trial", *names]
        done = subprocess.run(
            [*command, *more.pop("options", ())], capture_output=True, text=True, env=os.environ | more
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return tried


# ---- a slice ---------------------------------------------------------------------------------------------------------
def test_a_slice_of_the_campaign_finds_nothing(campaign):
    names = ["kills:0", "files:0", *(f"inputs:{n}" for n in range(6))]
    for name, result in zip(names, campaign(*names), strict=True):
        assert result["outcome"] in R.GOOD[name.partition(":")[0]], result


def test_a_resume_that_counts_a_step_too_many_is_found(campaign, tmp_path):
    (tmp_path / "planted.py").write_text(
        "from tutelage.experiment import train_run\n"
        "read = train_run.load_status\n"
        "def fault():\n"
        "    def wrong(*args):\n"
        "        status, *rest = read(*args)\n"
        "        return status._replace(steps=status.steps + 1), *rest\n"
        "    train_run.load_status = wrong\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    (result,) = campaign("kills:0", options=["--plant", "planted:fault"], PYTHONPATH=path)
    assert result["outcome"] == "differs" and "total_steps" in " ".join(result["detail"])


# ---- what counts as what ---------------------------------------------------------------------------------------------
@pytest.fixture
def whole(tmp_path):
    """A folder with a finished run in it."""
    run = tmp_path / "whole" / "run"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text(
        '{"kind": "compiled", "seconds": 1}\n{"kind": "metrics", "loss": 1.5, "seconds": 2}\n'
    )
    (run / "eval.json").write_text('{"success_rate": 0.5, "seconds": 1.25}')
    (run / "student.safetensors").write_bytes(bytes(range(64)))
    return run.parent


def changed(whole, name, old, new):
    path = whole / "run" / name
    path.write_bytes(path.read_bytes().replace(old, new))


def test_the_clock_makes_no_difference(whole):
    before = tree(whole)
    changed(whole, "metrics.jsonl", b'"seconds": 2', b'"seconds": 3')
    changed(whole, "metrics.jsonl", b'"seconds": 1', b'"seconds": 4')
    changed(whole, "eval.json", b"1.25", b"7.5")
    assert K.judge(whole, before) == {"outcome": "same", "detail": []}


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("metrics.jsonl", b"1.5", b"1.25", "run/metrics.jsonl differs at 1 at loss: 1.25, not 1.5"),
        ("eval.json", b"0.5", b"0.6", "run/eval.json differs at success_rate: 0.6, not 0.5"),
        ("student.safetensors", b"\x07", b"\x06", "run/student.safetensors differs in its bytes"),
    ],
)
def test_one_changed_value_is_a_difference(whole, name, old, new, message):
    before = tree(whole)
    changed(whole, name, old, new)
    # Lines that tell of compilation are left out: the metrics are the first line that counts.
    assert K.judge(whole, before) == {"outcome": "differs", "detail": [message.replace("at 1 at", "at 0 at")]}


@pytest.mark.parametrize("name", [".eval.json.tmp", "run.lock", ".run.lock", "checkpoint.safetensors"])
def test_what_lies_about_is_told_as_left_over(whole, name):
    before = tree(whole)
    (whole / "run" / name).touch()
    assert K.judge(whole, before) == {"outcome": "left over", "detail": [f"run/{name} is left over"]}
    assert leftovers(tree(whole)) == [f"run/{name} is left over"]


def test_an_empty_directory_is_left_over_and_one_with_something_in_it_a_difference(whole):
    before = tree(whole)
    (whole / "more").mkdir()
    assert K.judge(whole, before)["outcome"] == "left over"
    (whole / "more" / "data.csv").touch()
    assert K.judge(whole, before)["outcome"] == "differs"


def test_other_roundings_are_told_apart_where_they_are_to_be_expected_and_only_in_numbers(whole):
    before = tree(whole)
    changed(whole, "metrics.jsonl", b"1.5", b"1.25")
    assert K.judge(whole, before, rounds=True)["outcome"] == "rounding"
    (whole / "run" / "plan.json").touch()
    assert K.judge(whole, before, rounds=True)["outcome"] == "differs"


def test_a_file_that_is_gone_is_a_difference(whole):
    before = tree(whole)
    (whole / "run" / "eval.json").unlink()
    assert differences(tree(whole), before) == ["run/eval.json is missing"]


@pytest.mark.parametrize(
    ("ended", "proper", "outcome"),
    [
        (Outcome(0, "success 0.5\n", ""), False, "harmless"),
        (Outcome(0, "success 0.4\n", ""), False, "silent"),
        (Outcome(0, "success 0.4\n", ""), True, "checksum"),
        (Outcome(0, "success 0.4\n", "warning: one field is unknown\n"), False, "detected"),
        (Outcome(1, "", "tutelage: run/eval.json is damaged\n"), False, "detected"),
        (Outcome(1, "", "tutelage: run/eval.json is damaged\nand more\n"), False, "crash"),
        (Outcome(1, "", "Traceback (most recent call last):\n"), False, "crash"),
        (Outcome(-11, "", ""), False, "crash"),
        (Outcome(None, "", ""), False, "no end"),
    ],
)
def test_what_becomes_of_a_command_with_a_damaged_file(whole, ended, proper, outcome):
    before = tree(whole)
    changed(whole, "eval.json", b"0.5", b"x")
    spoilt = tree(whole)["run/eval.json"]
    known = (Outcome(0, "success 0.5\n", ""), before, before)
    assert F.judge(ended, whole, Path("run/eval.json"), spoilt, known, proper)[0] == outcome


def test_a_file_that_is_made_anew_is_repaired(whole):
    after = tree(whole)
    known = (Outcome(0, "0 results made\n", ""), after, after)
    ended = Outcome(0, "1 results made\n", "")
    assert F.judge(ended, whole, Path("run/eval.json"), b"", known, False)[0] == "repaired"


def test_damage_that_is_carried_on_into_another_file_is_silent(whole):
    before = tree(whole)
    changed(whole, "student.safetensors", b"\x07", b"\x06")
    spoilt = tree(whole)["run/eval.json"]
    ended = Outcome(0, "", "")
    assert F.judge(ended, whole, Path("run/eval.json"), spoilt, (ended, before, before), False)[0] == "silent"


@pytest.mark.parametrize(
    ("ended", "seconds", "written", "outcome"),
    [
        (BLAMED, 1.0, False, "refused"),
        (BLAMED, 11.0, False, "slow"),
        (BLAMED, 1.0, True, "something written"),
        (BLAMED._replace(code=1), 1.0, False, "exit code 1"),
        (BLAMED._replace(err=BLAMED.err * 2), 1.0, False, "not one line"),
        (BLAMED._replace(err="Traceback (most recent call last):\n"), 1.0, False, "traceback"),
        (BLAMED._replace(code=0), 1.0, False, "accepted"),
        (BLAMED._replace(code=None), 1.0, False, "accepted"),
    ],
)
def test_what_becomes_of_a_wrong_input(ended, seconds, written, outcome):
    assert I.judge(ended, seconds, written) == outcome


# ---- damage ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["eval.json", "metrics.jsonl"])
@pytest.mark.parametrize(
    "how", ["truncated", "emptied", "bit flipped", "wrong kind", "field renamed", "a folder", "a pipe"]
)
def test_damage_changes_the_file_and_is_the_same_again(whole, name, how):
    path, result, left = whole / "run" / name, [], []
    content = path.read_bytes()
    for _ in range(2):
        path.unlink(missing_ok=True) if not path.is_dir() else path.rmdir()
        path.write_bytes(content)
        result.append(D.apply_damage(path, how, [], random.Random(5)))
        left.append(path.read_bytes() if path.is_file() else None)
    assert result[0] == result[1] and left[0] == left[1] != content


@pytest.mark.parametrize(
    ("new", "same"),
    [(b'{"a": 2.0}', True), (b'{"b": 1}', False), (b'{"a": "1"}', False), (b'{"a": NaN}', False), (b'{"a": 1', False)],
)
def test_a_checksum_is_asked_for_only_where_all_but_a_value_is_as_before(tmp_path, new, same):
    path = tmp_path / "eval.json"
    path.write_bytes(new)
    assert D.same_form(b'{"a": 1}', path) is same


# ---- kills -----------------------------------------------------------------------------------------------------------
def test_every_operation_on_a_file_is_counted(tmp_path):
    script = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom fault_watch import Watch\nfrom pathlib import Path\n"
        "from tutelage.experiment.files import write_json\nwatch = Watch(sys.argv[2])\nwatch.install()\n"
        "write_json(Path(sys.argv[2]) / 'a' / 'b.json', {})\nprint([op.group for op in watch.operations])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, ROOT / "benchmarks", tmp_path], capture_output=True, text=True, check=True
    )
    temporary = "a/.b.json.tmp"
    assert json.loads(done.stdout.replace("'", '"')) == [
        "mkdir a", f"open {temporary}", f"write {temporary}", f"flush {temporary}", f"fsync {temporary}",
        "replace a/b.json",
    ]  # fmt: skip


def test_every_method_of_the_registry_is_killed():
    from tutelage.registry import METHODS

    assert {*METHODS, "seeds", "together", "own teacher", "sweep"} <= K.scenarios().keys()


# ---- inputs ----------------------------------------------------------------------------------------------------------
def test_every_setting_of_every_method_is_tried():
    from dataclasses import fields

    from tutelage.registry import METHODS, resolve

    tried = {
        (case.words[1], case.words[-1].partition("=")[0][2:]) for case in I.cases() if case.group == "method's setting"
    }
    named = {name for _, name in tried}
    for row in METHODS.values():
        assert {f.name.replace("_", "-") for f in fields(resolve(row.config))} <= named


# ---- what is told of it ----------------------------------------------------------------------------------------------
def test_the_tables_say_what_was_counted(tmp_path):
    text = (ROOT / "docs" / "faults.md").read_text()
    (tmp_path / "faults.md").write_text(text)
    R.fill(tmp_path / "faults.md", json.loads((ROOT / "benchmarks" / "faults.json").read_text()))
    assert (tmp_path / "faults.md").read_text() == text


def test_all_kills_of_a_trial_share_its_end_and_rows_add_up():
    kill = {"how": "before", "at": 1, "what": "open run/plan.json"}
    moment = {"how": "moment", "at": 9, "seconds": 0.1}
    trials = {
        ("kills", 0): {"scenario": "mappo", "kills": [kill, moment, kill], "outcome": "same", "code": "new"},
        ("kills", 1): {"scenario": "bc", "kills": [moment], "outcome": "differs", "code": "old"},
    }
    result = R.summary(trials, "new", {"kills": 1000})["kills"]
    assert result["outcomes"] == {"same": 3, "differs": 1}
    assert result["rows"]["at a random moment"] == {"same": 1, "differs": 1}
    assert (result["done"], result["trials"], result["on this code"], result["operations"]) == (4, 2, 1, 1)
    assert result["scenarios"] == {"bc": 1, "mappo": 3} and result["found"] == [trials["kills", 1]]


def test_a_summary_goes_on_behind_another():
    def trials(*outcomes, code):
        return {
            ("kills", n): {"code": code, "scenario": "mappo", "outcome": end, "kills": [{"how": "moment"}] * kills}
            for n, (end, kills) in enumerate(outcomes)
        }

    wanted = {"kills": 9, "files": 0, "inputs": 0}
    old = R.summary(trials(("same", 2), ("differs", 1), code="a"), "a", wanted)
    new = R.summary(trials(("same", 3), code="b"), "b", wanted)
    both = R.merged(old, new)["kills"]
    assert (both["done"], both["trials"], both["on this code"]) == (6, 3, 1)
    assert both["outcomes"] == {"same": 5, "differs": 1} and both["scenarios"] == {"mappo": 6}
    assert both["rows"] == {"at a random moment": {"same": 5, "differs": 1}} and len(both["found"]) == 1

"""`tutelage export`: a folder from a run, what it refuses, and how it is used without this package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tutelage
from tutelage import BadInput, Fault
from tutelage.cli.main import run_and_flush
from tutelage.deploy import export as export_module
from tutelage.deploy import standalone

ZOO = Path(__file__).parents[1] / "zoo"
RUN = ZOO / "kd_marl" / "mpe-simple_spread"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "team"
    assert run_and_flush(["export", str(RUN), "-o", str(out), "--episodes", "32", "--int8"]) == 0
    return out


def test_a_run_becomes_a_folder_whose_check_passed(folder):
    contract = json.loads((folder / "team.json").read_text())
    check = contract["check"]
    assert check["rows"] >= 10_000 and check["episodes"] == 32
    ran = {name: result for name, result in check["formats"].items() if "skipped" not in result}
    assert "numpy" in ran
    for result in ran.values():
        assert result["same_action"] == 1.0 and result["probability_difference"] < 1e-5
        assert result["return_mean"] == pytest.approx(check["jax"]["return_mean"], abs=1e-3)
    assert contract["int8"]["matrices_share"] <= 0.26 and contract["int8"]["share"] <= 0.45
    low, high = check["int8"]["returns_change_ci95"]
    assert low <= check["int8"]["returns_change"] <= high
    assert not list(folder.parent.glob(".*"))


def test_the_examples_are_steps_of_the_team_itself(folder):
    examples = json.loads((folder / "examples.json").read_text())["steps"]
    team = standalone.Team(folder / "numpy")
    assert len(examples) == 5
    for step in examples:
        assert team.act(step["observations"], step["available"]) == step["actions"]


def test_all_files_are_in_the_list_of_hashes(folder):
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0
    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed | {"SHA256SUMS"} == {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}


def test_the_card_says_how_to_use_it_and_what_was_found(folder):
    card = (folder / "README.md").read_text()
    for words in (
        "from team import Agent, Team",
        "examples.json",
        "## Checked",
        "100.00%",
        "## In 8-bit integers",
        "must not be used for",
    ):
        assert words in card
    assert str(ZOO.parent) not in card and str(ZOO.parent) not in (folder / "team.json").read_text()


@pytest.mark.parametrize("int8", [False, True])
def test_a_machine_with_numpy_alone_runs_it(folder, int8):
    program = """
import sys
import numpy as np
from team import Agent, Team
INT8
team = Team(int8=compile_network) if "compile_network" in globals() else Team()
team.reset()
observations = np.random.default_rng(0).normal(size=(3, 18))
available = np.ones((3, 5), bool)
together = [team.act(observations * t, available) for t in range(3)]
agents = [Agent.load(i) for i in range(3)]
alone = [[a.act(x * t, m) for a, x, m in zip(agents, observations, available)] for t in range(3)]
assert all(0 <= action < 5 for actions in together for action in actions)
assert INT8_USED or together == alone, (together, alone)
assert not {"jax", "tutelage", "flax", "safetensors"} & set(sys.modules)
""".replace("INT8_USED", str(int8)).replace("INT8\n", "from int8 import compile_network\n" if int8 else "\n")
    begin = f"import sys; sys.path.append({str(Path(np.__file__).parents[1])!r})\n"  # without the site's own paths
    subprocess.run([sys.executable, "-S", "-c", begin + program], cwd=folder / "numpy", check=True)


@pytest.mark.parametrize(("words", "message"), [
    (["--format", "pickle"], "unknown format 'pickle'; allowed: c, numpy, onnx"),
    (["--format", ","], "format: none is named; allowed: numpy, onnx, c"),
    (["--role", "captain"], "unknown role 'captain'; allowed: student, teacher"),
    (["--name", "2fast"], "name = '2fast': must be up to 41 small letters"),
    (["--tune"], "tune = True: is of integers; needs int8"),
    (["--episodes", "0"], "episodes = 0: must be at least 1"),
])  # fmt: skip
def test_wrong_words_are_refused_and_nothing_is_written(tmp_path, words, message):
    with pytest.raises(BadInput) as refused:
        run_and_flush(["export", str(RUN), "-o", str(tmp_path / "out"), *words])
    assert message in str(refused.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("team", "role", "reason"), [
    ("ddn/smax-3s_vs_5z", "teacher", "a central teacher: it reads the world state"),
    ("hint/marine-medium", "teacher", "a central teacher: its coordinator reads the world state"),
])  # fmt: skip
def test_a_central_teacher_is_refused(tmp_path, team, role, reason):
    with pytest.raises(BadInput, match=f"role = 'teacher': cannot be exported from .*; it is {reason}"):
        tutelage.export(ZOO / team, tmp_path / "out", role=role)
    assert not list(tmp_path.iterdir())


def test_a_directory_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match="exists already; name a new or empty directory"):
        tutelage.export(RUN, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_missing_package_is_named_and_its_format_left_out_where_none_was_asked(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BadInput, match=r"format = onnx: needs the package onnx: pip install 'tutelage\[onnx\]'"):
        tutelage.export(RUN, tmp_path / "out", formats=["onnx"])
    contract = tutelage.export(RUN, tmp_path / "out", check=False)
    assert contract["formats"] == ["numpy", "c"] and contract["check"] == {"skipped": "it was not asked for"}
    assert "**Not checked**: it was not asked for." in (tmp_path / "out" / "README.md").read_text()


def test_a_weight_that_is_no_number_is_a_fault(tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(RUN, run)
    wrong = bytearray((run / "student.safetensors").read_bytes())
    wrong[-4:] = b"\x00\x00\xc0\x7f"  # NaN
    (run / "student.safetensors").write_bytes(wrong)
    with pytest.raises(Fault, match=r"student.safetensors is damaged"):
        tutelage.export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_fails_its_check_is_not_left_behind(tmp_path, monkeypatch):
    def spoiled(contract, weights):
        return export_module.numpy_files(contract, [{k: x + 0.1 for k, x in w.items()} for w in weights])

    monkeypatch.setitem(export_module.WRITERS, "numpy", spoiled)
    with pytest.raises(Fault, match="format numpy does not act as the team does"):
        tutelage.export(RUN, tmp_path / "out", formats=["numpy"], episodes=32)
    assert not list(tmp_path.iterdir())


def test_an_environment_that_is_not_here_leaves_the_check_out(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "tutelage.experiment.run_directory.make_env", lambda *a: (_ for _ in ()).throw(BadInput("gone"))
    )
    contract = tutelage.export(RUN, tmp_path / "out", formats=["numpy"])
    assert contract["check"] == {"skipped": "the environment cannot be made here: gone"}
    with pytest.raises(BadInput, match="int8: needs recorded decisions, and the environment cannot be made here"):
        tutelage.export(RUN, tmp_path / "ints", formats=["numpy"], int8=True)

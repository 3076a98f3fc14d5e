"""What a run names beyond the built-in names is imported only on the user's word, and called only if it may be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tutelage
from conftest import ROOT
from helpers import sign
from tutelage import BadInput, dotted
from tutelage.cli.main import exit_code
from tutelage.dotted import import_user_code
from tutelage.experiment.job import read_job
from tutelage.experiment.trust import check_trust, code_named_in, command_for

ZOO = ROOT / "zoo" / "kd_marl" / "smax-2s3z"
RECORD = json.loads((ZOO / "config.json").read_text())
TEACHER = RECORD["teacher"]
STRANGE = {
    "environment": {"env": "evil:make", "teacher": TEACHER | {"env": "evil:make"}},
    "method": {"method": "evil:make"},
    "teacher": {"teacher": TEACHER | {"kind": "callable", "name": "evil:make", "record": None}},
    "teacher's method": {"teacher": TEACHER | {"record": TEACHER["record"] | {"method": "evil:make"}}},
}
"""What a run may name, as changes to its record."""


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """A run, with a module beside it that leaves a mark where it is imported."""

    def make(**changes: Any) -> Path:
        shutil.copytree(ZOO, tmp_path / "run")
        (tmp_path / "run" / "config.json").write_text(json.dumps(RECORD | changes))
        job = {k: RECORD[k] for k in ("method", "env", "env_options", "config", "fit", "seed")} | {
            "seeds": 1, "teacher": None, "teacher_config": TEACHER["record"]["config"],
        }  # fmt: skip
        for role in ("student", "teacher", "critic"):
            file = tmp_path / "run" / f"{role}.json"
            file.write_text(
                json.dumps(json.loads(file.read_text()) | {k: changes[k] for k in {"env"} & changes.keys()})
            )
        sign(tmp_path / "run")
        for name in {"env", "method"} & changes.keys():
            (tmp_path / "run" / "plan.json").write_text(json.dumps(job | {name: changes[name]}))
        return tmp_path / "run"

    (tmp_path / "evil.py").write_text("open('mark', 'w').close()\ndef make(*args): raise ValueError('called')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dotted, "USER_FOLDERS", [str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield make
    sys.modules.pop("evil", None)


PLAYING = {
    "eval": ["eval", "run"],
    "render": ["render", "run", "-o", "x.png"],
    "fork": ["fork", "run"],
}
TRAINING = {"resume": ["resume", "run"], "recover": ["recover", "run"]}
COMMANDS = {
    **{f"{name} {what}": (command, what) for name, command in TRAINING.items() for what in STRANGE},
    **{name: (command, "environment") for name, command in PLAYING.items()},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_who_plays_or_trains_does_not_import_what_a_run_names(downloaded, capsys, name):
    command, what = COMMANDS[name]
    downloaded(**STRANGE[what])
    assert exit_code([*command]) == 2
    error = capsys.readouterr().err
    assert "names 'evil:make', which is not of tutelage" in error and "--trust" in error and error.count("\n") == 1
    assert not Path("mark").exists()


@pytest.mark.parametrize("what", STRANGE)
def test_a_team_is_opened_and_counted_without_the_code_that_trained_it(downloaded, capsys, what):
    run = tutelage.load(downloaded(**STRANGE[what]))
    assert run.policy("student").groups and run.policy("teacher").groups and run.frozen.critic is not None
    assert exit_code(["cost", "run", "--no-latency"]) == 0 and "ratio" in capsys.readouterr().out
    assert not Path("mark").exists()


def test_python_imports_what_a_run_names_where_it_is_told_to(downloaded):
    run = downloaded(**STRANGE["environment"])
    with pytest.raises(BadInput, match=r"names 'evil:make'.*trust=True"):
        tutelage.load(run).env  # noqa: B018
    assert not Path("mark").exists()
    with pytest.raises(BadInput, match="evil:make"):  # what it gives is nothing: here it is enough that it is asked
        tutelage.load(run, trust=True).env  # noqa: B018
    assert Path("mark").exists()


def test_a_command_imports_what_a_run_names_where_it_is_told_to(downloaded, capsys):
    downloaded(**STRANGE["environment"])
    assert exit_code(["eval", "run", "--trust"]) == 2
    assert "evil:make: making it raised ValueError: called" in capsys.readouterr().err and Path("mark").exists()


def test_what_is_named_on_the_same_command_line_is_trusted():
    check_trust(Path("x"), {"mine:Env"}, frozenset({"mine:Env"}))
    with pytest.raises(BadInput, match=r"x names 'yours:Env', which"):
        check_trust(Path("x"), {"mine:Env", "yours:Env"}, frozenset({"mine:Env"}))


def test_everybody_in_the_line_of_teachers_is_named():
    inner = RECORD | {"teacher": {"kind": "callable", "name": "c:d"}}
    deeper = RECORD | {"method": "a:b", "teacher": TEACHER | {"record": inner}}
    assert code_named_in(deeper) == {"a:b", "c:d"} and not code_named_in(RECORD)


def test_advice_says_how_to_go_on_with_code_of_ones_own():
    assert command_for(Path("runs/x"), ["probe/action", "mine:Env"]) == "tutelage resume runs/x --trust"
    assert command_for(Path("runs/x"), ["probe/action", "mappo"]) == "tutelage resume runs/x"


@pytest.mark.parametrize("name", ["env", "method"])
def test_only_a_teacher_can_be_scripted(tmp_path, name):
    """As an environment `scripted:it` is a module of that name."""
    record = RECORD | {name: "scripted:it"}
    assert code_named_in(record | {"teacher": None}) == {"scripted:it"}
    job = {k: record[k] for k in ("method", "env", "env_options", "config", "fit", "seed")}
    (tmp_path / "plan.json").write_text(
        json.dumps(job | {"seeds": 1, "teacher": "scripted:local", "teacher_config": {}})
    )
    with pytest.raises(BadInput, match=r"plan.json names 'scripted:it', which"):
        read_job(tmp_path / "plan.json")


# ---- of the right kind -----------------------------------------------------------------------------------------------
@pytest.fixture
def mine(monkeypatch):
    """A user's module."""
    module = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", module)
    return module


@pytest.mark.parametrize(
    "name", ["subprocess:Popen", "os:system", "os.path:join", "this:s", "builtins:exec", "runpy:run_path"]
)
@pytest.mark.parametrize("use", ["environment", "method", "teacher"])
def test_nothing_of_python_itself_is_called(name, use):
    with pytest.raises(BadInput, match=f"'{name}': .* is a module of Python, must be one of your own"):
        if use == "environment":
            tutelage.make(name, args="touch mark", shell=True)
        elif use == "method":
            tutelage.train(name, "probe/action")
        else:
            tutelage.train("bc", "probe/action", teacher=name)


@pytest.mark.parametrize(
    "thing", [os.system, subprocess.Popen, exec, partial(os.system, "touch mark"), partial(partial(exec))]
)
def test_nor_where_a_users_module_hands_it_on(mine, thing):
    mine.it = thing
    with pytest.raises(BadInput, match=r"'mine:it': is .*, a part of Python; must be your own"):
        import_user_code("mine:it")


@pytest.mark.parametrize(
    ("thing", "message"), [(5, "is a int, must be a function or class"), (os, "is a module, must be")]
)
def test_what_cannot_be_called_is_told(mine, thing, message):
    mine.it = thing
    with pytest.raises(BadInput, match=f"'mine:it': {message}"):
        import_user_code("mine:it")


def test_functions_classes_and_parts_of_a_user_are_his(mine):
    class Env:
        def __call__(self) -> None: ...

    for mine.it in (Env, Env(), lambda: None, partial(Env), Env().__call__):
        assert import_user_code("mine:it") is mine.it


def test_a_class_without_a_reset_is_not_called(mine):
    class Rocket:
        def __init__(self) -> None:
            raise AssertionError("called")

    mine.Rocket = Rocket
    with pytest.raises(BadInput, match="mine:Rocket: Rocket has no reset, so it is no environment"):
        tutelage.make("mine:Rocket")


def test_a_teacher_that_takes_no_environment_is_not_called(mine):
    def launch() -> None:
        raise AssertionError("called")

    mine.launch = launch
    with pytest.raises(BadInput, match="teacher 'mine:launch': too many positional arguments"):
        tutelage.train("bc", "probe/action", teacher="mine:launch")


def test_a_method_whose_annotations_cannot_be_read_is_told(mine):
    def method(env: Nobody, config: Nobody, teacher: Nobody) -> None: ...  # noqa: F821

    mine.method = method
    with pytest.raises(BadInput, match=r"method 'mine:method': its annotations cannot be read: name 'Nobody'"):
        tutelage.train("mine:method", "probe/action")


def test_a_module_beside_the_run_hides_nothing(tmp_path):
    for name in ("random", "numpy", "tensorboardX", "matplotlib", "dataclasses"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "jax_plugins" / "evil").mkdir(parents=True)
    (tmp_path / "jax_plugins" / "evil" / "__init__.py").write_text("raise SystemExit('shadowed')")
    command = [sys.executable, "-m", "tutelage", "eval", "probe/action", "--episodes", "1"]
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(tutelage.__file__).parents[1]), str(ROOT / "tests")])}
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "probe/action scripted: success 1.000" in done.stdout, done.stderr

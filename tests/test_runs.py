"""Run directories: what is refused before anything is written, what a run holds, and what damage looks like."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, Killed, assert_same, kill_at, sign
from tutelage import BadInput, Fault, FitConfig
from tutelage.cli.main import exit_code
from tutelage.experiment.find_teacher import find_teacher
from tutelage.experiment.recorder import RunRecorder
from tutelage.experiment.sinks import Display
from tutelage.experiment.user_code import make_method
from tutelage.registry import METHODS, method_config
from tutelage.types import Stage


def file_names(path):
    return sorted(p.name for p in path.iterdir())


# ---- a finished run ------------------------------------------------------------------------------------------------
def test_a_run_holds_everything_that_is_needed_and_nothing_pickled(action_run):
    assert file_names(action_run.path) == [
        "config.json", "critic.json", "critic.safetensors", "eval.json", "last.safetensors", "manifest.json",
        "metrics.jsonl", "plan.json", "student.json", "student.safetensors",
    ]  # fmt: skip
    record = action_run.record
    assert record["method"] == "mappo" and record["env"] == "probe/action" and record["seed"] == 0
    assert record["env_version"] == action_run.env.spec.version and record["teacher"] is None
    assert record["config"]["critic_width"] == TINY["critic_width"] and record["fit"]["evaluations"] == 2
    assert record["versions"]["jax"] == jax.__version__
    assert action_run.test["episodes"] == QUICK.test_episodes and action_run.test["steps"] >= TINY["steps"]


def test_loading_gives_what_training_gave(action_run):
    again = tutelage.load(action_run.path)
    assert_same(again.frozen.params, action_run.frozen.params)
    assert again.test == action_run.test and again.record == action_run.record
    result = tutelage.evaluate(again.env, again.policy(), again.params(), 32)
    assert result.success_rate == again.test["success_rate"] == 1


def test_a_loaded_team_acts_in_one_line(memory_run):
    step = jax.jit(jax.vmap(memory_run.env.step))
    state, ts = jax.vmap(memory_run.env.reset)(jax.random.split(jax.random.key(0), 16))
    carry = memory_run.policy("student").carry(16)
    for _ in range(3):
        action, carry = memory_run.act("student", ts, carry, jax.random.key(0))
        state, ts = step(jax.random.split(jax.random.key(1), 16), state, action)
    assert ts.last.all() and (np.asarray(ts.reward) == 1).all()


@pytest.mark.parametrize("role", ["teacher", "critic", "nobody"])
def test_a_role_that_does_not_act_is_refused(action_run, role):
    with pytest.raises(BadInput, match=f"{role!r}.*student"):
        action_run.policy(role)
    with pytest.raises(BadInput, match=f"{role!r}.*student"):
        action_run.params(role)


# ---- refused before anything is written ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (dict(method="mapo"), "'mapo'.*'mappo'"),
        (dict(env="probe/acton"), "'probe/acton'.*'probe/action'"),
        (dict(env="smax/9m"), "'smax/9m'"),
        (dict(preset="fats"), "'fats'.*'fast'"),
        (dict(stepz=3), "'stepz'.*'steps'"),
        (dict(steps=-1), "steps = -1"),
        (dict(size="ratio=many"), "ratio=many"),
        (dict(actor_view="global"), "'global'"),
        (dict(core="lstm"), "'lstm'"),
        (dict(seeds=0), "seeds = 0"),
        (dict(env_options={"max_stepz": 1}), "max_stepz"),
        (dict(teacher="scripted:local"), "scripted:local"),
        (dict(teacher_config={"steps": 1}), "teacher_config"),
        (dict(method="bc", teacher="nowhere"), "'nowhere'"),
        (dict(method="bc", teacher="scripted:loacl"), "'loacl'"),
        (dict(method="bc", teacher_config={"stepz": 1}), "'stepz'"),
        (dict(method="kl", teacher="scripted:local"), "logits"),
        (dict(method="kd_marl", memory_gb=1e-6), "memory_gb"),
        (dict(method="kd_marl", size="ratio=1e9"), "ratio=1e9"),
    ],
)
def test_bad_input_is_refused_by_name_and_writes_nothing(tmp_path, monkeypatch, arguments, names):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=names) as refusal:
        tutelage.train(**{"method": "mappo", "env": "probe/action", "out": "run", "quiet": True, **arguments})
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field", ["evaluations", "eval_episodes", "test_episodes", "checkpoint_seconds"])
def test_impossible_fit_settings_are_refused(field):
    with pytest.raises(BadInput, match=f"{field} = 0"):
        FitConfig(**{field: 0})


def test_an_existing_run_is_not_written_over(action_run):
    before = {p.name: p.read_bytes() for p in action_run.path.iterdir()}
    with pytest.raises(BadInput, match=r"exists already.*resume"):
        tutelage.train("mappo", "probe/action", out=action_run.path, quiet=True, fit=QUICK, **TINY)
    assert {p.name: p.read_bytes() for p in action_run.path.iterdir()} == before


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "run").write_text("mine")
    with pytest.raises(BadInput, match="exists already"):
        tutelage.train("mappo", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, **TINY)


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadInput, match="file is a file, must be a directory"):
        tutelage.train("mappo", "probe/action", out=tmp_path / "file" / "run", quiet=True, fit=QUICK, **TINY)
    assert (tmp_path / "file").read_text() == "mine"


# ---- teachers ------------------------------------------------------------------------------------------------------
def distil(env, teacher, out, **settings):
    return tutelage.train("kd_marl", env, teacher=teacher, out=out, quiet=True, fit=QUICK, size="width=4", **settings)


def test_a_teacher_of_another_environment_is_refused(action_run, tmp_path):
    with pytest.raises(BadInput, match="trained on probe/action, not on probe/memory"):
        distil("probe/memory", action_run.path, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def edited(run, tmp_path, **changes):
    """A copy of a run with another config.json, and a manifest that knows of it."""
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    record = json.loads((copy / "config.json").read_text()) | changes
    (copy / "config.json").write_text(json.dumps(record))
    sign(copy)
    return copy


def test_a_teacher_of_another_version_of_the_environment_is_refused(action_run, tmp_path):
    copy = edited(action_run, tmp_path, env_version="0-old")
    with pytest.raises(BadInput, match="run was made on 0-old"):
        distil("probe/action", copy, tmp_path / "run")


def test_a_run_without_a_result_in_its_test_is_damaged(action_run, tmp_path):
    copy = edited(action_run, tmp_path)
    (copy / "eval.json").write_text("{}")
    sign(copy)
    with pytest.raises(Fault, match=r"eval.json is damaged: .*episodes, success_rate.* are missing"):
        tutelage.load(copy)


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.teacher is None])
def test_a_method_that_takes_no_teacher_refuses_one(action_run, name):
    with pytest.raises(BadInput, match=f"teacher = 'a Frozen': {name} learns by itself and takes none"):
        make_method(name, action_run.env, method_config(name), action_run.frozen)


def test_a_teacher_with_other_environment_options_is_refused(action_run):
    with pytest.raises(BadInput, match="max_steps"):
        find_teacher(str(action_run.path), "probe/action", action_run.env, {"max_steps": 3})


def test_a_teacher_that_was_never_evaluated_is_refused(action_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(action_run.path, copy)
    (copy / "manifest.json").unlink()
    with pytest.raises(BadInput, match=r"never been evaluated.*tutelage resume"):
        distil("probe/action", copy, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# ---- damage --------------------------------------------------------------------------------------------------------
DAMAGE = {
    "config is no json": ("config.json", b"{"),
    "config is of something else": ("config.json", b'{"name": "a package"}'),
    "config is a list": ("config.json", b"[]"),
    "config is of a later format": ("config.json", b'{"format": 99, "method": "mappo"}'),
    "config is cut to its head": ("config.json", b'{"format": 2, "method": "mappo"}'),
    "test is no json": ("eval.json", b"\x00\x01"),
    "student is garbage": ("student.safetensors", b"nonsense"),
    "student is empty": ("student.safetensors", b""),
    "critic is gone": ("critic.safetensors", None),
    "student is gone": ("student.safetensors", None),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_run_is_a_fault_that_names_the_file(action_run, tmp_path, damage):
    copy = tmp_path / "copy"
    shutil.copytree(action_run.path, copy)
    name, content = DAMAGE[damage]
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(Fault, match=str(copy / name)) as fault:
        tutelage.load(copy)
    assert "\n" not in str(fault.value)


def spoiled(path, name):
    """Puts a nan into the first number of an array of a file, whose name is given back."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    (key,) = (key for key in json.loads(data[8 : 8 + size]) if name in key)
    at = 8 + size + json.loads(data[8 : 8 + size])[key]["data_offsets"][0]
    path.write_bytes(data[:at] + np.float32(np.nan).tobytes() + data[at + 4 :])
    return key


@pytest.mark.parametrize(
    "command",
    [
        ["eval", "RUN"],
        ["cost", "RUN"],
        ["render", "RUN", "-o", "x.png"],
        ["fork", "RUN"],
        ["resume", "RUN"],
        ["train", "bc", "probe/action", "--teacher", "RUN", "--out", "out"],
    ],
    ids=lambda command: command[0],
)
def test_every_command_names_a_weight_that_is_no_number(action_run, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(action_run.path, tmp_path / "run")
    key = spoiled(tmp_path / "run" / "student.safetensors", "['head']['bias']")
    sign(tmp_path / "run")
    assert exit_code(["run" if word == "RUN" else word for word in command]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"tutelage: run/student.safetensors: {key} holds nan at [0], must be a number") and not out
    assert err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_a_weight_of_a_checkpoint_that_is_no_number_is_named(stopped_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(stopped_run, copy)
    spoiled(copy / "checkpoint.safetensors", "train_state.actor.params[0]['head']['bias']")
    with pytest.raises(Fault, match=r"copy/checkpoint\.safetensors: .*actor\.params.* holds nan at \[0\]"):
        tutelage.resume(copy, quiet=True)


def test_parameters_of_another_size_are_a_fault(action_run, tmp_path):
    copy = edited(action_run, tmp_path)
    blueprint = (copy / "student.json").read_text()
    width = action_run.policy().groups[0].agent.width
    (copy / "student.json").write_text(blueprint.replace(f'"width": {width},', f'"width": {width + 1},', 1))
    sign(copy)
    with pytest.raises(Fault, match=r"student\.safetensors does not fit"):
        tutelage.load(copy)


@pytest.mark.parametrize(("path", "names"), [("nowhere", "nowhere"), (".", r"no config\.json")])
def test_what_is_no_run_is_bad_input(tmp_path, path, names):
    with pytest.raises(BadInput, match=names):
        tutelage.load(tmp_path / path)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """A run that was killed after a checkpoint."""
    out = tmp_path_factory.mktemp("stopped") / "run"

    with pytest.MonkeyPatch.context() as patch:
        kill_at(patch, save=1, after=1)
        with pytest.raises(Killed):
            tutelage.train("mappo", "probe/action", out=out, quiet=True, fit=QUICK, **TINY)
    return out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checkpoint.safetensors", b""),
        ("checkpoint.safetensors", b"garbage"),
        ("checkpoint.safetensors", "cut"),
        ("config.json", b"{"),
        ("plan.json", b"{"),
        ("plan.json", b'{"unknown": 1}'),
        ("plan.json", b"[1]"),
    ],
)
def test_a_damaged_checkpoint_is_a_fault_that_names_the_file(stopped_run, tmp_path, name, content):
    copy = tmp_path / "copy"
    shutil.copytree(stopped_run, copy)
    whole = (copy / name).read_bytes()
    (copy / name).write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    with pytest.raises(Fault, match=str(copy / name)):
        tutelage.resume(copy, quiet=True)


def test_a_checkpoint_of_other_settings_is_a_fault(stopped_run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(stopped_run, copy)
    record = json.loads((copy / "config.json").read_text())
    record["config"]["critic_width"] = 11
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(BadInput, match=r"checkpoint\.safetensors was made with config.critic_width = 8, .* says 11"):
        tutelage.resume(copy, quiet=True)


def test_a_stopped_run_is_neither_loaded_nor_a_teacher(stopped_run, tmp_path):
    for use in (tutelage.load, lambda path: distil("probe/action", path, tmp_path / "run")):
        with pytest.raises(BadInput, match="never been evaluated"):
            use(stopped_run)


# ---- the user's own ------------------------------------------------------------------------------------------------
def test_a_users_own_environment_trains_and_loads(tmp_path):
    env = "helpers:my_probe"
    (run,) = tutelage.train("ippo", env, out=tmp_path / "run", quiet=True, fit=QUICK, **TINY)
    assert run.record["env"] == env and run.test["success_rate"] == 1
    with pytest.raises(BadInput, match=r"run/config.json names 'helpers:my_probe'.*--trust"):
        tutelage.load(run.path).env  # noqa: B018
    assert tutelage.load(run.path, trust=True).env.spec == run.env.spec
    assert find_teacher(str(run.path), env, run.env, {}, trust={env})[0].params.keys() == {"student", "critic"}


def test_a_test_with_drawn_actions_is_also_told_greedily(tmp_path):
    fit = replace(QUICK, act="sample")
    run = tutelage.train("mappo", "probe/action", out=tmp_path, quiet=True, fit=fit, **TINY, entropy=0.5)[0]
    greedy = tutelage.evaluate(run.env, run.policy(), run.params(), fit.test_episodes)
    assert run.test["greedy"] == greedy.as_dict() and run.test["success_rate"] < greedy.success_rate


def test_a_config_is_defaults_then_preset_then_what_is_given():
    plain, fast = method_config("mappo"), method_config("mappo", "fast", size="width=7")
    assert (plain.core, fast.core, fast.size) == ("gru", "mlp", "width=7")
    assert method_config("bc").ce == 1 and method_config("bc").kl == 0


def test_a_metric_that_leaves_its_usual_range_is_told_once(tmp_path: Path, capsys: Any) -> None:
    usual = {"share": (0.02, 0.3), "other": (0.0, 1.0)}
    stage = Stage("train", {}, lambda state, *_: (state, {}), 1, usual=usual)
    recorder = RunRecorder(tmp_path, FitConfig(), Display())
    recorder.begin_stage(stage)
    for index in range(100):
        # Far too much while everything is new, then as it should be, then too little.
        recorder.metrics({"share": 9.0 if index < 20 else 0.1 if index < 60 else 0.0, "other": 0.5})
    recorder.close()
    assert capsys.readouterr().err == "warning: share is 0 on average; usual are 0.02 to 0.3\n"

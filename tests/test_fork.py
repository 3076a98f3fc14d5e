"""Forks: what both make of a state, with the same random numbers."""

from __future__ import annotations

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import tutelage
from helpers import QUICK, TINY, assert_same
from tutelage import BadInput, make
from tutelage.cli.main import exit_code
from tutelage.cli.sweep import extra_measurements
from tutelage.envs.parts import controller
from tutelage.experiment.fork import fork_run, forks


def always(action):
    """Everybody always does the same."""
    return controller(lambda carry, ts, key: (carry, jnp.full(ts.alive.shape, action))), ()


def test_who_forks_from_itself_loses_nothing():
    env = make("mpe/simple_spread")
    local = (env.scripted("local"), ())
    found = forks(env, local, local, episodes=16, every=10)
    assert len(found) > 2
    for fork in found:
        result = fork.as_dict()
        assert result["regret"] == 0 and result["saved"] == result["lost"] == 0
        assert result["going"] == fork.going.sum() and (fork.student.length[~fork.going] == 0).all()


def test_a_better_teacher_saves_early_and_less_and_less():
    env = make("marine/easy")
    found = [f.as_dict() for f in forks(env, (env.scripted("blind"), ()), (env.scripted("full"), ()), 64, 4)]
    first = found[0]
    assert first["step"] == 0 and first["going"] == 64 and first["teacher_success"] > 0.95
    assert first["student_success"] < 0.7 and first["saved"] > 10 and first["regret_ci95"][0] > 0
    late = found[2]  # after 8 of about 11 steps many can no longer be helped
    assert late["step"] == 8 and late["teacher_success"] < first["teacher_success"] - 0.2


def test_a_teacher_that_does_worse_shows_too():
    env = make("probe/action")
    (fork,) = forks(env, always(1), always(0), episodes=8, every=1)
    result = fork.as_dict()
    assert (result["student_success"], result["teacher_success"], result["lost"], result["saved"]) == (1, 0, 8, 0)
    assert result["regret"] < 0 and np.isfinite(result["regret_ci95"]).all()


def test_the_teacher_of_another_run_plays_on_from_the_same_states(monkeypatch, tmp_path):
    env = make("probe/coordination")

    def run(student, teacher):
        """What `fork_run` reads of a run: who always does what."""
        who = {"student": always(student), "teacher": always(teacher)}
        record = {
            "method": "mappo",
            "teacher": None,
            "env": "probe/coordination",
            "env_options": {},
            "env_version": "1",
            "fit": {},
        }
        return SimpleNamespace(
            env=env, record=record, path=student, policy=lambda role: who[role][0], params=lambda _: ()
        )

    one, other = run(1, 1), run(2, 0)  # all 0 is best
    (own,), (both,) = (fork_run(one, 8, None, 0, teacher=teacher) for teacher in (None, other))
    assert_same(own.student, both.student)
    assert_same(own.student, own.teacher)
    assert (both.teacher.returns > own.teacher.returns).all() and both.teacher.success.all()

    monkeypatch.setattr("tutelage.experiment.run_directory.load", {tmp_path / "zoo/one": one}.get)
    result = extra_measurements(SimpleNamespace(zoo=False, forks="zoo/one"), other, tmp_path)["forks"]
    assert result[0]["student_success"] == 0 and result[0]["teacher_success"] == 1
    result = extra_measurements(SimpleNamespace(zoo=False, forks=True), one, tmp_path)["forks"]
    assert result[0]["student_success"] == result[0]["teacher_success"] == 0


def test_the_command_and_what_it_refuses(action_run, tmp_path, capsys):
    student = dict(core="mlp", size="width=4", gather=64, envs=16, batch=8, passes=2)
    tutelage.train("kl", "probe/action", out=tmp_path / "run", quiet=True, fit=QUICK, teacher=str(action_run.path),
                   **student)  # fmt: skip
    assert exit_code(["fork", str(tmp_path / "run"), "--episodes", "8", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["method"] == "kl" and result["forks"][0]["going"] == 8
    assert exit_code(["fork", str(tmp_path / "run"), "--episodes", "8"]) == 0 and "regret" in capsys.readouterr().out
    tutelage.train("mappo", "probe/value", out=tmp_path / "elsewhere", quiet=True, fit=QUICK, **TINY)
    assert exit_code(["fork", str(tmp_path / "run"), "--teacher", str(tmp_path / "elsewhere")]) == 2
    assert "was trained on probe/value, not on probe/action" in capsys.readouterr().err
    assert exit_code(["fork", str(action_run.path)]) == 2
    assert "has no policy 'teacher'" in capsys.readouterr().err
    assert exit_code(["fork", str(tmp_path / "run"), "--every", "0"]) == 2
    with pytest.raises(BadInput, match="episodes = 0"):
        forks(make("probe/action"), always(0), always(1), 0)

"""A team trained on another package's environment is exported, and plays in that environment with NumPy alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage
from tutelage import FitConfig

PLAYER = Path(__file__).parents[1] / "benchmarks" / "circle.py"


def test_an_exported_student_keeps_its_return_where_it_came_from(tmp_path):
    name, fit = "pettingzoo:mpe2.simple_spread_v3", FitConfig(1, 16, 64)
    settings = dict(steps=800, envs=8, rollout=25, chunk=1, core="mlp", size="width=8", critic_width=8)
    run = tutelage.train("mappo", name, out=tmp_path / "run", fit=fit, quiet=True, **settings)[0]
    tutelage.export(run.path, tmp_path / "out", formats=["numpy"], check=False)
    played = subprocess.run(
        [sys.executable, PLAYER, tmp_path / "out", "--episodes", "64"], capture_output=True, text=True
    )
    found = json.loads(played.stdout)
    assert found["imported"] == []
    (low, high), (least, most) = found["ci95"], run.test["return_ci95"]
    assert low <= most and least <= high
    # Far from what a team that reads other columns, or confuses its agents, would tell by the interval alone: the same
    # decisions on the same rows are compared in test_export.py.
    assert found["return"] == pytest.approx(run.test["return_mean"], abs=5)

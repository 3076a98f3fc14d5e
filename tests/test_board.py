"""The exported C on a board: cross-compiled, and run in QEMU on recorded observations."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from exported import exported

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import board

MISSING = board.missing_tools()
pytestmark = pytest.mark.skipif(
    bool(MISSING),
    reason=f"needs {', '.join(MISSING)}: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm",
)


@pytest.mark.parametrize("cpu", board.CPUS)
def test_a_board_takes_the_actions_of_the_team(cpu):
    team = exported("near")
    scores = np.where(team.recorded.steps.avail[:-1, 0, 1], team.recorded.scores[:, 0, 1], -1e9)
    best = np.where(team.recorded.steps.avail[:-1, 0, 1].any(-1), scores.argmax(-1), 0)
    result = board.measure(team.folder / "c", "team", cpu, team.recorded, 1)
    assert result["actions"] == best.tolist() and len(set(result["actions"])) > 1
    weights = sum(4 * x.size for x in team.weights[0].values())
    assert weights < result["flash"] < weights + 12_000
    assert 4 * team.contract["networks"][0]["inputs"] < result["stack"] < 4096


def test_integers_take_a_third_of_the_instructions_of_floats_in_software():
    team = exported("near")
    floats = board.measure(team.folder / "c", "team", "cortex-m0plus", team.recorded, 0)
    integers = board.measure(team.folder / "c_int8", "team_int8", "cortex-m0plus", team.recorded, 0)
    assert integers["instructions"] * 3 < floats["instructions"]
    assert integers["flash"] < floats["flash"]

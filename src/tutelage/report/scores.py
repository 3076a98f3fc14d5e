"""Scores of teams, and retention: the share of the expert's score that a student keeps."""

from __future__ import annotations

from functools import cache
from math import isfinite
from typing import NamedTuple

import numpy as np

from tutelage.envs.build import make
from tutelage.experiment.stats import Interval, mean_interval, ratio_of_means
from tutelage.registry import ENVIRONMENTS
from tutelage.report.results import RowResults, short
from tutelage.types import Measure, acting

Rows = dict[str, RowResults]


class Scale(NamedTuple):
    """The score of a task.

    Attributes:
        name: the measure by which the task is judged.
        floor: subtracted before ratios are taken: 0, or the return of random play; NaN where that was not measured.
        digits: of a printed score.
    """

    name: Measure
    floor: float
    digits: int

    def of(self, row: RowResults) -> np.ndarray:
        """Scores of a row, (seeds,)."""
        return row.success if self.name == "success" else row.returns

    def with_interval(self, row: RowResults) -> str:
        """The mean score over seeds with its interval."""
        return share(row.success, self.digits) if self.name == "success" else mean(row.returns, self.digits)

    def brief(self, row: RowResults | None) -> str:
        """The mean score and the number of seeds."""
        return "-" if row is None else f"{self.of(row).mean():.{self.digits}f} ({len(row.seeds)}){row.mark}"


@cache
def measure_of(env: str) -> Measure:
    """The measure of one of the package's environments."""
    return make(env).spec.measure


def measure(row: RowResults) -> Measure:
    """The measure of the row's task: parameters were chosen by it, and tables show it."""
    default = measure_of(row.env) if row.env in ENVIRONMENTS else "success"
    return row.seeds[0].get("measure", default)


def tasks(rows: Rows) -> list[str]:
    """Environments that have an expert and distilled students, in order of their names."""
    envs = {row.env for row in rows.values() if row.method == "kd_marl"}
    return sorted(env for env in envs if f"mappo/{short(rows, env)}" in rows and f"kd_marl/{short(rows, env)}" in rows)


def scale(rows: Rows, env: str) -> Scale:
    """The score of a task: success, or the return above that of random play where the measure is the return."""
    expert, random = rows[f"mappo/{short(rows, env)}"], rows.get(f"random/{short(rows, env)}")
    if measure(expert) == "success":
        return Scale("success", 0.0, 3)
    return Scale("return", float(random.returns.mean()) if random else float("nan"), 2)


def teachers_success(row: RowResults) -> np.ndarray | None:
    """Final success, (seeds,), of the teacher that learned together with the students; None without one."""
    found = [s["test"].get("beside", {}).get("teacher") for s in row.seeds]
    return np.array([teacher["success_rate"] for teacher in found]) if all(found) else None


def steps_to(row: RowResults, success: float) -> int | None:
    """Environment steps after which the mean curve over seeds first reaches a success; None where it never does."""
    curves = [s["curve"] for s in row.seeds]
    for points in zip(*curves, strict=False):
        if np.mean([point["success_rate"] for point in points]) >= success:
            return int(np.mean([point["total_steps"] for point in points]))
    return None


def mean(x: np.ndarray, digits: int = 3, sign: str = "") -> str:
    """Mean over seeds with its interval, as text."""
    if len(x) == 1:
        return f"{x[0]:{sign}.{digits}f}"
    return with_interval(float(x.mean()), mean_interval(x), digits, sign)


def share_interval(x: np.ndarray) -> Interval:
    """Interval of the mean of values in [0, 1], clipped to [0, 1]."""
    low, high = mean_interval(x)
    return max(0.0, low), min(1.0, high)


def share(x: np.ndarray, digits: int = 3) -> str:
    """Mean over seeds of values in [0, 1] with its interval, as text."""
    return mean(x, digits) if len(x) == 1 else with_interval(float(x.mean()), share_interval(x), digits)


def with_interval(value: float, interval: Interval, digits: int = 3, sign: str = "") -> str:
    """A value and its interval as text; "no bounds" for an infinite interval."""
    low, high = interval
    if not (isfinite(low) and isfinite(high)):
        return f"{value:{sign}.{digits}f} [no bounds]"
    return f"{value:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def retention(rows: Rows, student: RowResults, env: str) -> tuple[float, Interval]:
    """Ratio of mean scores above the floor over the seeds that both have, with a paired interval."""
    task_scale = scale(rows, env)
    s, t = student.of_seeds(rows[f"mappo/{short(rows, env)}"])
    ratio, (low, high) = ratio_of_means(task_scale.of(s) - task_scale.floor, task_scale.of(t) - task_scale.floor)
    return ratio, (max(0.0, low) if task_scale.name == "success" and isfinite(low) else low, high)


def retention_cell(rows: Rows, student: RowResults | None, env: str, mark: str = "") -> str:
    """Retention as a cell, with `mark` on both sides of the value; "-" where student and expert share no seed."""
    shared = 0 if student is None else len(student.of_seeds(rows[f"mappo/{short(rows, env)}"])[0].seeds)
    if student is None or not shared:
        return "-"
    ratio, bounds = retention(rows, student, env)
    if not isfinite(ratio):
        return "-"
    number, _, interval = with_interval(ratio, bounds).partition(" ")
    return f"{mark}{number}{mark}" + (f" {interval}" if shared > 1 else "")


def flops_ratio(row: RowResults) -> float | None:
    """Teacher team's matrix-product FLOPs over the student team's."""
    cost = row.seeds[0]["cost"]
    return cost["teacher"]["flops"] / cost["student"]["flops"] if {"teacher", "student"} <= cost.keys() else None


def flops(row: RowResults) -> float:
    """Matrix-product FLOPs of a joint decision of the acting team, thousands."""
    cost = row.seeds[0]["cost"]
    return cost[acting(cost)]["flops"] / 1e3

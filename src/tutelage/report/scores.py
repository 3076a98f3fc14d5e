"""What a team's result is worth, and how much of the expert's worth a student keeps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.experiment.stats import bootstrap, ratio_of_means
from tutelage.report.results import RowResults
from tutelage.types import acting

Rows = dict[str, RowResults]
Interval = tuple[float, float]


class Scale(NamedTuple):
    """How results of a task are read.

    Attributes:
        of: per-seed scores of a row.
        floor: subtracted before ratios are taken: 0, or the return of random play.
        digits: of a printed score.
    """

    name: str
    floor: float
    digits: int

    def of(self, row: RowResults) -> np.ndarray:
        return row.success if self.name == "success" else row.returns


def short(env: str) -> str:
    """The task: the part of an environment's name after the slash."""
    return env.partition("/")[2]


def tasks(rows: Rows) -> list[str]:
    """Environments that have an expert and distilled students, in order of their names."""
    envs = {row.env for row in rows.values() if row.method == "kd_marl"}
    return sorted(env for env in envs if f"mappo/{short(env)}" in rows and f"kd_marl/{short(env)}" in rows)


def scale(rows: Rows, env: str) -> Scale:
    """Success, or the return above random play where returns are negative (and success therefore says little)."""
    expert, random = rows[f"mappo/{short(env)}"], rows.get(f"random/{short(env)}")
    if expert.returns.mean() < 0 and random is not None:
        return Scale("return", float(random.returns.mean()), 2)
    return Scale("success", 0.0, 3)


def interval(x: np.ndarray, samples: int = 2000) -> Interval:
    """Bootstrap interval of the mean over seeds."""
    return bootstrap(x, lambda s: float(np.mean(s)), samples)


def teachers_success(row: RowResults) -> np.ndarray | None:
    """Per seed: final success of the teacher that learned beside the students; None without one."""
    found = [s["test"].get("beside", {}).get("teacher") for s in row.seeds]
    return np.array([teacher["success_rate"] for teacher in found]) if all(found) else None


def steps_to(row: RowResults, success: float) -> int | None:
    """Environment steps after which the mean curve over seeds first has this success; None where it never does."""
    curves = [s["curve"] for s in row.seeds]
    for points in zip(*curves, strict=False):
        if np.mean([point["success_rate"] for point in points]) >= success:
            return int(np.mean([point["total_steps"] for point in points]))
    return None


def mean_with_interval(x: np.ndarray, digits: int = 3, sign: str = "") -> str:
    """Mean over seeds with its bootstrap interval."""
    if len(x) == 1:
        return f"{x[0]:{sign}.{digits}f}"
    return with_interval(float(x.mean()), interval(x), digits, sign)


def with_interval(mean: float, interval: Interval, digits: int = 3, sign: str = "") -> str:
    """A number and its interval."""
    low, high = interval
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def retention(rows: Rows, student: RowResults, env: str) -> tuple[float, Interval]:
    """Ratio of mean scores above the floor over the seeds that both have, with a paired bootstrap interval."""
    worth = scale(rows, env)
    s, t = student.of_seeds(rows[f"mappo/{short(env)}"])
    return ratio_of_means(worth.of(s) - worth.floor, worth.of(t) - worth.floor)


def kept(rows: Rows, student: RowResults | None, env: str, mark: str = "") -> str:
    """Retention as a cell, the number between marks; "-" where the two share no seed."""
    shared = 0 if student is None else len(student.of_seeds(rows[f"mappo/{short(env)}"])[0].seeds)
    if student is None or not shared:
        return "-"
    ratio, (low, high) = retention(rows, student, env)
    return f"{mark}{ratio:.3f}{mark}" + (f" [{low:.3f}, {high:.3f}]" if shared > 1 else "")


def flops_ratio(row: RowResults) -> float | None:
    """Teacher team's matrix-product FLOPs over the student team's."""
    cost = row.seeds[0]["cost"]
    return cost["teacher"]["flops"] / cost["student"]["flops"] if {"teacher", "student"} <= cost.keys() else None


def flops(row: RowResults) -> float:
    """Matrix-product FLOPs of a joint decision of the acting team, thousands."""
    cost = row.seeds[0]["cost"]
    return cost[acting(cost)]["flops"] / 1e3

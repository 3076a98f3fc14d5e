"""Tables of the value-based methods: how good students are late in training, and how quickly they got there."""

from __future__ import annotations

import numpy as np

from tutelage.report.ablations import markdown
from tutelage.report.hint import TASKS
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, mean_with_interval, short, teachers_success

METHODS = ("ddn", "ctds", "igm_da", "ptde", "ptde_mappo", "qmix", "qplex", "cw_qmix", "ow_qmix", "w_vdn", "vdn", "iql")
LATE = 5
"""Evaluations that the late score is the mean of."""


def late(row: RowResults) -> np.ndarray:
    """Per seed: mean success of the last evaluations, as the papers quote it; returns where rewards are the score."""
    key = "return_mean" if row.env.startswith("predator_prey") else "success_rate"
    return np.array([np.mean([point[key] for point in s["curve"][-LATE:]]) for s in row.seeds])


def area(row: RowResults) -> np.ndarray:
    """Per seed: the area under the curve of success over the whole training, between 0 and 1.

    NaN where the students were not evaluated until late: a method whose first stage has no students yet.
    """
    told = []
    for s in row.seeds:
        steps = np.array([0.0] + [point["total_steps"] for point in s["curve"]])
        success = np.array([0.0] + [point["success_rate"] for point in s["curve"]])
        told.append(float(np.trapezoid(success, steps) / steps[-1]) if steps[1] <= steps[-1] / 2 else np.nan)
    return np.array(told)


def teachers(row: RowResults) -> tuple[str, str]:
    """Success of the teachers that learned beside the students, and the students' share of it; empty without one."""
    teacher = teachers_success(row)
    if teacher is None:
        return "", ""
    return mean_with_interval(teacher), f"{row.success.mean() / teacher.mean():.3f}" if teacher.any() else "-"


def value_based(rows: Rows) -> str:
    """Every row of a value-based method, by environment."""
    found = [row for row in rows.values() if row.method in METHODS and row.env.split("/")[0] not in TASKS]
    order = {name: i for i, name in enumerate(METHODS)}
    body = []
    for row in sorted(found, key=lambda r: (r.env, order[r.method], r.name)):
        what = row.name.replace(f"/{short(row.env)}", "", 1)
        digits = 1 if row.env.startswith("predator_prey") else 3
        under = area(row)
        scores = [
            mean_with_interval(late(row), digits),
            "-" if np.isnan(under).any() else mean_with_interval(under),
            mean_with_interval(row.success),
        ]
        body.append([f"`{row.env}`", f"`{what}`", str(len(row.seeds)), *scores, *teachers(row)])
    header = [
        "environment",
        "row",
        "seeds",
        "last 5 evaluations",
        "area under the curve",
        "best, 320 episodes",
        "its teacher",
        "transfer",
    ]
    return markdown(header, body) if body else "No results yet."

"""Tables of the value-based methods: how good students are late in training, and how quickly they got there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tutelage.experiment.stats import MIN_SEEDS, difference_of_means
from tutelage.report.ablations import markdown
from tutelage.report.hint import TASKS
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, mean, measure, share, short, steps_to, teachers_success, with_interval

METHODS = ("ddn", "ctds", "igm_da", "ptde", "ptde_mappo", "qmix", "qplex", "cw_qmix", "ow_qmix", "w_vdn", "vdn", "iql")
LATE = 5
"""Evaluations that the late score is the mean of."""
GOOD = 0.9
"""Success that every method is timed to."""
LEAST = 0.05
"""Success of a teacher below which the students' share of it says nothing."""
Score = Callable[[RowResults], np.ndarray]


def late(row: RowResults) -> np.ndarray:
    """Per seed: mean success of the last evaluations, as the papers quote it; returns where rewards are the score."""
    key = "return_mean" if measure(row) == "return" else "success_rate"
    return np.array([np.mean([point[key] for point in s["curve"][-LATE:]]) for s in row.seeds])


def told_late(row: RowResults) -> str:
    """The late score with its interval."""
    return mean(late(row), 1) if measure(row) == "return" else share(late(row))


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
    """Success of the teachers that learned beside the students, and the students' share of it; empty without one.

    No share of next to nothing: two failures have no ratio.
    """
    teacher = teachers_success(row)
    if teacher is None:
        return "", ""
    return share(teacher), f"{row.success.mean() / teacher.mean():.3f}" if teacher.mean() >= LEAST else "-"


def same_budget(a: RowResults, b: RowResults) -> bool:
    """Whether two rows trained for as many environment steps, but for the last rollout's."""
    return abs(a.steps - b.steps) <= 0.05 * a.steps


def gap(row: RowResults, score: Score, ddn: RowResults | None) -> str:
    """DDN's mean score minus this row's, with an interval.

    Empty for DDN itself, where the steps differ, and where a score does not exist.
    """
    if ddn is None or row.name == ddn.name or min(len(ddn.seeds), len(row.seeds)) < MIN_SEEDS:
        return ""
    ours, theirs = score(ddn), score(row)
    if not same_budget(ddn, row) or np.isnan(ours).any() or np.isnan(theirs).any():
        return ""
    return with_interval(*difference_of_means(ours, theirs), sign="+")


def is_change(row: RowResults, rows: Rows) -> bool:
    """Whether a row is DDN with one thing changed, at equal steps."""
    whole = rows.get(f"ddn/{short(rows, row.env)}")
    return row.method == "ddn" and whole is not None and row.name != whole.name and same_budget(whole, row)


def value_based(rows: Rows) -> str:
    """Every method, by environment."""
    found = [row for row in rows.values() if row.method in METHODS and row.env.split("/")[0] not in TASKS]
    order = {name: i for i, name in enumerate(METHODS)}
    body = []
    for row in sorted(found, key=lambda r: (r.env, order[r.method], r.name)):
        if is_change(row, rows):
            continue
        what = row.name.replace(f"/{short(rows, row.env)}", "", 1)
        under = area(row)
        known = not np.isnan(under).any()
        soon = steps_to(row, GOOD) if known else None
        body.append([
            f"`{row.env}`", f"`{what}`", str(len(row.seeds)),
            f"{row.steps / 1e6:.1f} M",
            told_late(row),
            share(under) if known else "-",
            gap(row, area, rows.get(f"ddn/{short(rows, row.env)}")),
            f"{soon / 1e6:.2f} M" if soon else "-",
            share(row.success) + row.mark,
            *teachers(row),
        ])  # fmt: skip
    header = ["environment", "row", "seeds", "steps", f"last {LATE} evaluations", "area under the curve"]
    header += ["DDN's area minus this", f"steps to {GOOD}", "best, 320 episodes", "its teacher", "transfer"]
    return markdown(header, body) if body else "No results yet."


def value_changes(rows: Rows) -> str:
    """DDN with one thing changed, against DDN."""
    body = []
    for row in rows.values():
        if not is_change(row, rows):
            continue
        ddn = rows[f"ddn/{short(rows, row.env)}"]
        scores = [told_late(row), gap(row, late, ddn), gap(row, area, ddn), *teachers(row)]
        body.append([f"`{row.env}`", f"`{row.name.split('/')[-1]}`", row.variant, str(len(row.seeds)), *scores])
    header = ["environment", "row", "", "seeds", f"last {LATE} evaluations", "DDN minus this: last evaluations", "area"]
    return markdown([*header, "its teacher", "transfer"], body) if body else "No results yet."

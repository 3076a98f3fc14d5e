"""Tables of the value-based methods: the students' score late in training, and how quickly it rises."""

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
"""Number of last evaluations of which the late score is the mean."""
GOOD = 0.9
"""Success until which the steps of every method are counted."""
LEAST = 0.05
"""Least success of a teacher for which the students' share of it is shown."""
Score = Callable[[RowResults], np.ndarray]


def late(row: RowResults) -> np.ndarray:
    """Mean success, or return, of the last evaluations, (seeds,), as papers report it."""
    key = "return_mean" if measure(row) == "return" else "success_rate"
    return np.array([np.mean([point[key] for point in s["curve"][-LATE:]]) for s in row.seeds])


def late_cell(row: RowResults) -> str:
    """The late score with its interval, as text."""
    return mean(late(row), 1) if measure(row) == "return" else share(late(row))


def area(row: RowResults) -> np.ndarray:
    """Area under the success curve over the whole training, between 0 and 1, (seeds,).

    NaN where the first evaluation is in the second half, as of a method whose first stage has no students.
    """
    areas = []
    for s in row.seeds:
        steps = np.array([0.0] + [point["total_steps"] for point in s["curve"]])
        success = np.array([0.0] + [point["success_rate"] for point in s["curve"]])
        areas.append(float(np.trapezoid(success, steps) / steps[-1]) if steps[1] <= steps[-1] / 2 else np.nan)
    return np.array(areas)


def teacher_cells(row: RowResults) -> tuple[str, str]:
    """Two cells: success of the teachers that learned together with the students, and the students' share of it.

    Empty without a teacher; no share where the teacher's success is below LEAST.
    """
    teacher = teachers_success(row)
    if teacher is None:
        return "", ""
    return share(teacher), f"{row.success.mean() / teacher.mean():.3f}" if teacher.mean() >= LEAST else "-"


def same_budget(a: RowResults, b: RowResults) -> bool:
    """Whether two rows trained for equally many environment steps, up to 5 %."""
    return abs(a.steps - b.steps) <= 0.05 * a.steps


def difference_cell(row: RowResults, score: Score, ddn: RowResults | None) -> str:
    """DDN's mean score minus this row's, with an interval, as a cell.

    Empty for DDN itself, where the steps differ, and where a score does not exist.
    """
    if ddn is None or row.name == ddn.name or min(len(ddn.seeds), len(row.seeds)) < MIN_SEEDS:
        return ""
    ddn_scores, row_scores = score(ddn), score(row)
    if not same_budget(ddn, row) or np.isnan(ddn_scores).any() or np.isnan(row_scores).any():
        return ""
    return with_interval(*difference_of_means(ddn_scores, row_scores), sign="+")


def is_change(row: RowResults, rows: Rows) -> bool:
    """Whether a row is a variant of DDN with equally many steps."""
    full = rows.get(f"ddn/{short(rows, row.env)}")
    return row.method == "ddn" and full is not None and row.name != full.name and same_budget(full, row)


def value_based(rows: Rows) -> str:
    """Table of all value-based methods, by environment."""
    found = [row for row in rows.values() if row.method in METHODS and row.env.split("/")[0] not in TASKS]
    order = {name: i for i, name in enumerate(METHODS)}
    body = []
    for row in sorted(found, key=lambda r: (r.env, order[r.method], r.name)):
        if is_change(row, rows):
            continue
        what = row.name.replace(f"/{short(rows, row.env)}", "", 1)
        areas = area(row)
        measured = not np.isnan(areas).any()
        quick = steps_to(row, GOOD) if measured else None
        body.append([
            f"`{row.env}`", f"`{what}`", str(len(row.seeds)),
            f"{row.steps / 1e6:.1f} M",
            late_cell(row),
            share(areas) if measured else "-",
            difference_cell(row, area, rows.get(f"ddn/{short(rows, row.env)}")),
            f"{quick / 1e6:.2f} M" if quick else "-",
            share(row.success) + row.mark,
            *teacher_cells(row),
        ])  # fmt: skip
    header = ["environment", "row", "seeds", "steps", f"last {LATE} evaluations", "area under the curve"]
    header += ["DDN's area minus this", f"steps to {GOOD}", "best, 320 episodes", "its teacher", "transfer"]
    return markdown(header, body) if body else "No results yet."


def value_changes(rows: Rows) -> str:
    """Table of the variants of DDN compared with DDN."""
    body = []
    for row in rows.values():
        if not is_change(row, rows):
            continue
        ddn = rows[f"ddn/{short(rows, row.env)}"]
        scores = [late_cell(row), difference_cell(row, late, ddn), difference_cell(row, area, ddn), *teacher_cells(row)]
        body.append([f"`{row.env}`", f"`{row.name.split('/')[-1]}`", row.variant, str(len(row.seeds)), *scores])
    header = ["environment", "row", "", "seeds", f"last {LATE} evaluations", "DDN minus this: last evaluations", "area"]
    return markdown([*header, "its teacher", "transfer"], body) if body else "No results yet."

"""The table of HINT and the methods it is compared with: success, and its ratio to HINT's."""

from __future__ import annotations

import numpy as np

from tutelage.experiment.stats import MIN_SEEDS, difference_of_means
from tutelage.report.ablations import markdown
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, share, steps_to, teachers_success, with_interval

TASKS = ("fire_commander", "marine")
BASELINES = ("mappo", "happo", "ctds", "ptde", "ptde_mappo", "igm_da")
"""Methods that HINT is compared with; where its students send messages, also TarMAC and MAPPO with messages."""


def success_to_reach(best: float) -> float:
    """Success that HINT should reach if the best baseline has `best`: 1.6 times as much, or half of the rest to 1."""
    return max(0.2, min(1.6 * best, best + 0.5 * (1 - best)))


def teacher_cell(row: RowResults) -> str:
    """Mean success of the teachers as a cell; empty without one."""
    teacher = teachers_success(row)
    return "" if teacher is None else f"{teacher.mean():.3f}"


def greedy_success(row: RowResults) -> np.ndarray | None:
    """Success with greedy actions per seed, (seeds,), of rows that are tested with sampled ones; None otherwise."""
    found = [s["test"].get("greedy") for s in row.seeds]
    return np.array([test["success_rate"] for test in found]) if all(found) else None


def fork_cell(row: RowResults) -> str:
    """Success of students / of their teacher from states that the students reached, over all forks and seeds."""
    found = [fork for s in row.seeds for fork in s.get("forks", []) if fork["going"]]
    if not found:
        return ""
    weights = [fork["going"] for fork in found]
    mean = lambda key: np.average([fork[key] for fork in found], weights=weights)
    return f"{mean('student_success'):.3f} / {mean('teacher_success'):.3f}"


def ratio_to_hint(row: RowResults, hint: RowResults | None) -> str:
    """HINT's mean success divided by this row's; empty for rows of HINT."""
    if hint is None or row.method == "hint":
        return ""
    mean = float(row.success.mean())
    return f"{hint.success.mean() / mean:.2f}x" if mean else "-"


def verdict(env: str, hint: RowResults, others: list[RowResults]) -> str:
    """Whether HINT reaches `success_to_reach`, how certain that is, and how soon it has the best baseline's success.

    Every row counts as the plan tests it: those of methods that act by drawing with drawn actions, value-based ones
    with the likeliest. The steps are to the best one's success.
    """
    best = max(others, key=lambda row: (row.success.mean(), len(row.seeds)))  # of equals the surest
    best_success, hint_success = best.success, hint.success
    best_mean, mean = float(best_success.mean()), float(hint_success.mean())
    required, certainty = success_to_reach(best_mean), ", one seed" if len(hint_success) == 1 else ""
    if min(len(hint_success), len(best_success)) >= MIN_SEEDS:
        certainty = f", difference {with_interval(*difference_of_means(hint_success, best_success), sign='+')}"
    elif len(hint_success) > 1:
        certainty = f", from {len(hint_success)} and {len(best_success)} seeds, too few to be sure"
    times = [f"{steps:,} steps" if steps else "never" for steps in (steps_to(row, best_mean) for row in (hint, best))]
    speed = (
        f" {best_mean:.3f} in evaluations: HINT {times[0]}, it {times[1]}." if best_mean else ""
    )  # no success comes at once
    return (
        f"- `{env}`, `{hint.name}`: best baseline {best_mean:.3f} (`{best.name}`), aimed at {required:.3f}, "
        f"HINT {mean:.3f}: {'reached' if mean >= required else 'missed'}{certainty}.{speed}"
    )


def verdicts(env: str, env_rows: list[RowResults]) -> list[str]:
    """Verdicts on HINT's students without and with messages, against baselines without and with messages."""
    hint_rows = {"" if row.plain else row.name.split("/", 2)[2]: row for row in env_rows if row.method == "hint"}
    silent_baselines = [row for row in env_rows if row.method in BASELINES and row.plain]
    messaging = ("tarmac",), ("mappo", "hetgat")
    messaging_baselines = [row for row in env_rows if (row.method, *row.name.split("/")[2:]) in messaging]
    pairs = (hint_rows.get(""), silent_baselines), (hint_rows.get("hetgat"), silent_baselines + messaging_baselines)
    return [verdict(env, row, others) for row, others in pairs if row is not None and others]


def hint_table(rows: Rows) -> str:
    """Table of every row on FireCommander and MARINE, by level, and the verdicts on HINT."""
    levels = sorted({row.env for row in rows.values() if row.env.split("/")[0] in TASKS})
    body, lines = [], []
    for env in levels:
        env_rows = [row for row in rows.values() if row.env == env]
        hint = next((row for row in env_rows if row.method == "hint" and row.plain), None)
        for row in sorted(env_rows, key=lambda r: (r.method != "hint", r.name)):
            steps = f"{np.mean([s['test']['length_mean'] for s in row.seeds]):.1f}"
            greedy_scores = greedy_success(row)
            greedy = "" if greedy_scores is None else share(greedy_scores)
            cells = [share(row.success), greedy, teacher_cell(row), fork_cell(row), steps]
            scores = [*cells, ratio_to_hint(row, hint)]
            body.append([f"`{env}`", f"`{row.name}`", row.variant, str(len(row.seeds)), *scores])
        lines += verdicts(env, env_rows)
    if not body:
        return "No results yet."
    header = ["level", "row", "", "seeds", "success", "greedy", "teacher", "from students' states: they / teacher"]
    header += ["steps per episode", "HINT / this"]
    return "\n".join([markdown(header, body), *([""] if lines else []), *lines])

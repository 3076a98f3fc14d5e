"""The table of HINT and what it is compared with: success, and how many times a baseline's HINT's is."""

from __future__ import annotations

import numpy as np

from tutelage.report.ablations import markdown
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, mean_with_interval

TASKS = ("fire_commander", "marine")


def target(best: float) -> float:
    """Success that HINT aims at where the best baseline has `best`: 1.6 times, or half of what is missing to 1."""
    return max(0.2, min(1.6 * best, best + 0.5 * (1 - best)))


def beside(row: RowResults) -> str:
    """The teachers' mean success, empty without one."""
    found = [s["test"].get("beside", {}).get("teacher") for s in row.seeds]
    return f"{np.mean([b['success_rate'] for b in found]):.3f}" if all(found) else ""


def against(row: RowResults, hint: RowResults | None) -> str:
    """HINT's mean over this row's; empty for HINT's own rows."""
    if hint is None or row.method == "hint":
        return ""
    mean = float(row.success.mean())
    return f"{hint.success.mean() / mean:.2f}x" if mean else "-"


def hint_table(rows: Rows) -> str:
    """Every row on FireCommander and MARINE, by level; and whether HINT reaches what it aims at."""
    levels = sorted({row.env for row in rows.values() if row.env.split("/")[0] in TASKS})
    body, told = [], []
    for env in levels:
        here = [row for row in rows.values() if row.env == env]
        plain = {row.method: row for row in here if row.name.count("/") == 1}
        hint = plain.get("hint")
        for row in sorted(here, key=lambda r: (r.method != "hint", r.name)):
            steps = f"{np.mean([s['test']['length_mean'] for s in row.seeds]):.1f}"
            scores = [mean_with_interval(row.success), beside(row), steps, against(row, hint)]
            body.append([f"`{env}`", f"`{row.name}`", row.variant, str(len(row.seeds)), *scores])
        others = [row.success.mean() for method, row in plain.items() if method not in ("hint", "random", "scripted")]
        if hint is not None and others:
            aim, mean = target(max(others)), hint.success.mean()
            verdict = "reached" if mean >= aim else "missed"
            told.append(f"- `{env}`: best baseline {max(others):.3f}, aimed at {aim:.3f}, HINT {mean:.3f}: {verdict}")
    if not body:
        return "No results yet."
    header = ["level", "row", "", "seeds", "success", "teacher", "steps per episode", "HINT / this"]
    return "\n".join([markdown(header, body), *([""] if told else []), *told])

"""Tables about variants of KD-MARL: without single terms, with restricted sight, and of several sizes.

Rows are found by name: `kd_marl/TASK` is the full objective, `kd_marl/TASK/WHAT` a change of one thing.
"""

from __future__ import annotations

import numpy as np

from tutelage.experiment.stats import MIN_SEEDS, mean_interval
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, flops, mean, retention, retention_cell, scale, short, tasks

CHANGES = {
    "no-adv": "without the advantage term",
    "no-kl": "without KL",
    "no-ce": "without cross-entropy",
    "no-rel": "without the relation term",
    "no-role": "without the role term",
    "awr": "advantage term: weighted likelihood",
    "prototype": "role term: prototypes",
    "dagger": "DAgger data, all terms but the advantage",
    "published": "preset `published`",
    "gru": "recurrent students",
    "by-type": "unequal widths, by unit type",
}
SIGHTS = {
    "half": "half the sight range, everybody",
    "half-some": "half the sight range, every second agent",
    "zero": "no sight, everybody",
    "zero-some": "no sight, every second agent",
    "zero-some-unequal": "the same, widths by what each sees",
    "nearest-2": "the 2 nearest of each group",
    "no-allies": "allies not shown",
    "hidden-zero": "no sight, hidden columns zero instead of left out",
}


def markdown(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, body)])


def differences(rows: Rows, env: str, what: str) -> np.ndarray | None:
    """Score of a variant minus that of the full objective, (seeds,), over seeds that both have; None without a row."""
    changed = rows.get(f"kd_marl/{short(rows, env)}/{what}")
    if changed is None:
        return None
    changed_rows, full_rows = changed.of_seeds(rows[f"kd_marl/{short(rows, env)}"])
    return scale(rows, env).of(changed_rows) - scale(rows, env).of(full_rows)


def summarise_intervals(differences_by_task: list[np.ndarray]) -> str:
    """On how many tasks a change is worse or better, which it is where the paired interval excludes zero."""
    intervals = [mean_interval(difference) for difference in differences_by_task if len(difference) >= MIN_SEEDS]
    if not intervals:
        return "too few seeds"
    counts = {"worse": sum(high < 0 for _, high in intervals), "better": sum(low > 0 for low, _ in intervals)}
    parts = [f"{word} on {n} of {len(intervals)}" for word, n in counts.items() if n]
    return ", ".join(parts) or f"no difference shown on {len(intervals)}"


def ablations(rows: Rows) -> str:
    """Table of every change of the objective: paired differences to the full objective, and a verdict."""
    envs = [env for env in tasks(rows) if any(f"kd_marl/{short(rows, env)}/{what}" in rows for what in CHANGES)]
    body = []
    for what, text in CHANGES.items():
        differences_by_task = {env: differences(rows, env, what) for env in envs}
        measured = [difference for difference in differences_by_task.values() if difference is not None]
        if measured:
            digits = {env: scale(rows, env).digits for env in envs}
            cells = [
                "-" if difference is None else mean(difference, digits[env], "+")
                for env, difference in differences_by_task.items()
            ]
            body.append([text, *cells, summarise_intervals(measured)])
    return markdown(["change", *(f"`{env}`" for env in envs), "verdict"], body) if body else "No results yet."


def sights(rows: Rows) -> str:
    """Table of retention under restricted sight."""
    envs = [env for env in tasks(rows) if any(f"kd_marl/{short(rows, env)}/{what}" in rows for what in SIGHTS)]
    body = []
    for what, text in {"": "full sight", **SIGHTS}.items():
        sight_rows = [rows.get(f"kd_marl/{short(rows, env)}" + (f"/{what}" if what else "")) for env in envs]
        if any(sight_rows):
            body.append([text, *(retention_cell(rows, row, env) for row, env in zip(sight_rows, envs, strict=True))])
    return markdown(["students see", *(f"`{env}`" for env in envs)], body) if len(body) > 1 else "No results yet."


def rows_by_size(rows: Rows, env: str) -> dict[str, list[RowResults]]:
    """Distilled and from-scratch rows of a task, the most expensive first."""
    matches = lambda row, method, usual: row.name == usual or row.name.startswith(f"{method}/{short(rows, env)}/ratio-")
    groups = {
        "distilled": [row for row in rows.values() if matches(row, "kd_marl", f"kd_marl/{short(rows, env)}")],
        "from scratch": [row for row in rows.values() if matches(row, "mappo", f"mappo/{short(rows, env)}/small")],
    }
    return {kind: sorted(found, key=flops, reverse=True) for kind, found in groups.items()}


def smallest_from_scratch(rows: Rows, env: str) -> RowResults | None:
    """The smallest team trained from scratch (MAPPO or IPPO) with 95 % of the expert's score; None without one."""
    ippo = rows.get(f"ippo/{short(rows, env)}/small")
    candidates = rows_by_size(rows, env)["from scratch"] + ([ippo] if ippo else [])
    return min((row for row in candidates if retention(rows, row, env)[0] >= 0.95), key=flops, default=None)


def front(rows: Rows) -> str:
    """Table of scores by size, distilled and from scratch, and the smallest from scratch that is nearly as good."""
    body, lines = [], []
    for env in tasks(rows):
        groups, task_scale, expert = rows_by_size(rows, env), scale(rows, env), rows[f"mappo/{short(rows, env)}"]
        if not any("/ratio-" in row.name for found in groups.values() for row in found):
            continue
        for kind, found in groups.items():
            for row in found:
                size = [f"{flops(row):.2f}", f"{flops(expert) / flops(row):.1f}x"]
                body.append([f"`{env}`", kind, *size, task_scale.with_interval(row), retention_cell(rows, row, env)])
        smallest = smallest_from_scratch(rows, env)
        text = f"{flops(expert) / flops(smallest):.1f}x fewer FLOPs than the expert" if smallest else "none of these"
        lines.append(f"- `{env}`: smallest team from scratch with 95 % of the expert: {text}")
    header = [
        "environment",
        "how",
        "kFLOPs per joint decision",
        "fewer than the expert",
        "score",
        "share of the expert",
    ]
    return markdown(header, body) + "\n\n" + "\n".join(lines) if body else "No results yet."

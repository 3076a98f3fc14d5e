"""Writing the Markdown tables of the documents from results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.experiment.files import write_bytes
from tutelage.experiment.stats import iqm
from tutelage.registry import ALL_ENVIRONMENTS, METHODS
from tutelage.report.ablations import ablations, front, markdown, sights
from tutelage.report.glance import ddn_glance, hint_glance
from tutelage.report.hint import hint_table
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, flops_ratio, retention_cell, scale, share, short, tasks
from tutelage.report.scratch import SCRATCH, best_from_scratch, ratios, verdict
from tutelage.report.value import value_based, value_changes

COMPARED = {
    "same size from scratch: MAPPO": "mappo/{}/small",
    "IPPO": "ippo/{}/small",
    "KL only": "kl/{}",
    "BC only": "bc/{}",
    "DAgger": "dagger_kl/{}",
}
"""Rows that a distilled one is compared with, by column heading."""


def headline(rows: Rows) -> str:
    """Table of expert, student, the same size without a teacher, and a script."""
    body = []
    for env in tasks(rows):
        name, task_scale = short(rows, env), scale(rows, env)
        expert, student = rows[f"mappo/{name}"], rows[f"kd_marl/{name}"]
        cost = student.seeds[0].get("cost_report", {}).get("ratio") or {}
        factor = flops_ratio(student)
        groups = len(student.seeds[0]["widths"]) / len(expert.seeds[0]["widths"])
        others = [rows.get(key.format(name)) for key in (*COMPARED.values(), "scripted/{}")]
        body.append(
            [
                env,
                str(len(student.seeds)),
                task_scale.with_interval(expert) + expert.mark,
                task_scale.with_interval(student) + student.mark,
                retention_cell(rows, student, env, "**"),
                f"{factor:.1f}x" if factor else "",
                f"{cost['params']:.1f}x / {cost['params'] / groups:.1f}x" if cost else "",
                f"{cost['latency']:.2f}x / {cost['latency_numpy']:.2f}x" if cost else "",
                *map(task_scale.brief, others),
            ]
        )
    header = ["environment", "seeds", "expert", "student", "retention", "fewer FLOPs"]
    header += ["fewer parameters (deployed / shared)", "faster (compiled / NumPy)", *COMPARED, "a script"]
    return markdown(header, body)


FIRST = "smax/2s3z", "smax/3s_vs_5z", "smax/MMM2"
"""Tasks of the front page: an easy one, the one of the paper's kind, the largest team."""


def first_look(rows: Rows) -> str:
    """The front page's table: expert, student, what the student keeps, and the same size without a teacher."""
    body = []
    for env in (env for env in FIRST if env in tasks(rows)):
        name, task_scale = short(rows, env), scale(rows, env)
        student, best = rows[f"kd_marl/{name}"], best_from_scratch(rows, env)
        factor = flops_ratio(student)
        body.append(
            [
                f"`{env}`",
                task_scale.brief(rows[f"mappo/{name}"]),
                task_scale.brief(student),
                retention_cell(rows, student, env),
                f"{factor:.1f}x" if factor else "",
                task_scale.brief(best) + (f" {SCRATCH[best.method]}" if best else ""),
            ]
        )
    header = ["environment", "expert", "student", "retention", "fewer FLOPs", "same size, learned from scratch"]
    return markdown(header, body) if body else "No results yet."


def choices(rows: Rows) -> str:
    """Table of how many evaluations the parameters of each row were chosen from."""
    body = []
    for env in tasks(rows):
        others = [rows.get(key.format(short(rows, env))) for key in ("mappo/{}", "kd_marl/{}", *COMPARED.values())]
        body.append([f"`{env}`", *map(evaluations, others)])
    return markdown(["environment", "expert", "student", *COMPARED], body) if body else "No results yet."


def evaluations(row: RowResults | None) -> str:
    """Evaluations per run of a row, the fewest and the most."""
    if row is None:
        return "-"
    counts = [len(s["curve"]) for s in row.seeds]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def all_rows(rows: Rows) -> str:
    """Table of every row: seeds, final test, interquartile mean, settings."""
    body = [
        [
            f"`{row.name}`",
            row.variant,
            str(len(row.seeds)),
            share(row.success) + row.mark,
            f"{iqm(row.success):.3f}",
            f"{row.returns.mean():.2f}",
            " / ".join(map(str, row.seeds[0]["widths"])) or "-",
            f"{row.steps:,.0f}",
            f"{np.mean([s['test']['seconds'] for s in row.seeds]):.0f}",
        ]
        for row in rows.values()
    ]
    header = ["row", "what", "seeds", "success: mean", "IQM", "return", "widths", "env steps", "seconds learning"]
    return markdown(header, body)


def method_list(rows: Rows) -> str:
    """Table of the methods in the registry."""
    return markdown(["method", "what it is"], [[f"`{name}`", row.about] for name, row in METHODS.items()])


def environment_list(rows: Rows) -> str:
    """Table of all environments, including those whose package is not installed."""
    needs = lambda row: f"; needs `tutelage[{row.extra}]`" if row.extra else ""
    body = [[f"`{name}`", row.about + needs(row)] for name, row in ALL_ENVIRONMENTS.items()]
    return markdown(["environment", "what it is"], body)


TABLES: dict[str, Any] = {
    "first-look": first_look,
    "headline": headline,
    "verdict": verdict,
    "ratios": ratios,
    "choices": choices,
    "all-rows": all_rows,
    "ablations": ablations,
    "sight": sights,
    "front": front,
    "ddn-glance": ddn_glance,
    "hint-glance": hint_glance,
    "value": value_based,
    "value-changes": value_changes,
    "hint": hint_table,
    "methods": method_list,
    "environments": environment_list,
}
MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n)(?:(?!<!-- table:).)*?(<!-- end -->)", re.DOTALL)


HOW = "put `<!-- table: all-rows -->` and, below it, `<!-- end -->` into README.md or a file in docs/"
"""Message for a user without a page that holds tables."""


def has_table(path: Path) -> bool:
    """Whether a page has a marker of one of the tables."""
    return any(match[2] in TABLES for match in MARK.finditer(path.read_text()))


def fill(path: Path, rows: Rows) -> bool:
    """Rewrite the tables between `<!-- table: NAME -->` and `<!-- end -->`; returns whether the file changed."""
    text = path.read_text()

    def block(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            return match[0]
        return f"{match[1]}{TABLES[match[2]](rows) or 'No results yet.'}\n{match[3]}"

    new = MARK.sub(block, text)
    if new != text:
        write_bytes(path, new.encode())
    return new != text

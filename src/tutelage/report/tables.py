"""Markdown tables made from results; no number in the documents is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.experiment.files import write_bytes
from tutelage.experiment.stats import iqm
from tutelage.registry import ENVIRONMENTS, METHODS
from tutelage.report.ablations import ENOUGH, ablations, front, markdown, sights
from tutelage.report.glance import ddn_glance, hint_glance
from tutelage.report.hint import hint_table
from tutelage.report.scores import Rows, flops_ratio, interval, kept, mean_with_interval, scale, short, tasks
from tutelage.report.value import value_based, value_changes

BESIDE = ("mappo/{}/small", "ippo/{}/small", "kl/{}", "bc/{}", "dagger_kl/{}")
"""Rows that stand beside a distilled one."""


def headline(rows: Rows) -> str:
    """Expert, student and the same size without a teacher."""
    body = []
    for env in tasks(rows):
        name, worth = short(env), scale(rows, env)
        expert, student = rows[f"mappo/{name}"], rows[f"kd_marl/{name}"]
        cost = student.seeds[0].get("cost_report", {}).get("ratio") or {}
        factor = flops_ratio(student)
        others = [rows.get(key.format(name)) for key in BESIDE]
        body.append(
            [
                env,
                str(len(student.seeds)),
                mean_with_interval(worth.of(expert), worth.digits),
                mean_with_interval(worth.of(student), worth.digits),
                kept(rows, student, env, "**"),
                f"{factor:.1f}x" if factor else "",
                f"{cost['params']:.1f}x" if cost else "",
                f"{cost['latency']:.2f}x / {cost['latency_numpy']:.2f}x" if cost else "",
                *[f"{worth.of(o).mean():.{worth.digits}f} ({len(o.seeds)})" if o else "-" for o in others],
            ]
        )
    header = ["environment", "seeds", "expert", "student", "retention", "fewer FLOPs", "fewer parameters"]
    header += ["faster (compiled / NumPy)", "same size from scratch: MAPPO", "IPPO", "KL only", "BC only", "DAgger"]
    return markdown(header, body)


def verdict(rows: Rows) -> str:
    """Where distillation helps and where it does not, from paired differences."""
    told = []
    for env in tasks(rows):
        name, worth = short(env), scale(rows, env)
        student, scratch = rows[f"kd_marl/{name}"], rows.get(f"mappo/{name}/small")
        if scratch is None:
            continue
        s, c = student.of_seeds(scratch)
        gap = worth.of(s) - worth.of(c)
        if len(gap) < ENOUGH:
            told.append(f"- `{env}`: no verdict from {len(gap)} seed{'s' * (len(gap) > 1)}")
            continue
        low, high = interval(gap)
        words = "distillation helps" if low > 0 else "from scratch is better" if high < 0 else "no difference shown"
        told.append(
            f"- `{env}`: {words}; student minus same size from scratch, {worth.name}: "
            + mean_with_interval(gap, worth.digits, "+")
        )
    return "\n".join(told)


def all_rows(rows: Rows) -> str:
    """Every row: seeds, final test, interquartile mean, settings."""
    body = [
        [
            f"`{row.name}`",
            row.variant,
            str(len(row.seeds)),
            mean_with_interval(row.success),
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
    """The registry's methods."""
    return markdown(["method", "what it is"], [[f"`{name}`", row.about] for name, row in METHODS.items()])


def environment_list(rows: Rows) -> str:
    """The registry's environments."""
    return markdown(["environment", "what it is"], [[f"`{name}`", row.about] for name, row in ENVIRONMENTS.items()])


TABLES: dict[str, Any] = {
    "headline": headline,
    "verdict": verdict,
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


def fill(path: Path, rows: Rows) -> bool:
    """Rewrite the tables between `<!-- table: NAME -->` and `<!-- end -->`; returns whether the file changed."""
    text = path.read_text()

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}{TABLES[match[2]](rows)}\n{match[3]}" if match[2] in TABLES else match[0]

    new = MARK.sub(block, text)
    if new != text:
        write_bytes(path, new.encode())
    return new != text

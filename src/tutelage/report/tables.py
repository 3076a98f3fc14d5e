"""Markdown tables made from results; no number in the documents is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.experiment.files import write_bytes
from tutelage.experiment.stats import bootstrap, iqm, ratio_of_means
from tutelage.registry import ENVIRONMENTS, METHODS
from tutelage.report.results import RowResults

Rows = dict[str, RowResults]
ENOUGH = 3
"""Seeds below which no verdict is given."""


def markdown(header: list[str], body: list[list[str]]) -> str:
    """A table."""
    line = lambda cells: "| " + " | ".join(cells) + " |"
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, body)])


def interval(x: np.ndarray) -> str:
    """Mean over seeds with its bootstrap interval."""
    if len(x) == 1:
        return f"{x[0]:.3f}"
    low, high = bootstrap(x, lambda s: float(np.mean(s)))
    return f"{x.mean():.3f} [{low:.3f}, {high:.3f}]"


def flops_ratio(row: RowResults) -> float | None:
    """Teacher team's matrix-product FLOPs over the student team's."""
    cost = row.seeds[0]["cost"]
    return cost["teacher"]["flops"] / cost["student"]["flops"] if {"teacher", "student"} <= cost.keys() else None


def retention(student: RowResults, expert: RowResults) -> tuple[float, tuple[float, float]]:
    """Ratio of mean success over the seeds that both have, with a paired bootstrap interval."""
    s, t = student.of_seeds(expert)
    return ratio_of_means(s.success, t.success)


def tasks(rows: Rows) -> list[str]:
    """Environments of distilled rows, in order of their names."""
    return sorted({row.env for row in rows.values() if row.method == "kd_marl"})


def short(env: str) -> str:
    return env.partition("/")[2]


def headline(rows: Rows) -> str:
    """Expert, student and the same size without a teacher."""
    body = []
    for env in tasks(rows):
        name = short(env)
        expert, student = rows.get(f"mappo/{name}"), rows.get(f"kd_marl/{name}")
        if expert is None or student is None:
            continue
        ratio, (low, high) = retention(student, expert)
        cost = student.seeds[0].get("cost_report", {}).get("ratio") or {}
        factor = flops_ratio(student)
        others = [rows.get(key) for key in (f"mappo/{name}/small", f"ippo/{name}/small", f"kl/{name}", f"bc/{name}")]
        body.append(
            [
                env,
                str(len(student.seeds)),
                interval(expert.success),
                interval(student.success),
                f"**{ratio:.3f}**" + (f" [{low:.3f}, {high:.3f}]" if len(student.seeds) > 1 else ""),
                f"{factor:.1f}x" if factor else "",
                f"{cost['params']:.1f}x" if cost else "",
                f"{cost['latency']:.2f}x / {cost['latency_numpy']:.2f}x" if cost else "",
                *[f"{o.success.mean():.3f} ({len(o.seeds)})" if o else "-" for o in others],
            ]
        )
    header = ["environment", "seeds", "expert", "student", "retention", "fewer FLOPs", "fewer parameters"]
    header += ["faster (compiled / NumPy)", "same size from scratch: MAPPO", "IPPO", "KL only", "BC only"]
    return markdown(header, body)


def verdict(rows: Rows) -> str:
    """Where distillation helps and where it does not, from paired differences."""
    told = []
    for env in tasks(rows):
        name = short(env)
        student, scratch = rows.get(f"kd_marl/{name}"), rows.get(f"mappo/{name}/small")
        if student is None or scratch is None:
            continue
        s, c = student.of_seeds(scratch)
        gap = s.success - c.success
        if len(gap) < ENOUGH:
            told.append(f"- `{env}`: no verdict from {len(gap)} seed{'s' * (len(gap) > 1)}")
            continue
        low, high = bootstrap(gap, lambda x: float(np.mean(x)))
        words = "distillation helps" if low > 0 else "from scratch is better" if high < 0 else "no difference shown"
        told.append(
            f"- `{env}`: {words}; student minus same size from scratch {gap.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        )
    return "\n".join(told)


def all_rows(rows: Rows) -> str:
    """Every row: seeds, final test, interquartile mean, settings."""
    body = [
        [
            f"`{row.name}`",
            row.variant,
            str(len(row.seeds)),
            interval(row.success),
            f"{iqm(row.success):.3f}",
            f"{row.returns.mean():.2f}",
            " / ".join(map(str, row.seeds[0]["widths"])),
            f"{np.mean([s['test']['steps'] for s in row.seeds]):,.0f}",
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
    "methods": method_list,
    "environments": environment_list,
}
MARK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(path: Path, rows: Rows) -> bool:
    """Rewrite the tables between `<!-- table: NAME -->` and `<!-- end -->`; returns whether the file changed."""
    text = path.read_text()

    def block(match: re.Match[str]) -> str:
        return f"{match[1]}{TABLES[match[2]](rows)}\n{match[3]}" if match[2] in TABLES else match[0]

    new = MARK.sub(block, text)
    if new != text:
        write_bytes(path, new.encode())
    return new != text

"""`tutelage cost RUN`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.cli.printing import print_json, print_note, print_table

Cell = Callable[[dict[str, Any]], str]


@dataclass(frozen=True)
class CostArgs:
    """What to count."""

    run: Positional[Path]
    """Run directory (of a parent of several seeds, the first)."""
    latency: bool = True
    """Measure the time per decision as well (takes some seconds)."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Count, measure and print."""
    args = parse(CostArgs, "cost", argv, "FLOPs, parameters and latency of teacher and students.")
    from tutelage.deploy.cost import cost_report
    from tutelage.experiment.read_roles import read_finished

    run = read_finished(args.run)
    report = cost_report(run, args.latency)
    if args.json:
        print_json(report)
    else:
        print_report(str(run.path), report)


def print_report(name: str, report: dict[str, Any]) -> None:
    """Print a report as a table: one column per tier and team, one row per figure, the ratio of the teams last."""
    columns, ratio = agent_columns(report), report["ratio"]
    rows = [row for row in ROWS if any(row[1](figures) for _, figures in columns)]
    table = [(head, [cell(figures) for _, cell, _ in rows]) for head, figures in columns]
    if ratio:
        table.append(("ratio", [ratio_text(ratio.get(key)) for _, _, key in rows]))
    print_table(name, ("per decision", [label for label, _, _ in rows]), table)
    if not ratio:
        print("no ratio: the run has no " + ("teacher that is counted" if report["students"] else "student"))
    print()
    print_note(report["convention"].replace("`flops`", "product FLOPs").replace("`flops_total`", "all FLOPs"))


def agent_columns(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Heading and figures of every tier and every team."""
    teacher = report["teacher"] or {"tiers": [], "team": None}
    columns = []
    for role, rows, team in (
        ("teacher", teacher["tiers"], teacher["team"]),
        ("student", report["students"], report["team"]),
    ):
        columns += [(f"{role}\n{agent_ranges(row['agents'])}", row) for row in rows]
        columns += [(f"{role}\nteam of {team['agents']}", team)] if team else []
    return columns


def agent_ranges(agents: list[int]) -> str:
    """Agent numbers with runs shortened: 0-2,5."""
    runs: list[list[int]] = []
    for i in sorted(agents):
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def ratio_text(ratio: float | None) -> str:
    """A ratio as text; empty where there is none."""
    return "" if ratio is None else f"{ratio:.1f}x"


def network(row: dict[str, Any]) -> str:
    """Core and width of a tier; empty for a team."""
    return f"{row['core']} {row['width']}" if "core" in row else ""


def counted_cell(name: str, unit: int = 1) -> Cell:
    """A function that formats a counted figure, divided by `unit`."""
    return lambda row: "" if row[name] is None else f"{row[name]:,}" if unit == 1 else f"{row[name] / unit:,.1f}"


def latency_cell(name: str, statistic: str) -> Cell:
    """A function that formats a latency: a statistic of one agent, or for a team the sum of the agents' medians."""

    def cell(row: dict[str, Any]) -> str:
        latency = (row["latency_us"] or {}).get(name)
        if isinstance(latency, dict):
            return f"{latency[statistic]:.1f}"
        return f"{latency:.1f}" if latency is not None and statistic == "median" else ""

    return cell


ROWS: tuple[tuple[str, Cell, str], ...] = (
    ("network", network, ""),
    ("inputs", lambda row: str(row.get("inputs", "")), ""),
    ("MACs", counted_cell("macs"), "flops"),
    ("product FLOPs", counted_cell("flops"), "flops"),
    ("all FLOPs", counted_cell("flops_total"), ""),
    ("parameters", counted_cell("params"), "params"),
    ("KiB", counted_cell("bytes", 1024), ""),
    ("µs, compiled", latency_cell("compiled", "median"), "latency"),
    ("    p95", latency_cell("compiled", "p95"), ""),
    ("µs, NumPy", latency_cell("numpy", "median"), "latency_numpy"),
    ("    p95", latency_cell("numpy", "p95"), ""),
)
"""Rows of the table: label, function that makes a cell, and key of the ratio in the last column."""

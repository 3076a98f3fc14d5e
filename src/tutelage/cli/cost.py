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
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Count, measure and print."""
    args = parse(CostArgs, "cost", argv, "FLOPs, parameters and latency of teacher and students.")
    from tutelage.deploy.cost import cost_report
    from tutelage.experiment.run_directory import load

    run = load(args.run, args.trust)
    report = cost_report(run, args.latency)
    if args.json:
        print_json(report)
    else:
        show(str(run.path), report)


def show(name: str, report: dict[str, Any]) -> None:
    """Print a report as a table: a column per tier and team, a row per figure, the ratio of the teams last."""
    columns, ratio = agent_columns(report), report["ratio"]
    rows = [row for row in ROWS if any(row[1](figures) for _, figures in columns)]
    shown = [(head, [cell(figures) for _, cell, _ in rows]) for head, figures in columns]
    if ratio:
        shown.append(("ratio", [times(ratio.get(key)) for _, _, key in rows]))
    print_table(name, ("per decision", [label for label, _, _ in rows]), shown)
    if not ratio:
        print("no ratio: the run has no " + ("teacher that is counted" if report["students"] else "student"))
    print()
    print_note(report["convention"].replace("`flops`", "product FLOPs").replace("`flops_total`", "all FLOPs"))


def agent_columns(report: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(Heading, figures) of every tier, and of every team."""
    teacher = report["teacher"] or {"tiers": [], "team": None}
    columns = []
    for role, rows, team in (
        ("teacher", teacher["tiers"], teacher["team"]),
        ("student", report["students"], report["team"]),
    ):
        columns += [(f"{role}\n{numbers(row['agents'])}", row) for row in rows]
        columns += [(f"{role}\nteam of {team['agents']}", team)] if team else []
    return columns


def numbers(agents: list[int]) -> str:
    """Agent numbers with runs shortened: 0-2,5."""
    runs: list[list[int]] = []
    for i in sorted(agents):
        if runs and i == runs[-1][-1] + 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def times(ratio: float | None) -> str:
    """A ratio as text; nothing where there is none."""
    return "" if ratio is None else f"{ratio:.1f}x"


def network(row: dict[str, Any]) -> str:
    """Core and width of a tier; nothing for a team."""
    return f"{row['core']} {row['width']}" if "core" in row else ""


def counted(name: str, unit: int = 1) -> Cell:
    """A counted figure."""
    return lambda row: "" if row[name] is None else f"{row[name]:,}" if unit == 1 else f"{row[name] / unit:,.1f}"


def measured(name: str, statistic: str) -> Cell:
    """A latency: of an agent by statistic, of a team the sum of medians."""

    def cell(row: dict[str, Any]) -> str:
        told = (row["latency_us"] or {}).get(name)
        if isinstance(told, dict):
            return f"{told[statistic]:.1f}"
        return f"{told:.1f}" if told is not None and statistic == "median" else ""

    return cell


ROWS: tuple[tuple[str, Cell, str], ...] = (
    ("network", network, ""),
    ("inputs", lambda row: str(row.get("inputs", "")), ""),
    ("MACs", counted("macs"), "flops"),
    ("product FLOPs", counted("flops"), "flops"),
    ("all FLOPs", counted("flops_total"), ""),
    ("parameters", counted("params"), "params"),
    ("KiB", counted("bytes", 1024), ""),
    ("µs, compiled", measured("compiled", "median"), "latency"),
    ("    p95", measured("compiled", "p95"), ""),
    ("µs, NumPy", measured("numpy", "median"), "latency_numpy"),
    ("    p95", measured("numpy", "p95"), ""),
)
"""Label, cell of a column, and which ratio stands at the end."""

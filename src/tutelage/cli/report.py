"""`tutelage report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.errors import BadInput


@dataclass(frozen=True)
class ReportArgs:
    """What to write."""

    results: Positional[Path] = Path("results")
    """Folder that a sweep filled."""
    into: Path | None = None
    """Folder whose Markdown files have their tables rewritten and whose docs/figures get the curves; None: the
    parent of `results`."""


def main(argv: Sequence[str]) -> None:
    """Rewrite tables and curves."""
    args = parse(ReportArgs, "report", argv, "Make tables, curves and the marl-eval file from results.")
    from tutelage.experiment.files import write_json
    from tutelage.experiment.plan import fingerprint, read_plan, version_of
    from tutelage.report.curves import draw_compared, draw_curves, draw_front
    from tutelage.report.hint import BASELINES
    from tutelage.report.results import Expected, current_results, mark_other_jax, marl_eval, read_results
    from tutelage.report.tables import HOW, fill, has_table
    from tutelage.report.value import METHODS

    rows = read_results(args.results)
    if (plan := args.results / "plan.toml").exists():
        wanted = read_plan(plan)
        marks = lambda row: {v: fingerprint(row, wanted, v) for v in range(version_of(row), 0, -1)}
        asked = {name: Expected(marks(row), row.all_seeds) for name, row in wanted.items()}
        rows, stale = current_results(rows, asked)
        if stale:
            print(f"{stale} results are left out: the plan has other settings now, or no such row or seed")
        if not rows:
            raise BadInput(f"no result in {args.results} belongs to {plan} as it is now: run `tutelage sweep {plan}`")
    rows = mark_other_jax(rows)
    into = args.into or args.results.resolve().parent
    write_json(args.results / "marl_eval.json", marl_eval(rows))
    figures = into / "docs" / "figures"
    draw_curves(rows, figures / "curves.png")
    draw_front(rows, figures / "front.png")
    draw_compared(rows, figures / "ddn.png", "ddn", METHODS)
    draw_compared(rows, figures / "hint.png", "hint", (*BASELINES, "tarmac", "maddpg"))
    print(f"{len(rows)} rows, {sum(len(row.seeds) for row in rows.values())} results: {args.results}/marl_eval.json")
    pages = [path for path in (into / "README.md", *sorted((into / "docs").rglob("*.md"))) if path.exists()]
    rewritten = [path for path in pages if fill(path, rows)]
    for path in rewritten:
        print(f"rewrote {path}")
    if not rewritten and not any(has_table(path) for path in pages):
        print(f"no page in {into} has a table to fill: {HOW}")
    elif not rewritten:
        print(f"all tables of {into} are as they were")

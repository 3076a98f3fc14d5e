"""`tutelage sweep PLAN`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from tutelage.cli.jobs import cores, side_by_side
from tutelage.cli.parsing import parse
from tutelage.errors import BadInput, Interrupted

if TYPE_CHECKING:
    from tutelage.experiment.sinks import Display


@dataclass(frozen=True)
class SweepArgs:
    """What to run."""

    plan: Positional[Path]
    """TOML file of rows."""
    only: str = "*"
    """Shell patterns of row names, e.g. 'kd_marl/*' or 'mappo/3m*,kd_marl/3m'."""
    minutes: float | None = None
    """Stop after so many minutes; the next call goes on where this one stopped."""
    seeds: int | None = None
    """Of every row no more than its first so many seeds: a whole table of few seeds before a part of it with all."""
    jobs: int = 1
    """So many processes side by side, each with its share of the cores."""
    out: Path | None = None
    """Where results go; None: the plan's folder, with zoo/ and runs/ beside it."""
    yes: bool = False
    """Begin without asking, also what takes more than an hour; without a terminal nothing is asked."""
    quiet: bool = False
    """No progress on standard error."""


def main(argv: Sequence[str]) -> None:
    """Run the missing rows."""
    args = parse(SweepArgs, "sweep", argv, "Run the rows of a plan that are missing, in order of priority.")
    if args.minutes is not None and not 0 < args.minutes < 1e6:
        raise BadInput(f"minutes = {args.minutes}: must be greater than 0 and less than a million")
    if args.seeds is not None and args.seeds < 1:
        raise BadInput(f"seeds = {args.seeds}: must be at least 1")
    if not 1 <= args.jobs <= len(cores()):
        raise BadInput(f"jobs = {args.jobs}: must be from 1 to {len(cores())}, the cores at hand")
    from tutelage.experiment.sinks import Display
    from tutelage.experiment.sweep import SweepPaths, estimate, sweep

    results = args.out or args.plan.parent
    # Relative, since runs remember the paths of their teachers.
    beside = Path(os.path.relpath(args.plan.resolve().parent.parent))
    root = beside if args.out is None else results
    places, display = SweepPaths(results, root / "runs", root / "zoo"), Display(args.quiet)
    if not args.yes and not begins(*estimate(args.plan, places, args.only, args.seeds), args, display):
        raise Interrupted("nothing was run")
    if args.jobs > 1:
        code = side_by_side(["sweep", *argv, "--jobs", "1", "--yes"], args.jobs)
        if code:
            raise SystemExit(code)
        return
    measure = lambda row, run: measured(row, run, beside)
    done, left = sweep(args.plan, places, args.only, args.minutes, args.seeds, display, measure)
    print(f"{done} results made, {left} missing; results in {results}, runs in {places.runs}")


def begins(missing: int, minutes: float, args: SweepArgs, display: Display) -> bool:
    """Say how long it takes, and of more than an hour ask, where somebody is there to answer.

    Args:
        missing: results. minutes: that they take, one after the other.
    """
    minutes = min(minutes / args.jobs, args.minutes or float("inf"))
    told = f"{missing:,} results are missing, about {spoken(minutes)}"
    if minutes <= 60 or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        display.say(told)
        return True
    sys.stderr.write(f"{told}; begin? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def spoken(minutes: float) -> str:
    """A time as people say it."""
    if minutes < 90:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"


def measured(row: Any, run: Any, root: Path) -> dict[str, Any]:
    """Latencies, for the rows whose runs are kept; what students lose that their teacher wins, for those that ask.

    Args:
        root: where the directories are that `forks` names.
    """
    told: dict[str, Any] = {}
    if row.zoo:
        from tutelage.deploy.cost import cost_report

        report = cost_report(run)
        told["cost_report"] = {k: report[k] for k in ("teacher", "students", "team", "ratio")}
    if row.forks:
        from tutelage.experiment.fork import fork_run
        from tutelage.experiment.run_directory import load
        from tutelage.experiment.trust import code_named_in

        students = load(root / row.forks, code_named_in(run.record)) if isinstance(row.forks, str) else run
        told["forks"] = [fork.as_dict() for fork in fork_run(students, 128, None, seed=0, teacher=run)]
    return told

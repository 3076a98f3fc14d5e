"""`tutelage sweep PLAN`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from tutelage.cli.jobs import cores, run_in_processes
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
    from tutelage.experiment.sweep import estimate, sweep
    from tutelage.experiment.sweep_paths import SweepPaths

    results = args.out or args.plan.parent
    # Relative, since runs remember the paths of their teachers.
    base = Path(os.path.relpath(args.plan.resolve().parent.parent))
    root = base if args.out is None else results
    paths, display = SweepPaths(results, root / "runs", root / "zoo"), Display(args.quiet)
    if not args.yes and not confirm(*estimate(args.plan, paths, args.only, args.seeds), args, display):
        raise Interrupted("nothing was run")
    if args.jobs > 1:
        code = run_in_processes(["sweep", *argv, "--jobs", "1", "--yes"], args.jobs)
        if code:
            raise SystemExit(code)
        return
    measure = lambda row, run: extra_measurements(row, run, base)
    done, missing = sweep(args.plan, paths, args.only, args.minutes, args.seeds, display, measure)
    print(f"{done} results made, {missing} missing; results in {results}, runs in {paths.runs}")


def confirm(missing: int, minutes: float, args: SweepArgs, display: Display) -> bool:
    """Print how long a sweep will take; where that is more than an hour, ask at a terminal whether to begin.

    Args:
        missing: number of results. minutes: that they take, one after the other.

    Returns:
        Whether to begin.
    """
    minutes = min(minutes / args.jobs, args.minutes or float("inf"))
    message = f"{missing:,} results are missing, about {duration(minutes)}"
    if minutes <= 60 or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        display.say(message)
        return True
    sys.stderr.write(f"{message}; begin? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def duration(minutes: float) -> str:
    """A duration in minutes, hours or days."""
    if minutes < 90:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 60:.0f} hours" if minutes < 48 * 60 else f"{minutes / 1440:.0f} days"


def extra_measurements(row: Any, run: Any, root: Path) -> dict[str, Any]:
    """Further entries of a result: the cost with latencies for rows with `zoo`, forks for rows with `forks`.

    Args:
        root: directory to which run directories in `forks` are relative.
    """
    extra: dict[str, Any] = {}
    if row.zoo:
        from tutelage.deploy.cost import cost_report

        report = cost_report(run)
        extra["cost_report"] = {k: report[k] for k in ("teacher", "students", "team", "ratio")}
    if row.forks:
        from tutelage.experiment.fork import fork_run
        from tutelage.experiment.run_directory import load
        from tutelage.experiment.trust import code_named_in

        students = load(root / row.forks, code_named_in(run.record)) if isinstance(row.forks, str) else run
        extra["forks"] = [fork.as_dict() for fork in fork_run(students, 128, None, seed=0, teacher=run)]
    return extra

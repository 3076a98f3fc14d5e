"""`tutelage resume RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.cli.train import report


@dataclass(frozen=True)
class ResumeArgs:
    """Which run."""

    run: Positional[Path]
    """Run directory, or a parent of several seeds."""
    steps: int | None = None
    """Train to so many environment steps in total, also a run that is finished."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""
    quiet: bool = False
    """No progress on standard error."""


def main(argv: Sequence[str]) -> None:
    """Go on where the run stood; the numbers are those of an uninterrupted run."""
    args = parse(ResumeArgs, "resume", argv, "Go on with a run that was stopped or killed.")
    from tutelage.experiment.commands import resume

    report(resume(args.run, args.quiet, args.trust, steps=args.steps))

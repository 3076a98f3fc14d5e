"""`tutelage recover RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.cli.train import report


@dataclass(frozen=True)
class RecoverArgs:
    """Which run."""

    run: Positional[Path]
    """Run directory, or a parent of several seeds."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""
    quiet: bool = False
    """No progress on standard error."""


def main(argv: Sequence[str]) -> None:
    """Test the best parameters so far and finish the run with them."""
    about = "Make a finished run of the best parameters so far, where training was stopped and is not to go on."
    args = parse(RecoverArgs, "recover", argv, about)
    from tutelage.experiment.commands import recover

    report(recover(args.run, args.quiet, args.trust))

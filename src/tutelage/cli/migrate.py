"""`tutelage migrate RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tutelage.cli.parsing import parse


@dataclass(frozen=True)
class MigrateArgs:
    """Which run."""

    run: Positional[Path]
    """Run directory, or a parent of several seeds."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""


def main(argv: Sequence[str]) -> None:
    """Rewrite, and say what was rewritten."""
    about = "Rewrite finished runs of an earlier version so that this one reads them."
    args = parse(MigrateArgs, "migrate", argv, about)
    from tutelage.experiment.migrate import migrate

    done = migrate(args.run, args.trust)
    print("\n".join(f"{run}: rewritten" for run in done) or f"{args.run}: is of this version already")

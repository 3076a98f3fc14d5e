"""`tutelage verify RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.errors import Fault


@dataclass(frozen=True)
class VerifyArgs:
    """Which run."""

    run: Positional[Path]
    """Run directory, or a parent of several seeds."""


def main(argv: Sequence[str]) -> None:
    """Compare every final file with the manifest; exit code 1 where one is missing or damaged."""
    args = parse(VerifyArgs, "verify", argv, "Check that a run's files are as they were written.")
    from tutelage.experiment.manifest import changed_files, read_manifest
    from tutelage.experiment.run_record import read_record, seed_runs

    problems = []
    for run in seed_runs(args.run):
        read_record(run)
        manifest = read_manifest(run)
        files, changed = manifest.files, changed_files(run, manifest)
        problems += changed
        if not changed:
            print(f"{run}: all {len(files)} files are as they were written ({', '.join(files)})")
    if problems:
        raise Fault("; ".join(problems))

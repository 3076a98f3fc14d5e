"""Where a sweep keeps results, unfinished runs and trained teams, and whether a result is current."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import Fault
from tutelage.experiment.files import read_json
from tutelage.experiment.plan import Row


@dataclass(frozen=True)
class SweepPaths:
    """The directories of a sweep: results to commit, unfinished runs, and the zoo of trained teams."""

    results: Path
    runs: Path
    zoo: Path

    def result(self, row: Row, seed: int) -> Path:
        return self.results / row.name / f"seed-{seed}.json"

    def run(self, row: Row, seed: int) -> Path:
        return self.runs / row.name / f"seed-{seed}"

    def zoo_of(self, row: Row) -> Path:
        """zoo/METHOD/ENV-ID-WITH-DASHES, with the rest of the row's name where it has more than two parts."""
        extra = "-".join(row.name.split("/")[2:])
        name = row.env.replace("/", "-") + (f"-{extra}" if extra else "")
        return self.zoo / row.name.split("/")[0] / name


def is_current(path: Path, row_fingerprint: str) -> bool:
    """Whether a result exists and has the fingerprint that the row has now."""
    return path.exists() and read_or_empty(path).get("fingerprint") == row_fingerprint


def read_or_empty(path: Path) -> dict[str, Any]:
    """The content of a JSON file; an empty dict where it is missing or damaged."""
    try:
        content = read_json(path)
    except Fault:
        return {}
    return content if isinstance(content, dict) else {}

"""`tutelage fork RUN`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.cli.printing import print_json, print_table


@dataclass(frozen=True)
class ForkArgs:
    """What to play on from."""

    run: Positional[Path]
    """Run directory with a student and a teacher (of a parent of several seeds, the first)."""
    episodes: int = 64
    """Students' episodes."""
    every: int | None = None
    """Steps between two forks; None: a tenth of the longest episode."""
    seed: int = 0
    """Seed of the episodes."""
    act: Literal["greedy", "sample"] | None = None
    """What both play; None: as the run was evaluated."""
    teacher: Path | None = None
    """Another run, whose teacher plays on instead; so two teachers are compared on the same states."""
    trust: bool = False
    """Import what the runs name beyond the built-in names, and so run that code."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Fork and print."""
    args = parse(ForkArgs, "fork", argv, "From states that students reach, let students and teacher play on.")
    from tutelage.experiment.fork import fork_run
    from tutelage.experiment.run_directory import load
    from tutelage.experiment.run_record import seed_runs

    run = load(seed_runs(args.run)[0], args.trust)
    teacher = load(seed_runs(args.teacher)[0], args.trust) if args.teacher else run
    forks = fork_run(run, args.episodes, args.every, args.seed, args.act, teacher)
    rows = [fork.as_dict() for fork in forks]
    if args.json:
        header = {
            "env": run.record["env"],
            "method": run.record["method"],
            "episodes": args.episodes,
            "seed": args.seed,
        }
        header["teacher"] = str(teacher.path)
        print_json({**header, "forks": rows})
        return
    suffix = f", the teacher of {teacher.path}" if args.teacher else ""
    title = f"{run.path}{suffix}: from the students' states after so many steps, success of either to the end"
    columns = [(head, [cell(row) for row in rows]) for head, cell in COLUMNS]
    print_table(title, ("step", [str(row["step"]) for row in rows]), columns)


def regret_cell(row: dict[str, Any]) -> str:
    """The teacher's return minus the students', with its interval."""
    low, high = row["regret_ci95"]
    return f"{row['regret']:.2f} [{low:.2f}, {high:.2f}]"


COLUMNS: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
    ("going", lambda row: str(row["going"])),
    ("students", lambda row: f"{row['student_success']:.2f}"),
    ("teacher", lambda row: f"{row['teacher_success']:.2f}"),
    ("saved", lambda row: str(row["saved"])),
    ("lost", lambda row: str(row["lost"])),
    ("regret (return)", regret_cell),
)
"""Columns of the table after the step: heading, and function that makes a cell."""

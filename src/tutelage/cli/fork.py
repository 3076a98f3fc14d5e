"""`tutelage fork RUN`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from tutelage.cli.parsing import parse


@dataclass(frozen=True)
class ForkArgs:
    """What to play on from."""

    run: Positional[Path]
    """Run directory with a student and a teacher (of a parent of several seeds, the first)."""
    episodes: int = 64
    """Students' episodes."""
    every: int | None = None
    """Steps between two forks; default a tenth of the longest episode."""
    seed: int = 0
    """Seed of the episodes."""
    act: Literal["greedy", "sample"] | None = None
    """What both play; default as the run was evaluated."""
    teacher: Path | None = None
    """Another run, whose teacher plays on instead; so two teachers are compared on the same states."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Fork and print."""
    args = parse(ForkArgs, "fork", argv, "From states that students reach, let students and teacher play on.")
    from tutelage.experiment.fork import fork_run
    from tutelage.experiment.run import load, seeds_of

    run = load(seeds_of(args.run)[0])
    teacher = load(seeds_of(args.teacher)[0]) if args.teacher else run
    found = fork_run(run, args.episodes, args.every, args.seed, args.act, teacher)
    rows = [fork.as_dict() for fork in found]
    if args.json:
        told = {"env": run.record["env"], "method": run.record["method"], "episodes": args.episodes, "seed": args.seed}
        told["teacher"] = str(teacher.path)
        print(json.dumps({**told, "forks": rows}, indent=1))
        return
    whose = f", the teacher of {teacher.path}" if args.teacher else ""
    print(f"{run.path}{whose}: from the students' states after so many steps, success of either to the end")
    print(f"{'step':>6} {'going':>6} {'students':>9} {'teacher':>8} {'saved':>6} {'lost':>5}   regret (return)")
    for row in rows:
        low, high = row["regret_ci95"]
        print(
            f"{row['step']:>6} {row['going']:>6} {row['student_success']:>9.2f} {row['teacher_success']:>8.2f} "
            f"{row['saved']:>6} {row['lost']:>5}   {row['regret']:.2f} [{low:.2f}, {high:.2f}]"
        )

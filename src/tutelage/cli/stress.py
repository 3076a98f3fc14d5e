"""`tutelage stress RUN`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from tutelage.cli.parsing import parse
from tutelage.cli.printing import print_json, print_note, print_table
from tutelage.configs.stress import StressLevels

if TYPE_CHECKING:
    from tutelage.experiment.records import Evaluation
    from tutelage.experiment.stress import Stress, StressedLevel
    from tutelage.types import Measure

Kind = Literal["noise", "dropout", "delay", "lost", "lost_messages", "teammates"]


@dataclass(frozen=True)
class StressArgs:
    """What to play."""

    run: Positional[Path]
    """Run directory (of a parent of several seeds, the first)."""
    role: str = "student"
    """Which of its teams."""
    episodes: int = 320
    """Episodes at every level."""
    kinds: tuple[Kind, ...] | None = None
    """Which disturbances; None: all that apply."""
    seed: int = 0
    """Seed of the episodes."""
    act: Literal["greedy", "sample"] | None = None
    """What the team plays: its likeliest actions or drawn ones; None: as the run was evaluated."""
    out: Annotated[Path | None, arg(aliases=("-o",))] = None
    """File of a picture: .png, .svg or .pdf."""
    levels: OmitArgPrefixes[StressLevels] = field(default_factory=StressLevels)
    """How much is disturbed."""
    trust: bool = False
    """Import what the run names beyond the built-in names, and so run that code."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Play, print and draw."""
    args = parse(StressArgs, "stress", argv, "How a trained team fails: its score under disturbances.")
    from tutelage.experiment.run_directory import load
    from tutelage.experiment.run_record import seed_runs
    from tutelage.experiment.stress import stress
    from tutelage.report.stress import check_picture, draw_stress

    if args.out:
        check_picture(args.out)
    run = load(seed_runs(args.run)[0], args.trust)
    found = stress(run, args.role, args.episodes, args.kinds, args.seed, args.act, **asdict(args.levels))
    if args.out:
        draw_stress(found, args.out)
    if args.json:
        print_json({"run": str(run.path), **found.as_dict()})
    else:
        print_stress(str(run.path), found)


def print_stress(name: str, found: Stress) -> None:
    """Print a table: a row for each level, the undisturbed team first."""
    columns = COLUMNS[found.measure]
    rows = [
        ("undisturbed", [*(cell(found.undisturbed) for _, cell in columns), "", ""]),
        *((f"{level.kind.replace('_', ' ')} {level.label}", cells(level, found.measure)) for level in found.levels),
    ]
    heads = [*(head for head, _ in columns), "difference", "decides"]
    title = f"{name} {found.role} ({found.act}), {found.episodes} episodes at each level"
    print_table(title, ("", [label for label, _ in rows]), [(h, [r[i] for _, r in rows]) for i, h in enumerate(heads)])
    print()
    print_note(
        f"Differences are to the same episodes undisturbed, in {found.measure}, with 95 % intervals; an interval "
        "decides where it leaves out 0."
    )
    for kind, reason in found.left_out.items():
        print_note(f"No {kind.replace('_', ' ')}: {reason}.")


def cells(level: StressedLevel, measure: Measure) -> list[str]:
    """The cells of one level."""
    found = level.differences[measure]
    difference = with_interval(found.mean, found.ci95, "+.3f" if measure == "success" else "+.2f")
    return [*(cell(level.evaluation) for _, cell in COLUMNS[measure]), difference, "yes" if found.decides else "no"]


def with_interval(value: float, interval: Sequence[float], form: str) -> str:
    """A number with its interval."""
    low, high = interval
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


SUCCESS = ("success", lambda x: with_interval(x.success_rate, x.ci95, ".3f"))
RETURN = ("return", lambda x: with_interval(x.return_mean, x.return_ci95, ".2f"))
COLUMNS: dict[str, tuple[tuple[str, Callable[[Evaluation], str]], ...]] = {
    "success": (SUCCESS, ("return", lambda x: f"{x.return_mean:.2f}"), ("length", lambda x: f"{x.length_mean:.1f}")),
    "return": (RETURN, ("success", lambda x: f"{x.success_rate:.3f}"), ("length", lambda x: f"{x.length_mean:.1f}")),
}
"""Columns by measure, what a team is judged by first: heading, and function that makes a cell."""

"""`tutelage check ENV`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from tutelage.cli.parsing import given_options, parse, with_free_options
from tutelage.cli.printing import print_json, print_note, print_table
from tutelage.registry import environment_options, names_environment

if TYPE_CHECKING:
    from tutelage.experiment.check_env import Check
    from tutelage.experiment.records import Evaluation


@dataclass(frozen=True)
class CheckArgs:
    """What to check."""

    target: Positional[str]
    """An environment (`tutelage check ENV --help`: its options)."""
    episodes: int = 64
    """Episodes of random play, and of scripted play where there is a controller."""
    seed: int = 0
    """Seed of the play."""
    json: bool = False
    """Print one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Play, print, and end with exit code 1 where something must be repaired."""
    # As in `train`, the environment comes first, because its options depend on it.
    name = argv[0] if argv and not argv[0].startswith("-") and names_environment(argv[0]) else None
    default = with_free_options(environment_options(name), name, argv) if name else None
    cls: Any = CheckArgs
    if default is not None:
        cls = make_dataclass("CheckArgs", [("env", type(default), field(default=default))], bases=(cls,), frozen=True)
    args = parse(cls, "check", argv, "Play an environment and tell what is wrong with it before it is trained on.")
    from tutelage.experiment.check_env import check

    options = given_options(args.env, default) if default is not None else {}
    found = check(args.target, args.episodes, args.seed, **options)
    if args.json:
        print_json(found.as_dict())
    else:
        print_check(found)
    if found.faults:
        raise SystemExit(1)


def print_check(found: Check) -> None:
    """Print outcomes as a table, then a paragraph for each finding."""
    facts = found.facts
    print(
        f"{found.env} ({found.version}): {facts['n_agents']} agents, {facts['n_actions']} actions, "
        f"obs {facts['obs_width']}, state {facts['state_width']}, at most {facts['max_steps']} steps"
    )
    plays = {"random": found.random, "scripted": found.scripted}
    rows = [(name, cells(outcome)) for name, outcome in plays.items() if outcome]
    if rows:
        heads = ("episodes", "success", "return", "length")
        columns = [(head, [row[i] for _, row in rows]) for i, head in enumerate(heads)]
        print()
        print_table("played", ("", [name for name, _ in rows]), columns)
    print()
    for finding in found.findings:
        print_note(f"{finding.level:<7} {finding.about}: {finding.text.removeprefix(f'{finding.about}: ')}", 8)
    print()
    print_note(
        f"{found.steps_per_second:,.0f} steps per second of {found.envs} environments side by side; "
        f"compiled in {found.compile_seconds:.1f} seconds."
    )


def cells(outcome: Evaluation) -> list[str]:
    """Episodes, success, return and length, with intervals."""
    (low, high), (least, most) = outcome.ci95, outcome.return_ci95
    return [
        str(outcome.episodes),
        f"{outcome.success_rate:.3f} [{low:.3f}, {high:.3f}]",
        f"{outcome.return_mean:.2f} [{least:.2f}, {most:.2f}]",
        f"{outcome.length_mean:.1f}",
    ]

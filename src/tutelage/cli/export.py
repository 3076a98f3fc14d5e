"""`tutelage export RUN -o DIR`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import Positional

from tutelage.cli.parsing import parse
from tutelage.cli.printing import print_json, print_note, print_table


@dataclass(frozen=True)
class ExportArgs:
    """What to write, and where."""

    run: Positional[Path]
    """Run directory (of a parent of several seeds, the first)."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """New or empty directory."""
    role: str | None = None
    """Which team of the run; the student, or what acts in a run without one."""
    format: str | None = None
    """Of numpy,onnx,c; all that can be written here."""
    int8: bool = False
    """Write it in 8-bit integers as well; the card says what they cost and save."""
    tune: bool = False
    """Fit the weights to these integers first, on recorded decisions (some seconds)."""
    episodes: int = 320
    """How many episodes the exported team plays when it is checked."""
    check: bool = True
    """Replay recorded decisions and play episodes in every format at the end."""
    name: str | None = None
    """Prefix of the names in C; made of the environment's id and the role."""
    trust: bool = False
    """Import code that the run names and that is not built in, for the check."""
    json: bool = field(default=False)
    """Print what was written and found as one JSON object."""


def main(argv: Sequence[str]) -> None:
    """Write, check and print."""
    args = parse(ExportArgs, "export", argv, "A trained team as a folder that runs without this package.")
    from tutelage.deploy.export import export

    formats = None if args.format is None else [part for part in args.format.split(",") if part]
    options = args.role, formats, args.episodes, args.int8, args.tune, args.check, args.name, args.trust
    contract = export(args.run, args.out, *options)
    if args.json:
        print_json(contract)
    else:
        print_contract(args.out, contract)


def print_contract(out: Path, contract: dict[str, Any]) -> None:
    """What was written, and how each format did."""
    check, agents = contract["check"], len(contract["agents"])
    print(f"{out}: {contract['role']} of {agents} agents for {contract['environment']['id']}")
    if "skipped" in check:
        print(f"formats: {', '.join(contract['formats'])}; not checked: {check['skipped']}")
    else:
        columns = [("where it was trained", ["", "", *outcome(check["jax"])])]
        for name, result in check["formats"].items():
            cells = [f"not checked: {result['skipped']}"] if "skipped" in result else list(agreement(result))
            columns.append((name, cells))
        labels = ["same best action", "scores differ by", "success rate", "return"]
        print_table(f"{check['rows']:,} decisions replayed, {check['episodes']} episodes played", ("", labels), columns)
    print_note(f"{out / 'README.md'} says how to use it, {out / 'team.json'} what each column of its inputs is")


def outcome(result: dict[str, Any]) -> list[str]:
    """Success rate with its interval, and return, as text."""
    low, high = result["ci95"]
    return [f"{result['success_rate']:.3f} [{low:.3f}, {high:.3f}]", f"{result['return_mean']:.2f}"]


def agreement(result: dict[str, Any]) -> list[str]:
    """How near a format is to the team itself, as text."""
    return [f"{result['same_action']:.2%}", f"{result['score_difference']:.1g}", *outcome(result)]

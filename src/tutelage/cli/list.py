"""`tutelage list`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.cli.parsing import parse
from tutelage.cli.printing import print_json
from tutelage.registry import ENVIRONMENTS, METHODS, installed


@dataclass(frozen=True)
class ListArgs:
    """What to print."""

    json: bool = False
    """Print one JSON object instead of text."""


def main(argv: Sequence[str]) -> None:
    """Print the registry."""
    args = parse(ListArgs, "list", argv, "Methods with their presets, and environments.")
    methods = {
        name: {"about": row.about, "teacher": row.teacher, "presets": [p for p in row.presets if p != "default"]}
        for name, row in METHODS.items()
    }
    environments = {name: row.about for name, row in ENVIRONMENTS.items()}
    added = {name: f"of {what.package}" for name, what in installed("methods").items()}
    methods |= {name: {"about": about, "teacher": None, "presets": []} for name, about in added.items()}
    environments |= {name: f"of {what.package}" for name, what in installed("environments").items()}
    if args.json:
        print_json({"methods": methods, "environments": environments})
        return
    print("methods")
    for name, row in methods.items():
        presets = f"  [--preset {'|'.join(row['presets'])}]" if row["presets"] else ""
        print(f"  {name:10} {row['about']}{presets}")
    print("\nenvironments")
    for name, about in environments.items():
        print(f"  {name:24} {about}")
    print("\nor your own: module:factory; environments of others: pettingzoo:MODULE, gymnasium:ID, jaxmarl:NAME")

"""New specs for the trained teams of the zoo: those of their environments, with names and notes for people.

`rewrite_specs.py` makes the environment of every role and compares its spec with the stored one: all but names and
notes must be the same. Then it writes ROLE.json with the environment's spec, and the manifest. Nothing else of a team
changes; a team whose words are up to date is left alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tutelage import make
from tutelage.experiment.files import json_bytes, parse_json, read_json
from tutelage.experiment.manifest import check_files, write_manifest
from tutelage.experiment.plain import to_plain
from tutelage.experiment.read_roles import read_role
from tutelage.policies.blueprint import Role
from tutelage.types import Spec

ZOO = Path(__file__).parents[1] / "zoo"


def unnamed(spec: Spec) -> Spec:
    """The spec without names and notes, as it was stored before there were any."""
    layout = tuple(block._replace(columns=()) for block in spec.layout)
    return replace(spec, layout=layout, own_layouts=(), action_names=(), notes=())


def named(path: Path, name: str) -> Role:
    """A role with the spec of its environment; ends where they differ in more than names and notes."""
    role = read_role(path, name)
    spec = make(role.env, **role.env_options).spec
    if unnamed(spec) != unnamed(role.spec):
        raise SystemExit(f"{path / name}.json: its spec is not that of {role.env}")
    new = replace(role, spec=spec)
    if (read_json(path / f"{name}.json") | {"spec": None}) != (parse_json(json_bytes(to_plain(new))) | {"spec": None}):
        raise SystemExit(f"{path / name}.json: more than its spec would change")
    return new


def rewrite(path: Path) -> str:
    """Rewrite the roles of one team, then its manifest; returns what was done."""
    before = check_files(path)
    new = {path / f"{name}.json": json_bytes(to_plain(named(path, name))) for name in before.roles}
    if all(file.read_bytes() == content for file, content in new.items()):
        return "same"
    for file, content in new.items():
        file.write_bytes(content)
    write_manifest(path, before.roles)
    after = check_files(path)
    others = lambda files: {name: mark for name, mark in files.items() if path / name not in new}
    if others(before.files) != others(after.files):
        raise SystemExit(f"{path}: more than its roles has changed")
    return "rewritten"


def main() -> None:
    """Rewrite every team, and say how many."""
    counts = dict.fromkeys(("rewritten", "same"), 0)
    for manifest in sorted(ZOO.rglob("manifest.json")):
        counts[rewrite(manifest.parent)] += 1
    print(counts)


if __name__ == "__main__":
    main()

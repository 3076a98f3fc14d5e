"""Rewriting finished runs of earlier versions: of format 1, whose teams were opened by making their training again, or
with settings that are settled now. Kept for one release."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from tutelage.configs.checks import build
from tutelage.errors import BadInput, Fault
from tutelage.experiment.files import json_bytes, read_json, write_bytes
from tutelage.experiment.manifest import check_files, is_finished, read_manifest, write_manifest
from tutelage.experiment.read_records import as_damage, check_settings, recorded_settings
from tutelage.experiment.rebuild import coded_teacher, rebuild_method
from tutelage.experiment.records import FORMAT, Record, RunRecord
from tutelage.experiment.role_files import load_role, roles_and_critic, write_roles
from tutelage.experiment.run_lock import exclusive
from tutelage.experiment.run_record import read_test, seed_runs
from tutelage.experiment.trust import Trust, check_trust, code_named_in

_UNIFORM: Record = {"capacity": "equal", "sight": "full", "hidden": "compact"}
_TAUGHT: Record = {"messages": "none", "weighting": "none", "alpha": 0.1, "share": "team"}
SETTLED: dict[str, Record] = {
    "hint": {
        "teacher_view": "local",
        "pair_width": 32,
        "spread": 1.0,
        "sharpness": 1.0,
        "temperature": 0.5,
        "fork_envs": 16,
        "margin": 0.0,
        "goal_epochs": 2,
    },
    "ippo": {"critic": "team"},
    "happo": {**_UNIFORM, "messages": "none", "share": "agent", "actor_view": "local", "critic": "team"},
    "ptde_mappo": {**_UNIFORM, "messages": "none", "share": "team", "actor_view": "local", "critic": "team"},
    "ptde": {**_UNIFORM, **_TAUGHT},
    **dict.fromkeys(("ddn", "ctds", "igm_da"), _TAUGHT),
}
"""Settings by method that exist no more, with the value that every run has now."""


def migrate(path: str | Path, trust: Trust = False) -> list[Path]:
    """Rewrite runs of earlier versions so that this one reads them: one run, or all seeds of a parent directory.

    Parameters, tests and settings stay as they are, except that settled settings are left out; runs of format 1 get a
    blueprint for each role and a manifest. What is interrupted can be done again.

    Args:
        trust: which code that is not built in may be imported; see `load`.

    Returns:
        The runs that were rewritten; those of this version are left alone.

    Raises:
        BadInput: no run, not finished, its environment has another version now, or a settled setting has another value.
        Fault: damaged files.
    """
    done = []
    for run in seed_runs(Path(path)):
        with exclusive([run]):
            if (run / "teacher" / "config.json").exists():
                done += migrate(run / "teacher", trust)
            done += migrate_run(run, trust)
    return done


def migrate_run(path: Path, trust: Trust) -> list[Path]:
    """Rewrite one run; see `migrate`."""
    file = path / "config.json"
    if not file.exists():
        raise BadInput(f"{path} is not a run: it has no config.json")
    record = read_json(file)
    if isinstance(record, dict) and record.get("format") == FORMAT:
        return drop_settled(path, record)
    if not isinstance(record, dict) or record.get("format") != 1:
        raise Fault(f"{file} is of no tutelage run of format 1")
    check_finished(path, (path / "eval.json").exists())
    record = of_this_version(record)
    with as_damage(file):
        build(RunRecord, record, "field")
    check_trust(file, code_named_in(record), trust)
    check_settings(file, recorded_settings(record))
    read_test(path / "eval.json", record)
    teacher = coded_teacher(record["teacher"]) if record["teacher"] else None
    env, method = rebuild_method(record, teacher)
    made = roles_and_critic(method)
    for role, policy in made.items():
        load_role(path, role, policy)  # what does not fit is refused before anything is written
    write_roles(path, record, env, method, teacher.provides if teacher else ())
    content = json_bytes(record)
    write_manifest(path, tuple(made), content)
    write_bytes(file, content)  # last: until then it is a run of format 1
    return [path]


def drop_settled(path: Path, record: Record) -> list[Path]:
    """Rewrite config.json of a run of the present format without the settings that are settled."""
    new = of_this_version(record)
    if new == record:
        return []
    check_finished(path, is_finished(path))
    content, manifest = json_bytes(new), read_manifest(path)
    if manifest.files["config.json"] != hashlib.sha256(content).hexdigest():  # else it was interrupted
        check_files(path)
    write_manifest(path, manifest.roles, content)
    write_bytes(path / "config.json", content)
    return [path]


def check_finished(path: Path, finished: bool) -> None:
    """Raise BadInput for a run of an earlier version that is not finished."""
    if not finished:
        raise BadInput(f"{path} is not finished, and is of an earlier version: train it again")


def of_this_version(record: Record) -> Record:
    """A config.json, and those of its teachers in it, with the present format number, without settled settings."""
    teacher = record["teacher"]
    if teacher and teacher.get("record"):
        teacher = {**teacher, "record": of_this_version(teacher["record"])}
    config = without_settled(record["method"], record["config"])
    return {**record, "format": FORMAT, "teacher": teacher, "config": config}


def without_settled(method: str, config: dict[str, Any]) -> dict[str, Any]:
    """Settings of a method without those that are settled; raises BadInput where one has another value."""
    settled = SETTLED.get(method, {})
    for name in settled.keys() & config.keys():
        if config[name] != settled[name]:
            raise BadInput(f"{method}: {name} = {config[name]!r}: is always {settled[name]!r} now; train it again")
    return {name: value for name, value in config.items() if name not in settled}

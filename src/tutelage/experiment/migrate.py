"""Rewriting finished runs of format 1, whose teams were opened by making their training again. Kept for one release."""

from __future__ import annotations

from pathlib import Path

from tutelage.configs.checks import build
from tutelage.errors import BadInput, Fault
from tutelage.experiment.files import json_bytes, read_json, write_bytes
from tutelage.experiment.manifest import write_manifest
from tutelage.experiment.read_records import as_damage, check_settings, recorded_settings
from tutelage.experiment.rebuild import coded_teacher, rebuild_method
from tutelage.experiment.records import FORMAT, Record, RunRecord
from tutelage.experiment.role_files import load_role, roles_and_critic, write_roles
from tutelage.experiment.run_lock import exclusive
from tutelage.experiment.run_record import read_test, seed_runs
from tutelage.experiment.trust import Trust, check_trust, code_named_in


def migrate(path: str | Path, trust: Trust = False) -> list[Path]:
    """Rewrite runs of format 1 so that they can be opened: one run, or all seeds of a parent directory.

    Parameters, tests and settings stay as they are; a blueprint for each role and a manifest are added. What is
    interrupted can be done again.

    Args:
        trust: which code that is not built in may be imported; see `load`.

    Returns:
        The runs that were rewritten; those of the present format are left alone.

    Raises:
        BadInput: no run, not finished, or its environment has another version now. Fault: damaged files.
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
        return []
    if not isinstance(record, dict) or record.get("format") != 1:
        raise Fault(f"{file} is of no tutelage run of format 1")
    if not (path / "eval.json").exists():
        raise BadInput(f"{path} is not finished, and is of an earlier version: train it again")
    record = of_this_format(record)
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


def of_this_format(record: Record) -> Record:
    """A config.json, and those of its teachers in it, with the present format number."""
    teacher = record["teacher"]
    if teacher and teacher.get("record"):
        teacher = {**teacher, "record": of_this_format(teacher["record"])}
    return {**record, "format": FORMAT, "teacher": teacher}

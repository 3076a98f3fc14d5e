"""config.json and eval.json of a run, read: how it was trained, and its final test. jax is not imported."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from tutelage.configs.checks import build
from tutelage.errors import BadInput, Fault
from tutelage.experiment.files import read_json
from tutelage.experiment.read_records import as_damage, check_settings, read_checked, recorded_settings
from tutelage.experiment.records import FORMAT, FinalTest, Record, RunRecord
from tutelage.experiment.trust import Trust, check_trust, code_named_in
from tutelage.registry import ENVIRONMENTS
from tutelage.types import Environment


def seed_runs(path: Path) -> list[Path]:
    """The runs below a parent directory in order of their seeds; [path] for a single run."""
    children = [p for p in path.glob("seed-*") if re.fullmatch(r"seed-\d+", p.name)] if path.is_dir() else []
    return sorted(children, key=lambda p: int(p.name[5:])) or [path]


def read_record(path: Path) -> Record:
    """config.json of a run. It is enough for opening the run; see `read_settings` for going on with it.

    Raises:
        BadInput: no such directory, no run in it, or one of an earlier version.
        Fault: damaged.
    """
    if not path.is_dir():
        similar = difflib.get_close_matches(str(path), ENVIRONMENTS, n=1, cutoff=0.8)
        raise BadInput(f"no run at {path}" + (f" ({similar[0]} is an environment)" if similar else ""))
    file = path / "config.json"
    if not file.exists():
        raise BadInput(f"{path} is not a run: it has no config.json")
    record = read_json(file)
    if isinstance(record, dict) and record.get("format") == 1:
        raise BadInput(f"{path} is of format 1, which earlier versions wrote: `tutelage migrate {path}` rewrites it")
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise Fault(f"{file} is not of a tutelage run (format {FORMAT})")
    with as_damage(file):
        build(RunRecord, record, "field")
    return record


def read_settings(path: Path, trust: Trust = False) -> Record:
    """config.json of a run whose method is to be made again; its settings are checked.

    Raises:
        BadInput: as `read_record`; or it names code that is not trusted. Fault: damaged.
    """
    record, file = read_record(path), path / "config.json"
    check_trust(file, code_named_in(record), trust)
    check_settings(file, recorded_settings(record))
    return record


def check_version(record: Record, env: Environment) -> None:
    """Raise BadInput where an environment has another version than a run was made on."""
    if env.spec.version != record["env_version"]:
        raise BadInput(
            f"{record['env']} is version {env.spec.version} now, the run was made on {record['env_version']}: its "
            "dynamics have changed, train it again"
        )


def read_test(file: Path, record: Record) -> Record:
    """Read eval.json of a run; raises Fault where it is damaged or belongs to another config.json."""
    test = read_checked(file, FinalTest)
    for name, expected in (("seed", record["seed"]), ("episodes", record["fit"].get("test_episodes"))):
        if expected is not None and test.get(name) != expected:
            raise Fault(f"{file} is damaged or of another run: {name} = {test.get(name)}, config.json says {expected}")
    return test

"""Reading a run's JSON files, and checking them against `records.py` and the configs of methods and environments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tutelage.configs.checks import build, checked, field_types, with_prefix
from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput, Fault, short, unknown
from tutelage.experiment.files import read_json, read_lines
from tutelage.experiment.records import EvaluationLine, Record, as_object
from tutelage.registry import environment_options, environment_row, installed, method_config, method_row


@contextmanager
def as_damage(path: Path) -> Iterator[None]:
    """Turn a BadInput of the block into a Fault that says that this file is damaged."""
    try:
        yield
    except BadInput as error:
        if error.frames:  # a user's own code raised: not the file's fault
            raise
        raise Fault(f"{path} is damaged: {error}") from None


def read_checked(path: Path, cls: type) -> Record:
    """Read a file of one JSON object and check it against a dataclass.

    Raises:
        Fault: missing or damaged; names the field, its value and what is allowed.
    """
    content = read_json(path)
    with as_damage(path):
        build(cls, as_object(content, "content"), "field")
    return content


def check_field_types(path: Path, cls: type) -> None:
    """Raise Fault where a field of a file has another type than in the dataclass; fields may be missing or new."""
    content = read_json(path)
    with as_damage(path):
        for name, hint in field_types(cls).items():
            if name in as_object(content, "content"):
                checked(name, content[name], hint)


def read_metrics(path: Path, keep: int | None = None) -> list[Record]:
    """Read metrics.jsonl, or its first `keep` bytes; raises Fault where a line is invalid or contradicts others."""
    lines, seen = read_lines(path, keep), dict[str, Record]()
    for number, line in enumerate(lines, 1):
        prefix = f"line {number}: "
        with as_damage(path):
            kind = as_object(line, prefix + "content").get("kind")
            if kind == "evaluation":
                build(EvaluationLine, line, f"{prefix}field", prefix=prefix)
            elif kind == "metrics":
                stage = str(line.get("stage"))
                if stage in seen and stage != (latest := list(seen)[-1]):
                    raise BadInput(f"{prefix}stage = {stage!r}: must be {latest!r}, which came after it")
                check_metrics(line, seen.get(stage, line), prefix)
                seen[stage] = line
            elif kind != "compiled":
                raise BadInput(f"{prefix}kind = {short(kind)}: must be 'metrics', 'compiled' or 'evaluation'")
    return lines


def check_metrics(line: Record, previous: Record, prefix: str) -> None:
    """Raise BadInput where a line of metrics does not continue from the stage's previous line.

    Metrics may be missing or new, as of another version, but a name that differs by one letter is damage.
    """
    for name in ("stage", "update", "total_steps", "seconds"):
        if name not in line:
            raise BadInput(f"{prefix}{name} is missing")
    for name in line.keys() - previous.keys():
        similar = [other for other in previous.keys() - line.keys() if len(other) == len(name)]
        if any(sum(map(str.__ne__, other, name)) == 1 for other in similar):
            raise unknown(f"{prefix}field", name, previous)
    for name, value in line.items():
        checked(prefix + name, value, str if name in ("kind", "stage") else float | None)
    for name in ("update", "total_steps", "seconds"):
        if not (line[name] or 0) >= (previous[name] or 0):
            raise BadInput(f"{prefix}{name} = {line[name]}: must not be less than {previous[name]}, which is before it")


class MethodSettings(NamedTuple):
    """Method, environment and their settings, as a file names them.

    Attributes:
        prefix: where in the file they are, e.g. `"teacher.record."`.
    """

    prefix: str
    method: str
    config: Record
    env: str
    env_options: Record
    fit: Record


def recorded_settings(record: Record, prefix: str = "") -> Iterator[MethodSettings]:
    """The settings of a run, of its teacher, of the teacher's teacher, ..."""
    settings = (record[name] for name in ("method", "config", "env", "env_options", "fit"))
    yield MethodSettings(prefix, *settings)
    if record["teacher"] and record["teacher"].get("record"):
        yield from recorded_settings(record["teacher"]["record"], f"{prefix}teacher.record.")


def check_settings(path: Path, settings: Iterable[MethodSettings]) -> None:
    """Check settings of a file against the configs of methods and environments. Imports a user's own method.

    Raises:
        Fault: the file is damaged. BadInput: a user's own method cannot be imported.
    """
    for prefix, method, config, env, env_options, fit in settings:
        if ":" in method or method in installed("methods"):
            method_row(method)
        with as_damage(path):
            try:
                if ":" not in env and environment_row(env).ours:
                    environment_options(env, **env_options)
                method_config(method, **config)
                checked("fit.tensorboard", fit.get("tensorboard", False), bool)
                build(
                    FitConfig, fit | {"tensorboard": False}, "field of fit"
                )  # which needs a package to write, not here
            except BadInput as error:
                raise BadInput(with_prefix(prefix, error)) from None

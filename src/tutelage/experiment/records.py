"""The content of a run's JSON files as frozen dataclasses, against which everything that is read is checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tutelage.configs.checks import (
    build,
    check_fields,
    check_not_negative,
    check_positive,
    check_seeds,
    check_unit,
    checked,
    field_types,
    with_prefix,
)
from tutelage.configs.experiment import FitConfig
from tutelage.errors import BadInput, Fault, short, unknown
from tutelage.experiment.evaluate import Evaluation
from tutelage.experiment.files import read_json, read_lines
from tutelage.registry import environment_options, method_config, method_row

FORMAT = 1
Record = dict[str, Any]
"""The content of config.json."""


@dataclass(frozen=True)
class StoredEvaluation(Evaluation):
    """An evaluation that is read from a file."""

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(self, "episodes")
        check_unit(self, "success_rate")
        check_not_negative(self, "length_mean")
        successes = self.success_rate * self.episodes
        if abs(successes - round(successes)) > 1e-3:
            raise BadInput(f"success_rate = {self.success_rate}: must be so many of {self.episodes} episodes")
        for name, mean in (("ci95", self.success_rate), ("return_ci95", self.return_mean)):
            low, high = getattr(self, name)
            if name == "ci95" and not 0 <= low <= high <= 1:
                raise BadInput(f"ci95 = {[low, high]}: must be an interval between 0 and 1")
            slack = 1e-5 * max(1.0, abs(mean))
            if not low - slack <= mean <= high + slack:
                raise BadInput(f"{name} = {[low, high]}: must be an interval around {mean}")


@dataclass(frozen=True)
class StoredTest(StoredEvaluation):
    """A final test that is read from a file: of a run, of a teacher's controller, or of random or scripted play.

    Attributes:
        beside: tests of further roles, by name.
        greedy: the test with greedy actions, where actions are sampled otherwise.
        recovered: the error that stopped the training, where the run was recovered before its training had finished.
    """

    seed: int | None = None
    steps: int | None = None
    seconds: float | None = None
    beside: dict[str, Any] = field(default_factory=dict)
    greedy: StoredEvaluation | None = None
    recovered: dict[str, str | None] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, *(name for name in ("steps", "seconds") if getattr(self, name) is not None))
        check_seeds(self.seed or 0)
        for role, test in self.beside.items():
            build(
                StoredEvaluation, as_object(test, f"beside.{role}"), f"field of beside.{role}", prefix=f"beside.{role}."
            )


@dataclass(frozen=True)
class FinalTest(StoredTest):
    """eval.json: the final test of a run."""

    seed: int = field(kw_only=True)
    steps: int = field(kw_only=True)
    seconds: float = field(kw_only=True)


@dataclass(frozen=True)
class Device:
    """The machine that a run was made on.

    Attributes:
        used: cores that the process might use.
        together: how many seeds were trained together.
    """

    kind: str
    machine: str
    cores: int | None
    used: int | None = None
    together: int | None = None

    def __post_init__(self) -> None:
        check_positive(self, *(f.name for f in fields(self)[2:] if getattr(self, f.name) is not None))


@dataclass(frozen=True)
class Versions:
    """Versions of Python and of the packages that a run was made with; `jaxmarl` only in older runs."""

    python: str
    tutelage: str
    jax: str
    jaxlib: str
    flax: str
    optax: str
    numpy: str
    jaxmarl: str | None = None

    def __post_init__(self) -> None:
        for f in fields(self):
            version = getattr(self, f.name)
            if version is not None and not re.fullmatch(r"[\w.+-]+", version):
                raise BadInput(f"{f.name} = {short(getattr(self, f.name))}: must be a version")


@dataclass(frozen=True)
class RunRecord:
    """config.json: method, environment and settings of a run."""

    format: int
    method: str
    env: str
    env_options: dict[str, Any]
    env_version: str
    config: dict[str, Any]
    fit: dict[str, Any]
    seed: int
    teacher: TeacherRecord | None
    versions: Versions
    device: Device

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadInput(f"format = {self.format}: must be {FORMAT}")
        check_fields(self)
        check_seeds(self.seed)
        teacher = self.teacher
        if teacher is not None and (teacher.env, teacher.env_options) != (self.env, self.env_options):
            mine, theirs = (short(f"{record.env!r} {record.env_options}", str) for record in (self, teacher))
            raise BadInput(f"teacher.env = {theirs}: must be that of the run, {mine}")


@dataclass(frozen=True)
class TeacherRecord:
    """The teacher of a run: another run, a controller of the environment, or a user's `module:factory`."""

    kind: Literal["run", "scripted", "callable"]
    name: str
    env: str
    env_options: dict[str, Any]
    test: StoredTest
    record: RunRecord | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.record is not None) != (self.kind == "run"):
            raise BadInput(f"kind = {self.kind!r}: must be 'run' with a record, and something else without one")


@dataclass(frozen=True)
class CheckpointMeta:
    """The metadata of a checkpoint.

    Attributes:
        stage: index of the current stage. fixed: fields of the train state that are kept in a file of their own.
        steps: environment steps of earlier stages. total_steps: of all stages.
        offset: bytes of metrics.jsonl that belong to the checkpoint.
        best: success rate and return of the best evaluation.
        since: the updates that are not logged yet, see `UnloggedMeta`.
        run: the settings under which it was made.
    """

    stage: int
    fixed: list[str]
    steps: int
    seconds: float
    offset: int
    best: tuple[float, float] | None
    since: dict[str, Any] | None = None
    total_steps: int = 0
    run: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_not_negative(self, "stage", "steps", "seconds", "offset", "total_steps")
        check_best(self.best)
        if self.since is not None:
            build(UnloggedMeta, self.since, "field of since", prefix="since.")


@dataclass(frozen=True)
class UnloggedMeta:
    """The updates since the last line of metrics, as a checkpoint keeps them; see `status.Unlogged`."""

    rows: dict[str, list[float]]
    seconds: float
    due: int

    def __post_init__(self) -> None:
        check_not_negative(self, "seconds", "due")
        if len({len(x) for x in self.rows.values()}) != 1:
            raise BadInput(f"rows = {short(self.rows)}: must be metrics of equally many updates")


@dataclass(frozen=True)
class BestMeta:
    """The metadata of the best parameters of a training that failed: scores, steps, seconds and the error."""

    best: tuple[float, float] | None
    total_steps: int
    seconds: float
    error: str | None = None
    run: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_not_negative(self, "total_steps", "seconds")
        check_best(self.best)


def check_best(best: tuple[float, float] | None) -> None:
    """Raise BadInput where the scores of a best evaluation are impossible."""
    if best is not None and not 0 <= best[0] <= 1:
        raise BadInput(f"best = {list(best)}: must be a success rate from 0 to 1, and a return")


@dataclass(frozen=True, kw_only=True)
class EvaluationLine(StoredEvaluation):
    """An evaluation in metrics.jsonl."""

    kind: Literal["evaluation"]
    stage: str
    update: int
    total_steps: int
    seconds: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative(self, "update", "total_steps", "seconds")


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


@contextmanager
def as_damage(path: Path) -> Iterator[None]:
    """Turn a BadInput of the block into a Fault that says that this file is damaged."""
    try:
        yield
    except BadInput as error:
        if error.frames:  # a user's own code raised: not the file's fault
            raise
        raise Fault(f"{path} is damaged: {error}") from None


def as_object(value: Any, name: str) -> Record:
    """A JSON object; raises BadInput for anything else."""
    if not isinstance(value, dict):
        raise BadInput(f"{name} = {short(value)}: must be an object of fields")
    return value


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
        if ":" in method:
            method_row(method)
        with as_damage(path):
            try:
                if ":" not in env:
                    environment_options(env, **env_options)
                method_config(method, **config)
                checked("fit.tensorboard", fit.get("tensorboard", False), bool)
                build(
                    FitConfig, fit | {"tensorboard": False}, "field of fit"
                )  # which needs a package to write, not here
            except BadInput as error:
                raise BadInput(with_prefix(prefix, error)) from None

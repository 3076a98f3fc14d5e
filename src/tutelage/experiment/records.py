"""The content of a run's JSON files as frozen dataclasses, against which everything that is read is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from tutelage.configs.checks import (
    build,
    check_fields,
    check_not_negative,
    check_positive,
    check_seeds,
    check_unit,
)
from tutelage.configs.disturb import undisturbed
from tutelage.errors import BadInput, short
from tutelage.types import Measure

FORMAT = 2
Record = dict[str, Any]
"""The content of config.json."""


@dataclass(frozen=True)
class Evaluation:
    """Greedy episodes of one policy.

    Attributes:
        episodes: how many.
        success_rate, ci95: share of successes with its Wilson interval.
        return_mean, return_ci95: undiscounted team return.
        length_mean: steps per episode.
        info: the environment's own quantities (`Spec.info`), summed over an episode, means over episodes.
    """

    episodes: int
    success_rate: float
    ci95: tuple[float, float]
    return_mean: float
    return_ci95: tuple[float, float]
    length_mean: float
    info: dict[str, float] = field(default_factory=dict, kw_only=True)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; without `info` where the environment has none."""
        fields = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {k: v for k, v in fields.items() if k != "info" or v}


def scores_text(scores: Mapping[str, Any], measure: Measure) -> str:
    """An evaluation's scores as text: success where the environment tells of any, return, its own quantities."""
    low, high = scores["ci95"]
    told = measure == "success" or scores["success_rate"] > 0
    success = f"success {scores['success_rate']:.3f} [{low:.3f}, {high:.3f}], " if told else ""
    own = "".join(f", {name} {value:.4g}" for name, value in scores.get("info", {}).items())
    return f"{success}return {scores['return_mean']:.2f}{own}"


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
    """config.json: method, environment and settings of a run.

    Attributes:
        extended: the totals of steps for which it was trained before it was extended.
    """

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
    init: InitRecord | None = None
    extended: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadInput(f"format = {self.format}: must be {FORMAT}")
        check_fields(self)
        check_seeds(self.seed)
        teacher = self.teacher
        trained_on = lambda record: (record.env, undisturbed(record.env_options))
        if teacher is not None and trained_on(teacher) != trained_on(self):
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
    role: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if (self.record is not None) != (self.kind == "run"):
            raise BadInput(f"kind = {self.kind!r}: must be 'run' with a record, and something else without one")


@dataclass(frozen=True)
class InitRecord:
    """The run that a training started from.

    Attributes:
        role: whose parameters the acting role took. taken: the roles that took any, and the critic.
        test: of that role, as far as the run knew. record: its config.json.
    """

    name: str
    role: str
    taken: list[str]
    test: StoredTest | None
    record: RunRecord


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


def as_object(value: Any, name: str) -> Record:
    """A JSON object; raises BadInput for anything else."""
    if not isinstance(value, dict):
        raise BadInput(f"{name} = {short(value)}: must be an object of fields")
    return value

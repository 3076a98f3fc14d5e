"""The JSON file in which a sweep keeps the result of one row and seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.configs.checks import check_fields, check_not_negative, check_seeds, check_unit
from tutelage.errors import BadInput, Fault
from tutelage.experiment.read_records import as_damage, read_checked
from tutelage.experiment.records import Device, Record, StoredTest, Versions
from tutelage.types import Measure


@dataclass(frozen=True)
class Point:
    """One evaluation of a learning curve."""

    total_steps: int
    seconds: float
    update: int
    success_rate: float
    return_mean: float

    def __post_init__(self) -> None:
        check_not_negative(self, "total_steps", "seconds", "update")
        check_unit(self, "success_rate")


@dataclass(frozen=True)
class RowTeacher:
    """The teacher of a row, or what its training started from, and its final test."""

    name: str | None
    test: StoredTest | None


@dataclass(frozen=True)
class RowResult:
    """The result of one row and seed; `config` and `versions` are None where nothing was learned.

    Attributes:
        cost: by role. widths: of the networks of the deployed team.
        cost_report: cost with latencies. forks: comparison with the teacher on the students' states, see `fork.Fork`.
    """

    row: str
    method: str
    env: str
    env_version: str
    variant: str
    seed: int
    fingerprint: str
    env_options: dict[str, Any]
    test: StoredTest
    teacher: RowTeacher | None
    curve: list[Record]
    cost: dict[str, Any]
    widths: list[int]
    wall_seconds: float
    device: Device
    measure: Measure = "success"
    config: dict[str, Any] | None = None
    versions: Versions | None = None
    init: RowTeacher | None = None
    cost_report: dict[str, Any] | None = None
    forks: list[Record] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_seeds(self.seed)
        check_not_negative(self, "wall_seconds")
        steps = [point.get("total_steps", -1) for point in self.curve]
        if steps != sorted(steps):
            raise BadInput(f"curve = {steps}: its steps must not fall")


def read_result(path: Path, folder: Path) -> Record:
    """Read a result from the folder of a plan's results.

    Raises:
        Fault: damaged, or of another row or seed than its path says; the message says how to make it again.
    """
    try:
        result = read_checked(path, RowResult)
        with as_damage(path):
            expected = f"{result['row']}/seed-{result['seed']}.json"
            if path.relative_to(folder).as_posix() != expected:
                raise BadInput(f"row and seed belong at {expected}")
            for i, point in enumerate(result["curve"]):
                check_point(point, f"curve[{i}].")
    except Fault as error:
        raise Fault(f"{error}; delete it and `tutelage sweep` makes it again") from None
    return result


def check_point(point: Record, prefix: str) -> None:
    """Raise BadInput where a point of a curve is invalid."""
    if point.keys() != Point.__annotations__.keys():
        raise BadInput(f"{prefix[:-1]} has {', '.join(point)}: must have {', '.join(Point.__annotations__)}")
    for name, value in point.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise BadInput(f"{prefix}{name} = {value!r}: must be a number")
    try:
        Point(**point)
    except BadInput as error:
        raise BadInput(f"{prefix}{error}") from None

"""The metadata of checkpoints and of what is kept like them, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tutelage.configs.checks import build, check_fields, check_not_negative
from tutelage.errors import BadInput, short


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


@dataclass(frozen=True)
class LastMeta:
    """The metadata of a last train state: its stage, steps before that stage, updates and steps in it, best scores."""

    stage: int
    earlier: int
    update: int
    steps: int
    best: tuple[float, float] | None
    run: dict[str, Any]

    def __post_init__(self) -> None:
        check_not_negative(self, "stage", "earlier", "update", "steps")
        check_best(self.best)


def check_best(best: tuple[float, float] | None) -> None:
    """Raise BadInput where the scores of a best evaluation are impossible."""
    if best is not None and not 0 <= best[0] <= 1:
        raise BadInput(f"best = {list(best)}: must be a success rate from 0 to 1, and a return")

"""A picture of how a team fails: a panel for each kind of stress, score against level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import BadInput
from tutelage.experiment.files import check_no_file_above
from tutelage.experiment.records import Evaluation
from tutelage.experiment.stats import Interval
from tutelage.experiment.stress import Stress, StressedLevel
from tutelage.report.curves import label_axis, panels, pyplot, save

FILE_TYPES = (".png", ".svg", ".pdf")
LABELS = {
    "noise": "standard deviation of noise",
    "dropout": "probability of observing nothing",
    "delay": "steps of delay",
    "lost": "lost agent",
    "lost_messages": "probability that a message is lost",
    "teammates": "replaced by the teacher's",
}
"""Label of the axis of levels, by kind."""


def check_picture(path: Path) -> None:
    """Raise BadInput where a picture cannot be made: another file type, no such folder, or matplotlib is missing."""
    if path.suffix.lower() not in FILE_TYPES:
        raise BadInput(f"out = {path}: the file type must be one of {', '.join(FILE_TYPES)}")
    check_no_file_above(path)
    pyplot()


def score(measure: str, evaluation: Evaluation) -> tuple[float, Interval]:
    """What a team is judged by, with its interval."""
    if measure == "success":
        return evaluation.success_rate, evaluation.ci95
    return evaluation.return_mean, evaluation.return_ci95


def draw_stress(stress: Stress, path: Path) -> None:
    """Write a picture, replacing the file if there is one; the undisturbed team is a line with its interval.

    Raises:
        BadInput: as `check_picture`. Fault: the file cannot be written.
    """
    check_picture(path)
    plt = pyplot()
    kinds = list(dict.fromkeys(level.kind for level in stress.levels))
    figure, axes = panels(plt, len(kinds))
    for axis, kind in zip(axes.ravel(), kinds, strict=False):
        draw_kind(axis, stress, kind, [level for level in stress.levels if level.kind == kind])
    save(plt, figure, path)


def draw_kind(axis: Any, stress: Stress, kind: str, levels: list[StressedLevel]) -> None:
    """One panel: every level's score with its interval; levels that are no numbers stand side by side."""
    usual, band = score(stress.measure, stress.undisturbed)
    axis.axhline(usual, color="C0", label="undisturbed")
    axis.axhspan(*band, color="C0", alpha=0.15, linewidth=0)
    numbers = all(isinstance(level.value, int | float) for level in levels)
    places = np.array([level.value for level in levels]) if numbers else np.arange(len(levels))
    found = [score(stress.measure, level.evaluation) for level in levels]
    middle, ends = np.array([x for x, _ in found]), np.array([interval for _, interval in found])
    reach = np.clip(np.stack([middle - ends[:, 0], ends[:, 1] - middle]), 0, None)
    axis.errorbar(places, middle, reach, fmt="o-" if numbers else "o", color="C3", capsize=3, label="disturbed")
    if not numbers:
        axis.set_xticks(places, [level.label.removeprefix("agent ") for level in levels], rotation=60, fontsize=7)
    label_axis(axis, f"{stress.env}: {kind.replace('_', ' ')}", LABELS[kind], stress.measure)

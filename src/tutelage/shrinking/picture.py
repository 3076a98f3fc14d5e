"""The picture of a search: score against cost, of the teacher and of every student that was tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tutelage.report.curves import label_axis, panels, pyplot, save

COLOURS = {"mlp": "C2", "gru": "C4"}


def draw(path: Path, report: dict[str, Any]) -> None:
    """Write the picture; raises BadInput where matplotlib is missing."""
    plt = pyplot()
    figure, axes = panels(plt, 1)
    figure.set_size_inches(7.5, 4.2)  # room for the legend
    axis, floor = axes[0, 0], report["floor"]
    span = report["teacher_score"] - floor
    if report["teacher_flops"]:
        axis.plot(report["teacher_flops"], report["teacher_score"], "C0s", label="teacher")
    else:
        axis.axhline(report["teacher_score"], color="C0", label="teacher")
    axis.axhline(floor + report["keep"] * span, color="C0", linestyle=":", label=f"{report['keep']:g} of it")
    for core in dict.fromkeys(each["core"] for each in report["students"]):
        draw_line(axis, [x for x in report["students"] if x["core"] == core], floor, span, core, f"{COLOURS[core]}o-")
    if report.get("scratch"):
        draw_line(axis, report["scratch"], floor, span, "from scratch", "C1^--")
    chosen = report["chosen"]
    axis.plot(chosen["flops"], chosen["score"], "ko", markersize=12, fillstyle="none", label=f"{name(chosen)}, chosen")
    axis.set_xscale("log")
    label_axis(axis, report["env"], "FLOPs of a decision of an agent", report["measure"])
    save(plt, figure, path)


def name(student: dict[str, Any]) -> str:
    return f"{student['core']} {student['width']}"


def draw_line(axis: Any, students: list[dict[str, Any]], floor: float, span: float, label: str, style: str) -> None:
    """Students in order of their cost, with the interval of the share that each keeps as a share of the score."""
    line = sorted(students, key=lambda each: each["flops"])
    shares = np.array(
        [[each["share"] if each[k] is None else each[k] for k in ("low", "share", "high")] for each in line]
    )
    low, middle, high = (floor + shares * span).T
    axis.errorbar(
        [each["flops"] for each in line], middle, [middle - low, high - middle], fmt=style, label=label, capsize=2
    )

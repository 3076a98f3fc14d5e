"""Learning curves: success against environment steps, interquartile mean over seeds with a bootstrap band."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tutelage.errors import BadInput
from tutelage.experiment.stats import bootstrap, iqm
from tutelage.report.results import RowResults
from tutelage.report.tables import Rows, short, tasks


def aligned(row: RowResults) -> tuple[np.ndarray, np.ndarray]:
    """Steps (P,) and success (seeds, P) of the evaluations that every seed has."""
    points = min(len(s["curve"]) for s in row.seeds)
    steps = np.mean([[p["total_steps"] for p in s["curve"][:points]] for s in row.seeds], 0)
    return steps, np.array([[p["success_rate"] for p in s["curve"][:points]] for s in row.seeds])


def draw_curves(rows: Rows, path: Path) -> None:
    """One panel per environment: expert and same size from scratch as curves, the student's test as a line.

    Raises:
        BadInput: matplotlib is missing.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise BadInput("curves need matplotlib: pip install 'tutelage[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    envs = tasks(rows)
    if not envs:
        return
    columns = min(2, len(envs))
    lines = math.ceil(len(envs) / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 3.2 * lines), squeeze=False, sharey=True)
    for axis in axes.ravel()[len(envs) :]:
        axis.set_visible(False)
    for axis, env in zip(axes.ravel(), envs, strict=False):
        name = short(env)
        for key, label, colour in (
            (f"mappo/{name}", "expert, 128-GRU", "C0"),
            (f"mappo/{name}/small", "small, from scratch", "C1"),
        ):
            if key not in rows:
                continue
            steps, success = aligned(rows[key])
            axis.plot(steps / 1e6, [iqm(x) for x in success.T], colour, label=f"{label} ({len(success)} seeds)")
            if len(success) > 1:
                bands = np.array([bootstrap(x, samples=500) for x in success.T])
                axis.fill_between(steps / 1e6, bands[:, 0], bands[:, 1], color=colour, alpha=0.2, linewidth=0)
        if f"kd_marl/{name}" in rows:
            student = rows[f"kd_marl/{name}"]
            axis.axhline(
                student.success.mean(),
                color="C2",
                linestyle="--",
                label=f"small, distilled ({len(student.seeds)} seeds)",
            )
        axis.set_title(env)
        axis.set_xlabel("environment steps, millions")
        axis.set_ylim(-0.02, 1.02)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
    for axis in axes[:, 0]:
        axis.set_ylabel("success")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)

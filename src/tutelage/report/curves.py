"""Pictures of results: success (or return, where a task is judged by it) against steps, and success against cost."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tutelage.errors import BadInput
from tutelage.experiment.files import write_bytes
from tutelage.experiment.stats import MIN_SEEDS, mean_interval
from tutelage.report.ablations import rows_by_size
from tutelage.report.results import RowResults
from tutelage.report.scores import Rows, flops, measure, scale, share_interval, short, tasks


def aligned_curves(row: RowResults) -> tuple[np.ndarray, np.ndarray]:
    """Steps (P,) and scores (seeds, P) of the P evaluations that every seed has, by the measure of the task."""
    points = min(len(s["curve"]) for s in row.seeds)
    key = {"success": "success_rate", "return": "return_mean"}[measure(row)]
    steps = np.mean([[p["total_steps"] for p in s["curve"][:points]] for s in row.seeds], 0)
    return steps, np.array([[p[key] for p in s["curve"][:points]] for s in row.seeds])


def draw_curve(axis: Any, row: RowResults, label: str, **style: Any) -> None:
    """Draw the mean over seeds; with at least MIN_SEEDS seeds also the band of its 95 % interval."""
    steps, scores = aligned_curves(row)
    (line,) = axis.plot(steps / 1e6, scores.mean(0), label=label, **style)
    if len(scores) >= MIN_SEEDS:
        interval = share_interval if measure(row) == "success" else mean_interval
        bands = np.array([interval(x) for x in scores.T])
        axis.fill_between(steps / 1e6, bands[:, 0], bands[:, 1], color=line.get_color(), alpha=0.15, linewidth=0)


def draw_compared(rows: Rows, path: Path, method: str, others: Sequence[str]) -> None:
    """One panel per environment with a row of the method: its curve and those of other methods.

    Args:
        others: methods to compare with: their rows METHOD/TASK, and dashed METHOD/TASK/published and /hetgat.

    Raises:
        BadInput: matplotlib is missing.
    """
    methods = list(dict.fromkeys((method, *others)))
    suffixes = lambda row: row.name.split("/")[2:]
    rows_by_env: dict[str, list[RowResults]] = {row.env: [] for row in rows.values() if row.method == method}
    for row in sorted(rows.values(), key=lambda r: r.name):
        is_shown = row.method in methods and set(suffixes(row)) <= {"published", "hetgat"}
        if row.env in rows_by_env and is_shown and all(s["curve"] for s in row.seeds):
            rows_by_env[row.env].append(row)
    if not rows_by_env:
        return
    plt = pyplot()
    figure, axes = panels(plt, len(rows_by_env))
    colours = [*plt.get_cmap("tab10").colors, "black", "silver"]
    for axis, (env, env_rows) in zip(axes.ravel(), sorted(rows_by_env.items()), strict=False):
        for row in env_rows:
            label, colour = "/".join([row.method, *suffixes(row)]), colours[methods.index(row.method)]
            draw_curve(axis, row, label, color=colour, linestyle="--" if suffixes(row) else "-")
        label_curves(axis, env, env_rows)
    save(plt, figure, path)


def draw_curves(rows: Rows, path: Path) -> None:
    """One panel per environment: curves of the expert and of the same size from scratch, the student's test as a line.

    Raises:
        BadInput: matplotlib is missing.
    """
    envs = tasks(rows)
    if not envs:
        return
    plt = pyplot()
    figure, axes = panels(plt, len(envs))
    for axis, env in zip(axes.ravel(), envs, strict=False):
        name, task_scale = short(rows, env), scale(rows, env)
        expert, small, student = (rows.get(key) for key in (f"mappo/{name}", f"mappo/{name}/small", f"kd_marl/{name}"))
        if expert:
            draw_curve(axis, expert, "expert, 128-GRU", color="C0")
        if small:
            draw_curve(axis, small, "small, from scratch", color="C1")
        if student:
            axis.axhline(task_scale.of(student).mean(), color="C2", linestyle="--", label="small, distilled")
        label_curves(axis, env, [row for row in (expert, small, student) if row])
    save(plt, figure, path)


def draw_front(rows: Rows, path: Path) -> None:
    """One panel per environment with several sizes: success of distilled and from-scratch teams against their FLOPs.

    Raises:
        BadInput: matplotlib is missing.
    """
    groups_by_env = {env: rows_by_size(rows, env) for env in tasks(rows) if scale(rows, env).name == "success"}
    groups_by_env = {env: found for env, found in groups_by_env.items() if all(len(r) > 1 for r in found.values())}
    if not groups_by_env:
        return
    plt = pyplot()
    figure, axes = panels(plt, len(groups_by_env))
    for axis, (env, found) in zip(axes.ravel(), groups_by_env.items(), strict=False):
        for (kind, line), colour in zip(found.items(), ("C2", "C1"), strict=True):
            success = [row.success for row in line]
            bands = np.array([share_interval(x) for x in success])
            cost = [flops(row) for row in line]
            axis.plot(cost, [x.mean() for x in success], f"{colour}o-", label=kind)
            axis.fill_between(cost, bands[:, 0], bands[:, 1], color=colour, alpha=0.2, linewidth=0)
        expert = rows[f"mappo/{short(rows, env)}"]
        axis.plot(flops(expert), expert.success.mean(), "C0s", label="expert, 128-GRU")
        axis.set_xscale("log")
        label_axis(axis, env, "FLOPs of a joint decision, thousands", "success")
    save(plt, figure, path)


def pyplot() -> Any:
    """matplotlib.pyplot, set up to draw without a screen."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        raise BadInput("curves need matplotlib: pip install 'tutelage[plots]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def panels(plt: Any, n: int) -> tuple[Any, Any]:
    """A figure with room for n panels, at most two in a row."""
    columns = min(2, n)
    lines = math.ceil(n / columns)
    figure, axes = plt.subplots(lines, columns, figsize=(5 * columns, 3.2 * lines), squeeze=False)
    figure.set_layout_engine("constrained")
    for axis in axes.ravel()[n:]:
        axis.set_visible(False)
    return figure, axes


def label_axis(axis: Any, title: str, label: str, score: str) -> None:
    """Set title and axis labels, and for success a scale from 0 to 1."""
    axis.set_title(title)
    axis.set_xlabel(label)
    axis.set_ylabel(score)
    if score == "success":
        axis.set_ylim(-0.02, 1.02)
    axis.grid(alpha=0.3)


def label_curves(axis: Any, env: str, rows: Sequence[RowResults]) -> None:
    """Label a panel of curves, with their number of seeds in the title."""
    least, most = (f(len(row.seeds) for row in rows) for f in (min, max))
    seeds = f"{least} to {most} seeds" if least < most else f"{most} seed{'s' if most > 1 else ''}"
    label_axis(axis, f"{env} ({seeds})", "environment steps, millions", measure(rows[0]))


def save(plt: Any, figure: Any, path: Path) -> None:
    """Write the picture, with one legend under all panels: within them it would cover curves."""
    lines = {label: line for axis in figure.axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=110)
    plt.close(figure)
    write_bytes(path, picture.getvalue())

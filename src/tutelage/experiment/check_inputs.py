"""What is wrong with observations, state and masks: sizes, still columns, rows of zeros, actions never offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tutelage.experiment.check_play import Play, Seen
from tutelage.experiment.check_tally import Columns, merged
from tutelage.experiment.check_words import Found, agents_text, percent, summed
from tutelage.experiment.input_scale import LARGEST_USUAL, SMALLEST_USUAL, WAYS_OUT
from tutelage.types import Spec

MOST_NAMED = 4
"""Columns that a line names."""


def columns_text(field: str, spec: Spec, which: np.ndarray) -> str:
    """Columns by number and, where the layout names them, by name; which: (N, D), or (S,) of the state."""
    rows = which if which.ndim == 2 else which[None]
    parts = []
    for column in np.flatnonzero(rows.any(0))[:MOST_NAMED]:
        own = rows[:, column]
        name = spec.column_names(int(own.argmax()))[column] if field == "obs" else ""
        few = which.ndim == 2 and not own.all()
        parts.append(f"{column}{f' ({name})' if name else ''}{f' of {agents_text(own)}' if few else ''}")
    more = int(rows.any(0).sum()) - MOST_NAMED
    kind = "column" if len(parts) == 1 else "columns"
    return f"{kind} {', '.join(parts)}{f' and {more} more' if more > 0 else ''}"


def input_findings(field: str, seen: Seen) -> Iterator[Found]:
    """Findings on the columns of `obs` or `state`."""
    spec, columns = seen.spec, reduce(merged, (getattr(play.tally, field) for play in seen.plays))
    used = columns.n > 0
    if field == "obs":
        own = np.arange(spec.obs_width) < np.array(spec.obs_widths)[:, None]
        if (columns.largest * ~own).any():
            yield "fault", f"obs: {agents_text((columns.largest * ~own).any(1))} beyond spec.obs_widths; must be zeros"
        used = used & own & ~named_zeros(spec)
        yield from row_findings(seen.plays)
    size = columns.largest * used
    if (large := size > LARGEST_USUAL).any():
        yield (
            "warning",
            f"{field}: {columns_text(field, spec, large)}: up to {size.max():.3g}; {WAYS_OUT}",
        )
    if (small := (size > 0) & (size < SMALLEST_USUAL)).any():
        yield "advice", f"{field}: {columns_text(field, spec, small)}: at most {size[small].max():.3g}; make it about 1"
    still = used & (columns.high == columns.low)
    if still.any():
        yield "advice", f"{field}: {columns_text(field, spec, still)}: never changed; leave out what tells nothing"
    low, high = columns.low[used].min(initial=0.0), columns.high[used].max(initial=0.0)
    std = float(np.sqrt(np.median(columns.var[used]))) if used.any() else 0.0
    yield "fine", f"{columns.low.shape[-1]} columns from {low:.3g} to {high:.3g}, usual spread {std:.3g}"


def named_zeros(spec: Spec) -> np.ndarray:
    """Columns whose name says that they are always 0, (N, D)."""
    return np.array([["[always 0]" in name for name in spec.column_names(agent)] for agent in range(spec.n_agents)])


def row_findings(plays: Sequence[Play]) -> Iterator[Found]:
    """Findings on whole rows of observations."""
    if dead := sum(int((gone(play) & ~play.flow.blind).sum()) for play in plays):
        yield "fault", f"obs: rows of dead agents are not zeros, {dead} times; must be zeros"
    lived = summed(play.flow.alive.sum((0, 1)) for play in plays)
    blind = summed((play.flow.alive & play.flow.blind).sum((0, 1)) for play in plays)
    if (always := (blind == lived) & (lived > 0)).any():
        yield "warning", f"obs: nothing but zeros was observed by {agents_text(always)}"
    elif (often := blind > 0.5 * np.maximum(lived, 1)).any():
        yield "advice", f"obs: nothing but zeros in more than half of the steps of {agents_text(often)}"


def gone(play: Play) -> np.ndarray:
    """Where an agent was dead the step before too, (T, B, N); its last observation may come with its death."""
    before = np.concatenate([~play.flow.alive[:1], ~play.flow.alive[:-1]])
    return ~play.flow.alive & (before | play.flow.first[..., None])


def masks(seen: Seen) -> Iterator[Found]:
    """Which actions agents may take."""
    spec, flow = seen.spec, seen.random.flow
    available = summed(play.tally.available for play in seen.plays)
    alive = summed(play.flow.alive.sum((0, 1)) for play in seen.plays)
    offered = np.arange(spec.n_actions) < np.array(spec.action_counts)[:, None]
    if (available[~offered] > 0).any():
        yield (
            "fault",
            (
                f"avail: {agents_text((available * ~offered).any(1))} may take actions beyond spec.action_counts; "
                "must be unavailable"
            ),
        )
    if not alive.all():
        yield "warning", f"alive: {agents_text(alive == 0)} never lived; must act at some time"
    idle = (alive > 0) & ~available.any(1)
    if idle.any():
        yield "warning", f"avail: {agents_text(idle)} never had an available action; must have one at some time"
    never = offered & (available == 0) & available.any(1, keepdims=True)
    if never.any():
        which = "; ".join(f"action {a} of {agents_text(never[:, a])}" for a in np.flatnonzero(never.any(0))[:4])
        more = int(never.any(0).sum()) - 4
        yield "advice", f"avail: never available: {which}{f'; and {more} more actions' if more > 0 else ''}"
    without = (flow.alive & ~flow.can).sum() / max(1, flow.alive.sum())
    if without and not idle.any():
        yield "advice", f"avail: living agents have no action in {percent(without)} of steps; these enter no loss"
    share = available.sum() / max(1, (alive[:, None] * offered).sum())
    yield "fine", f"{percent(share)} of actions are available to living agents; alive in {percent(flow.alive.mean())}"


def columns_as_dict(seen: Sequence[Columns]) -> dict[str, Any]:
    """Statistics of every column as lists; null where nothing finite was seen."""
    columns = reduce(merged, seen)

    def plain(x: np.ndarray) -> Any:
        return np.where(columns.n > 0, x.astype(object), None).tolist()  # type: ignore[call-overload]

    found = {"min": columns.low, "max": columns.high, "mean": columns.mean, "std": np.sqrt(columns.var)}
    return {name: plain(x) for name, x in found.items()}

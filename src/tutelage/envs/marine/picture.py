"""Pictures of MARINE: the sea, ships with their destinations, and their fuel."""

from __future__ import annotations

import numpy as np

from tutelage.envs.canvas import BLUE, GREEN, INK, RED, Canvas, board_bounds
from tutelage.envs.marine.rules import Rules, Voyage, together
from tutelage.envs.marine.sea import Sea, levels
from tutelage.envs.marine.senses import in_range

WATER = ("#5d7f9c", "#8fabc0", "#c0d3de", "#e7eff2")
"""Colours by level of the sea: the darker, the less fuel can be transferred."""
HARBOUR, LINK, RADIO = "#d8a437", "#3f9b57", "#2b2a2870"


def picture(name: str, rules: Rules, sea: Sea, state: Voyage, ais: bool) -> np.ndarray:
    """A picture of a state.

    Routing ships are blue with a ring of fuel, logistics ships green, destinations yellow, raiders red. A blue line
    joins a ship and its destination, grey lines join ships in AIS range. A green square marks a cell in which fuel is
    transferred, a number gives the ships in one cell.
    """
    canvas, size, r, n = Canvas(*board_bounds(rules.size)), rules.size, rules.routing, rules.ships
    x, y, goal, fuel = map(np.asarray, (state.x, state.y, state.goal, state.fuel))
    columns, rows = (z.ravel() for z in np.meshgrid(np.arange(size), np.arange(size)))
    batch_axis = lambda z: z[..., None]
    calm = levels(sea, rules.bounds, batch_axis(state.luck), batch_axis(state.time))[:, 0]
    for cx, cy, c in zip(columns.tolist(), rows.tolist(), np.asarray(calm), strict=True):
        canvas.square(cx, cy, 0.5, WATER[c])
    for i in range(r):
        canvas.square(size - 1, goal[i], 0.4, HARBOUR, INK, 0.6)
        if not state.arrived[i]:
            canvas.line((x[i], y[i]), (size - 1, goal[i]), BLUE + "44", 1)
    batched = state._replace(x=batch_axis(state.x), y=batch_axis(state.y))
    if ais:
        for i, j in zip(*np.nonzero(np.triu(np.asarray(in_range(rules, batched))[..., 0])), strict=True):
            canvas.line((x[i], y[i]), (x[j], y[j]), RADIO, 1)
    for i, j in zip(*np.nonzero(np.asarray(together(rules, batched))[..., 0]), strict=True):
        if not state.arrived[i]:
            canvas.square(x[r + j], y[r + j], 0.48, None, LINK, 2)
    for i in range(n, len(x)):
        canvas.cross(x[i], y[i], 0.3, RED)
    for i in range(r, n):
        canvas.disc(x[i], y[i], 0.26, GREEN, INK, 1)
    for i in range(r):
        canvas.disc(x[i], y[i], 0.2, BLUE, INK, 1)
        canvas.gauge(x[i], y[i], 0.36, fuel[i] / size, BLUE if fuel[i] > size / 4 else RED)
    canvas.label_counts(x[:n], y[:n])
    arrived = int(np.asarray(state.arrived).sum())
    canvas.caption(f"marine/{name}   step {int(state.time)}   arrived {arrived} of {r}")
    return canvas.array()

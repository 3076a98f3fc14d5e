"""Pictures of FireCommander: fire and its fronts, what the team knows, and the agents."""

from __future__ import annotations

import numpy as np

from tutelage.envs.canvas import BLUE, GREEN, INK, Canvas, board_bounds
from tutelage.envs.fire_commander.rules import Blaze, Rules

FIRE, HIDDEN_FIRE, FRONT, UNSEEN, SIGHT = "#e4572e", "#e4572e66", "#7a1f10", "#cfc8b8", "#2f6fd61f"
WATER = "#27a3c9"
FORGET = 30
"""Steps after which a cell is drawn as if it had never been seen."""


def picture(name: str, rules: Rules, state: Blaze) -> np.ndarray:
    """A picture of a state.

    Cells are darker the longer nobody has seen them, and fire that no agent knows of is pale. Fronts are dots.
    Perception agents are blue discs in their field of view, action agents green discs, with a ring of water if their
    cell burns. A number gives the agents in one cell.
    """
    canvas = Canvas(*board_bounds(rules.size))
    now, known = int(state.time), np.asarray(state.known).max(0)
    burning, age = np.asarray(state.burning), now + 1 - (known >> 1)
    old = np.where(known > 1, np.clip(age / FORGET, 0, 1), 1)
    for x, y, fire, dim, is_known in zip(rules.cell_x, rules.cell_y, burning, old, (known & 1) > 0, strict=True):
        canvas.square(x, y, 0.5, f"{UNSEEN}{round(200 * dim):02x}")
        if fire:
            canvas.square(x, y, 0.42, FIRE if is_known else HIDDEN_FIRE)
    for x, y, active in zip(*map(np.asarray, (state.front_x, state.front_y, state.active)), strict=True):
        if active:
            canvas.disc(int(x), int(y), 0.16, FRONT)
    for i, (x, y) in enumerate(zip(np.asarray(state.x), np.asarray(state.y), strict=True)):
        sees = i < rules.perception
        if sees:
            canvas.clipped_square(x, y, rules.vision + 0.5, -0.5, rules.size - 0.5, SIGHT, BLUE, 0.7)
        elif burning[int(rules.cell(x, y))]:
            canvas.disc(x, y, 0.46, None, WATER, 3)
        canvas.disc(x, y, 0.28, BLUE if sees else GREEN, INK, 1)
    canvas.label_counts(state.x, state.y)
    canvas.caption(f"fire_commander/{name}   step {now}   burning {int(burning.sum())}")
    return canvas.array()

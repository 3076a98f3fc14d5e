"""Pictures of a battle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.envs.battle.rules import MOVES, Rules
from tutelage.envs.battle.units import MAP_SIZE
from tutelage.envs.canvas import BLUE, GREEN, GREY, RED, Canvas, extent


class View(NamedTuple):
    """One moment of one battle, (U,) each unless noted, on the host.

    Attributes:
        places: (U, 2).
        share: remaining share of hit points.
        kind: type numbers.
        attack: last attack or heal action, 0 for none.
        time: steps so far.
    """

    places: np.ndarray
    share: np.ndarray
    kind: np.ndarray
    attack: np.ndarray
    time: int


def view_radius(living: np.ndarray) -> float:
    """Half the side of the square that a picture shows, from the positions (U, 2) of living units."""
    return extent(living, MAP_SIZE / 2, smallest=6.5, largest=MAP_SIZE / 2, margin=2.0)


def picture(rules: Rules, name: str, view: View) -> np.ndarray:
    """A picture of units as discs (allies blue, enemies red) in a ring of their health, and of attacks and healing.

    The view is centred on the map and wide enough for every living unit.
    """
    n, half_map = rules.allies, MAP_SIZE / 2
    types = [rules.map.kinds[kind] for kind in rules.map.types]
    alive = view.share > 0
    half = view_radius(view.places[alive])
    canvas = Canvas(half_map - half, half_map + half)
    canvas.grid(4)
    for i in np.flatnonzero(~alive):
        canvas.cross(view.places[i, 0], view.places[i, 1], 0.22, GREY)
    for i in np.flatnonzero(alive & (view.attack >= MOVES)):
        other, ally = int(view.attack[i]) - MOVES, i < n
        if rules.healer[i]:
            other = other if ally else len(view.share) - 1 - other
        else:
            other = n + other if ally else n - 1 - other
        colour = GREEN if rules.healer[i] else BLUE if ally else RED
        canvas.line(tuple(view.places[i]), tuple(view.places[other]), f"{colour}70", 2)
    for i in np.flatnonzero(alive):
        x, y = view.places[i]
        unit = types[view.kind[i]]
        radius = 1.15 * unit.radius
        canvas.gauge(x, y, radius + 0.16, view.share[i], GREEN, 3.5)
        canvas.disc(x, y, radius, BLUE if i < n else RED)
        canvas.text(x, y, unit.letter, "#ffffff", 13)
    canvas.caption(f"{name}   step {view.time}")
    return canvas.array()

"""Drawing a small square world, for `draw(state)` of environments. Runs on the host."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tutelage.types import Places

SIZE = 384
"""Pixels per side."""
FINE = 3
"""Everything is drawn this many times larger and then reduced, which smooths the edges."""

PAPER, INK, FAINT = "#f7f5ef", "#2b2a28", "#e6e1d5"
BLUE, RED, GREEN, GREY = "#2f6fd6", "#cc4b37", "#3f9b57", "#b9b2a3"


@cache
def font(size: int) -> Any:
    """Pillow's own font, so that pictures are the same everywhere."""
    return ImageFont.load_default(size)


class Canvas:
    """A world `lo..hi` in both directions, y upwards. Sizes are in the world's units, line widths in pixels."""

    def __init__(self, lo: float, hi: float, background: str = PAPER) -> None:
        self.lo, self.hi, self.scale = lo, hi, FINE * SIZE / (hi - lo)
        self.image = Image.new("RGB", (FINE * SIZE, FINE * SIZE), background)
        self.pen = ImageDraw.Draw(self.image, "RGBA")  # fills may be transparent: #rrggbbaa

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies on the enlarged picture."""
        return (x - self.lo) * self.scale, FINE * SIZE - (y - self.lo) * self.scale

    def _box(self, x: float, y: float, radius: float) -> tuple[float, float, float, float]:
        (px, py), r = self.at(x, y), radius * self.scale
        return px - r, py - r, px + r, py + r

    def disc(
        self, x: float, y: float, radius: float, fill: str | None, outline: str | None = None, width: float = 1
    ) -> None:
        self.pen.ellipse(self._box(x, y, radius), fill=fill, outline=outline, width=round(FINE * width))

    def square(
        self, x: float, y: float, half: float, fill: str | None, outline: str | None = None, width: float = 1
    ) -> None:
        self.pen.rectangle(self._box(x, y, half), fill=fill, outline=outline, width=round(FINE * width))

    def clipped_square(
        self, x: float, y: float, half: float, lo: float, hi: float, fill: str, outline: str, width: float = 1
    ) -> None:
        """Draw the part of a square that lies within the board `lo..hi`."""
        left, right = (float(np.clip(x + side, lo, hi)) for side in (-half, half))
        low, high = (float(np.clip(y + side, lo, hi)) for side in (-half, half))
        corners = self.at(left, high), self.at(right, low)
        self.pen.rectangle(corners, fill=fill, outline=outline, width=round(FINE * width))

    def gauge(self, x: float, y: float, radius: float, share: float, fill: str, width: float = 3) -> None:
        """A ring around (x, y) of which `share` in [0, 1] is filled, clockwise from the top."""
        box, pixels = self._box(x, y, radius), round(FINE * width)
        self.pen.arc(box, 0, 360, fill=FAINT, width=pixels)
        if share > 0:
            self.pen.arc(box, -90, -90 + 360 * min(1.0, share), fill=fill, width=pixels)

    def line(self, a: tuple[float, float], b: tuple[float, float], fill: str, width: float = 2) -> None:
        self.pen.line((self.at(*a), self.at(*b)), fill=fill, width=round(FINE * width))

    def cross(self, x: float, y: float, radius: float, fill: str, width: float = 2) -> None:
        self.line((x - radius, y - radius), (x + radius, y + radius), fill, width)
        self.line((x - radius, y + radius), (x + radius, y - radius), fill, width)

    def grid(self, every: float) -> None:
        """Faint lines, so that distances can be compared."""
        for at in np.arange(np.ceil(self.lo / every), np.floor(self.hi / every) + 1) * every:
            self.line((at, self.lo), (at, self.hi), FAINT, 1)
            self.line((self.lo, at), (self.hi, at), FAINT, 1)

    def text(self, x: float, y: float, words: str, fill: str = INK, size: int = 12) -> None:
        self.pen.text(self.at(x, y), words, fill=fill, anchor="mm", font=font(FINE * size))

    def label_counts(self, x: Any, y: Any) -> None:
        """Write the number of agents on cells with more than one, whose marks hide each other."""
        cells, counts = np.unique(np.stack([np.asarray(x), np.asarray(y)], -1), axis=0, return_counts=True)
        for (cx, cy), count in zip(cells[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
            self.text(cx, cy, str(count), PAPER, 11)

    def caption(self, words: str) -> None:
        self.pen.text((FINE * 8, FINE * 6), words, fill=INK, font=font(FINE * 12))

    def array(self) -> np.ndarray:
        """The picture, uint8 (SIZE, SIZE, 3)."""
        return np.asarray(self.image.reduce(FINE))


def board_bounds(size: int) -> tuple[float, float]:
    """`lo` and `hi` of a canvas that shows a board of cells 0 to size - 1, with room for the caption above it."""
    margin = max(0.5, 0.06 * size)
    return -0.5 - margin, size - 0.5 + margin


def places(x: Any, y: Any, offset: Any, lo: float, hi: float) -> Places:
    """Positions on the picture of agents at (x, y), (N,) each, and of their goals at `offset` (N, M, 2) from them."""
    agents = np.stack([np.asarray(x), np.asarray(y)], -1).astype(float)
    fraction = lambda points: np.stack([points[..., 0] - lo, hi - points[..., 1]], -1) / (hi - lo)
    return Places(fraction(agents), fraction(agents[:, None] + np.asarray(offset)))


def extent(places: np.ndarray, centre: float, smallest: float, largest: float = np.inf, margin: float = 0.0) -> float:
    """Half the side of the square around (`centre`, `centre`) that shows all places (n, 2), clipped to limits."""
    reach = float(np.abs(places - centre).max()) if len(places) else 0.0
    return float(np.clip(reach + margin, smallest, largest))

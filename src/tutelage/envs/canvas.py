"""Drawing for `draw(state)`: a small square world on a picture. Host only."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

SIZE = 384
"""Pixels per side."""


class Canvas:
    """A world `lo..hi` in both directions, y upwards."""

    def __init__(self, lo: float, hi: float, background: str = "#f4f1ea") -> None:
        self.lo, self.scale = lo, SIZE / (hi - lo)
        self.image = Image.new("RGB", (SIZE, SIZE), background)
        self.pen = ImageDraw.Draw(self.image)

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.lo) * self.scale, SIZE - (y - self.lo) * self.scale

    def disc(
        self, x: float, y: float, radius: float, fill: str | None, outline: str | None = None, width: int = 1
    ) -> None:
        px, py = self.at(x, y)
        r = radius * self.scale
        self.pen.ellipse((px - r, py - r, px + r, py + r), fill=fill, outline=outline, width=width)

    def line(self, a: tuple[float, float], b: tuple[float, float], fill: str, width: int = 2) -> None:
        self.pen.line((self.at(*a), self.at(*b)), fill=fill, width=width)

    def bar(self, x: float, y: float, width: float, share: float, fill: str) -> None:
        """A horizontal gauge centred at (x, y)."""
        px, py = self.at(x - width / 2, y)
        w = width * self.scale
        self.pen.rectangle((px, py - 2, px + w, py + 2), fill="#d8d2c4")
        self.pen.rectangle((px, py - 2, px + w * max(0.0, min(1.0, share)), py + 2), fill=fill)

    def text(self, x: float, y: float, words: str, fill: str = "#222222") -> None:
        self.pen.text(self.at(x, y), words, fill=fill, anchor="mm")

    def caption(self, words: str) -> None:
        self.pen.text((8, 6), words, fill="#222222")

    def array(self) -> np.ndarray:
        return np.asarray(self.image)

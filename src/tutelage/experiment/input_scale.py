"""Warnings about observations that are far from unit size, from which networks learn badly."""

from __future__ import annotations

import numpy as np

LARGEST_USUAL, SMALLEST_USUAL = 100.0, 0.01
"""A warning is given where the largest value lies outside. At 100 MAPPO still learned a small task, at 10,000 not."""
WAYS_OUT = "networks learn from numbers of about 1: divide each by its usual size, or train with --normalise"


def scale_warnings(name: str, obs: np.ndarray, state: np.ndarray) -> tuple[str, ...]:
    """Warnings for the environment `name`, of the largest absolute value of each column: obs (D,), state (S,)."""
    found = []
    for field, maxima in (("obs", obs), ("state", state)):
        column = int(maxima.argmax())
        size = float(maxima[column])
        if size > LARGEST_USUAL or 0 < size < SMALLEST_USUAL:
            verb = "reaches" if size > 1 else "is at most"
            found.append(f"warning: {field} of {name} {verb} {size:.3g} (column {column}); {WAYS_OUT}")
    return tuple(found)

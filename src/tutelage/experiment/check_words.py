"""Words and sums that the findings on an environment share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

Found = tuple[Any, str]
"""Level and line of a finding."""


def agents_text(which: Any) -> str:
    """Agents by number, `agent 2` or `agents 0, 3`; which: (N,)."""
    if len(which) > 1 and which.all():
        return "all agents"
    numbers = np.flatnonzero(which)
    return f"agent{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def percent(share: float) -> str:
    """A share with three digits."""
    return f"{100 * share:.3g} %"


def summed(arrays: Iterable[Any]) -> np.ndarray:
    """The sum of arrays of one shape."""
    return np.sum([*arrays], axis=0)

"""Which metric became non-finite first, where several did."""

from __future__ import annotations

import numpy as np

from tutelage.data.watch import MARK, describe_fault

CAUSES = (("reward",), ("target", "value", "team_value", "student_value"))
"""Metrics whose failure makes others fail, the likeliest cause first. The message names the earliest in this order."""
CONSEQUENCES = (
    "entropy",
    "approx_kl",
    "ratio",
    "factor",
    "logits",
    "student_entropy",
    "executor_entropy",
    "goal_entropy",
)
"""Metrics that depend on the parameters alone: they fail only after a loss has damaged the parameters."""


def first_bad_metric(metrics: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """The first update with a bad metric, and a message about the metric that most likely caused the others.

    Args:
        metrics: by name, one entry per update of a chunk. Names that begin with MARK hold fault codes of user code.

    Returns:
        Index of the update and message, or None where all metrics are finite and without fault.
    """
    found = []
    for name, values in metrics.items():
        bad = values > 0 if name.startswith(MARK) else ~np.isfinite(values)
        if bad.any():
            rank = next((i for i, group in enumerate(CAUSES, 1) if name in group), len(CAUSES) + 1)
            rank = 0 if name.startswith(MARK) else rank + (name in CONSEQUENCES)
            index = int(bad.argmax())
            message = f"{name} became {values[index]}" if rank else f"{describe_fault(name, values[index])},"
            found.append((index, rank, message))
    return (min(found)[0], min(found)[2]) if found else None

"""Which metric became non-finite first, where several did."""

from __future__ import annotations

import numpy as np

from tutelage.data.watch import MARK, describe_fault

CAUSES = (("reward",), ("target", "value", "team_value", "student_value"))
"""Metrics that others follow from, causes first; the last to be blamed are those of FOLLOW."""
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
"""Metrics of parameters alone, which break where a loss has broken them before."""


def first_bad_metric(metrics: dict[str, np.ndarray]) -> tuple[int, str] | None:
    """Where the metrics of a chunk first tell of something wrong, and what: inputs, returns, losses, parameters."""
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

"""The folder numpy/ of an exported team: `team.py`, a copy of `standalone.py`, and its weights."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tutelage.deploy import standalone
from tutelage.deploy.contract import Contract
from tutelage.deploy.layers import Weights


def numpy_files(contract: Contract, weights: Sequence[Weights]) -> dict[str, bytes]:
    """Contents of the files by name."""
    return {"numpy/team.py": Path(standalone.__file__).read_bytes(), "numpy/weights.npz": packed(weights)}


def packed(weights: Sequence[Weights]) -> bytes:
    """The weights of all networks as an .npz, under the names `NETWORK.NAME`."""
    arrays = {f"{i}.{name}": array for i, group in enumerate(weights) for name, array in group.items()}
    content = io.BytesIO()
    np.savez(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()

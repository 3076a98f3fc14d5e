"""Shapes and kinds of arrays are what the annotations say: they are run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_every_method_runs_with_its_annotations_checked():
    """In a process of its own, traced and not compiled: the import hook must be there before the package is."""
    run = subprocess.run([sys.executable, str(HERE / "annotated.py")], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]

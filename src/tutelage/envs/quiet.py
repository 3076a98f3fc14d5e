"""Importing jaxmarl without its announcements."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Drop `print` while a package is imported. Redirecting sys.stdout does not help: jaxmarl restores it."""
    before = builtins.print
    builtins.print = lambda *args, **kwargs: None  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.print = before

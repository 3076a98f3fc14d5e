"""Functions of the user's own that are told what a training measures, while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tutelage.errors import reports_user_error

Listener = Callable[[dict[str, Any]], None]


class Listeners(NamedTuple):
    """What `train` is given as `on_metrics` and `on_evaluation`; each is called with a record (a dict)."""

    on_metrics: Listener | None = None
    on_evaluation: Listener | None = None


class Told:
    """A sink that passes the records of one run on; each says under `run` which run it is of."""

    def __init__(self, listeners: Listeners, path: Path) -> None:
        self._functions = {"metrics": listeners.on_metrics, "evaluation": listeners.on_evaluation}
        self._path = str(path)

    def write(self, kind: str, record: dict[str, Any]) -> None:
        function = self._functions.get(kind)
        if function is not None:
            with reports_user_error(f"on_{kind}"):
                function({"run": self._path, **record})

    def close(self) -> None:
        pass

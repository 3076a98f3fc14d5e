"""Outputs of a training run: JSON lines always, TensorBoard on request, a progress bar on a terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tutelage.errors import Fault, NotWritten
from tutelage.experiment.files import open_no_link
from tutelage.experiment.listeners import Listeners
from tutelage.experiment.streams import StandardError, line_width, reserve_streams
from tutelage.jsons import to_json


@runtime_checkable
class Sink(Protocol):
    """Receives metrics and evaluations."""

    def write(self, kind: str, record: dict[str, Any]) -> None: ...
    def close(self) -> None: ...


class JsonLines:
    """`metrics.jsonl`: one object per line; `kind` says whether it is `metrics` or `evaluation`."""

    def __init__(self, path: Path, kept_bytes: int | None) -> None:
        """`kept_bytes`: of a resumed run, how many bytes of the existing file stay."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kept_bytes and (not path.exists() or path.stat().st_size < kept_bytes):
                raise Fault(f"{path} is damaged: it has less than the checkpoint; delete both and the run begins anew")
            mode = "r+b" if kept_bytes is not None and path.exists() else "wb"
            self.file = open(path, mode, opener=open_no_link)  # noqa: SIM115
            self.file.truncate(kept_bytes or 0)
            self.file.seek(0, 2)
        except OSError as error:
            raise NotWritten(f"cannot write {path}: {error.strerror}") from error
        self.path = path

    def write(self, kind: str, record: dict[str, Any]) -> None:
        line = (to_json({"kind": kind, **record}) + "\n").encode()
        try:
            self.file.write(line)
            self.file.flush()
            still_there = self.path.exists() and os.path.samestat(os.fstat(self.file.fileno()), self.path.stat())
        except OSError as error:
            raise NotWritten(f"cannot write {self.path}: {error.strerror}") from error
        if not still_there:
            raise NotWritten(f"cannot write {self.path}: it was deleted or moved while the run was writing it")

    def synced_size(self) -> int:
        """Flush to the disk and return the size in bytes, which a checkpoint refers to."""
        try:
            os.fsync(self.file.fileno())
        except OSError as error:
            raise NotWritten(f"cannot write {self.path}: {error.strerror}") from error
        return self.file.tell()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what a full disk did not take has been told
            self.file.close()


class TensorBoard:
    """Scalars by environment step. Needs the `track` extra."""

    def __init__(self, folder: Path, first_step: int | None = None) -> None:
        """`first_step`: of a resumed run, the step from which earlier entries are discarded."""
        from tensorboardX import SummaryWriter

        self.folder = folder
        try:
            if folder.is_symlink():
                raise OSError(errno.ELOOP, "it is a link")
            self.writer = SummaryWriter(str(folder), purge_step=first_step)
        except OSError as error:
            raise NotWritten(f"cannot write {folder}: {error.strerror or error}") from error

    def writer_died(self) -> bool:
        """Whether the writing thread has died, as on a full disk; waiting for it would then never end."""
        return not self.writer.file_writer.event_writer._worker.is_alive()

    def write(self, kind: str, record: dict[str, Any]) -> None:
        own = {f"info/{name}": value for name, value in record.get("info", {}).items()}
        for name, value in {**record, **own}.items():
            if self.writer_died():
                raise NotWritten(f"cannot write {self.folder}")
            if isinstance(value, int | float):
                self.writer.add_scalar(f"{kind}/{name}", value, record["total_steps"])

    def close(self) -> None:
        if self.writer_died():
            self.writer.file_writer.event_writer._event_queue.cancel_join_thread()
        else:
            self.writer.close()


ANNOUNCE_SECONDS = 3.0
"""Seconds of waiting after which a message says what is waited for."""


class Display:
    """Progress for people, on standard error: a bar with rate and remaining time, or plain lines in a pipe.

    Output that cannot be written is dropped, so that a closed terminal does not end a run.

    Attributes:
        listeners: functions of the user's that are told as well.
    """

    def __init__(self, quiet: bool = False, listeners: Listeners = Listeners()) -> None:
        reserve_streams()
        self.quiet, self.listeners = quiet, listeners
        self.bar: Any = None
        self.task: Any = None
        self.timer: threading.Timer | None = None
        self.stage, self.printed_at = "", 0.0
        self.interactive = StandardError(sys.stderr).isatty()

    def say(self, words: str) -> None:
        if self.quiet:
            return
        if self.bar is not None:
            self.bar.console.print(words, highlight=False, markup=False)
            return
        print(words, file=StandardError(sys.stderr), flush=True)  # type: ignore[call-overload]

    def announce_later(self, words: str) -> None:
        """Show a message after ANNOUNCE_SECONDS, unless `cancel_announcement` or `close` comes first."""
        self.cancel_announcement()
        if self.quiet:
            return
        self.timer = threading.Timer(ANNOUNCE_SECONDS, self.say, (words,))
        self.timer.daemon = True
        self.timer.start()

    def cancel_announcement(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.timer = None

    def progress(self, stage: str, done: int, budget: int, unit: str, rate: float) -> None:
        if self.quiet:
            return
        speed = f"{rate:,.0f} env steps/s" if rate else ""
        if not self.interactive:
            if time.monotonic() - self.printed_at > 10 or done >= budget:
                self.printed_at = time.monotonic()
                self.say(f"{stage}: {min(done, budget):,} of {budget:,} {unit} {speed}")
            return
        if self.bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
            last_columns = (TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
            width = (
                line_width(sys.stderr) if os.environ.get("COLUMNS") == "0" else None
            )  # which rich would take as it is
            console = Console(file=StandardError(sys.stderr), width=width)  # type: ignore[arg-type]
            self.bar = Progress(*columns, *last_columns, console=console, transient=True)
            self.bar.start()
        if stage != self.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.stage, self.task = stage, self.bar.add_task(stage, total=budget, rate="")
        self.bar.update(self.task, completed=done, rate=speed)

    def close(self) -> None:
        """Remove the bar; the next run gets a new one, even if its first stage has the same name."""
        self.cancel_announcement()
        if self.bar is not None:
            self.bar.stop()
        self.bar, self.task, self.stage = None, None, ""

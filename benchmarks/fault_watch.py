"""Recording all file operations below a folder, and killing the process before, during or after one of them."""

from __future__ import annotations

import builtins
import fcntl
import io
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PATHS = ("unlink", "remove", "mkdir", "rmdir", "replace", "rename", "link", "symlink", "truncate")
"""Functions of `os` whose first (of replace, rename, link, symlink: second) argument is what changes."""
FILES = ("write", "fsync", "ftruncate", "sendfile")
"""Functions of `os` on an open file."""


class Operation(NamedTuple):
    """A file operation and its path."""

    what: str
    path: str

    @property
    def group(self) -> str:
        """Name of the group of similar operations: numbers in the path are replaced."""
        return f"{self.what} {re.sub(r'[0-9]+', 'N', self.path)}"


class Stop(NamedTuple):
    """When to kill: before, in the middle of or after the `number`-th operation, or some seconds after it (moment)."""

    number: int
    when: str
    seconds: float = 0.0


def die() -> None:
    """Kill the process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


class Watch:
    """Replaces the functions that change files in this process by recording ones."""

    def __init__(self, folder: Path, stop: Stop | None = None) -> None:
        self.folder, self.stop = str(folder), stop
        self.operations: list[Operation] = []

    def install(self) -> None:
        """Replace the functions."""
        self.open = builtins.open
        builtins.open = io.open = self.opened  # type: ignore[assignment]
        for name in PATHS:
            last = 1 if name in ("replace", "rename", "link", "symlink") else 0
            setattr(os, name, self.wrapped(name, getattr(os, name), last))
        for name in FILES:
            setattr(os, name, self.wrapped(name, getattr(os, name), 0))
        fcntl.flock = self.wrapped("flock", fcntl.flock, 0)
        low = os.open

        def opened(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            act = lambda: low(path, flags, *args, **kwargs)
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            return self.act("open", self.relative_path(path, kwargs), act) if writes else act()

        os.open = opened

    def relative_path(self, thing: Any, options: dict[str, Any]) -> str | None:
        """The path of a file, relative to the folder; None where it lies elsewhere."""
        if hasattr(thing, "fileno"):
            thing = thing.fileno()
        if isinstance(thing, int):
            path = os.readlink(f"/proc/self/fd/{thing}")
        else:
            at = options.get("dir_fd", options.get("dst_dir_fd"))
            base = os.getcwd() if at is None else os.readlink(f"/proc/self/fd/{at}")
            path = os.path.normpath(os.path.join(base, os.fspath(thing)))
        return os.path.relpath(path, self.folder) if path.startswith(self.folder + os.sep) else None

    def wrapped(self, name: str, function: Callable[..., Any], which: int) -> Callable[..., Any]:
        """A function that records and then calls `function`."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            path = self.relative_path(args[which], kwargs) if len(args) > which else None
            return self.act(name, path, lambda: function(*args, **kwargs))

        return watched

    def act(self, what: str, path: str | None, do: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Record an operation and carry it out, or kill the process before, during or after it."""
        if path is None:
            return do()
        self.operations.append(Operation(what, path))
        when = self.stop.when if self.stop and len(self.operations) == self.stop.number else ""
        if when == "moment":  # the system's own way to kill a process later: no thread, no handler
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(self.stop.seconds, 1e-6))
        if when == "before" or (when == "middle" and half is None):
            die()
        if when == "middle" and half:
            half()
            die()
        done = do()
        if when == "after":
            die()
        return done

    def opened(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        """`open`; writing to the opened file is recorded too."""
        if not set(mode) & set("wax+"):
            return self.open(file, mode, *args, **kwargs)
        path = self.relative_path(file, {})
        do = lambda: self.open(file, mode, *args, **kwargs)
        opens = not isinstance(file, int) and not kwargs.get("opener")  # else `os.open` does, and is watched
        made = self.act("open", path, do) if opens else do()
        return made if path is None else Watched(made, path, self)


class Watched:
    """An open file whose writes are recorded."""

    def __init__(self, file: Any, path: str, watch: Watch) -> None:
        self.file, self.path, self.watch = file, path, watch

    def write(self, data: Any) -> Any:
        def half() -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()

        return self.watch.act("write", self.path, lambda: self.file.write(data), half)

    def flush(self) -> None:
        self.watch.act("flush", self.path, self.file.flush)

    def truncate(self, *size: int) -> Any:
        return self.watch.act("truncate", self.path, lambda: self.file.truncate(*size))

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: Any) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

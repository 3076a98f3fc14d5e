"""A lock on each run directory, so that one process at a time trains into it and several sweeps share a plan."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

from tutelage.errors import Fault, NotWritten

LOCK = ".run.lock"
_locked_here: ContextVar[frozenset[Path]] = ContextVar("held", default=frozenset())
"""Directories whose lock this context holds already, so that it can be taken again within the block."""


@contextmanager
def try_lock(runs: Sequence[Path]) -> Iterator[bool]:
    """Lock all these run directories for the time of the block; yields False where another process holds one.

    The lock is one of the operating system, on a file that is made in the directory. It is released when the process
    ends, however it ends. A directory that was made for the lock and is empty at the end is removed.

    Raises:
        NotWritten: the lock file cannot be written.
    """
    locked_before = _locked_here.get()
    with ExitStack() as stack:
        for run in runs:
            if run.resolve() in _locked_here.get():
                continue
            if not stack.enter_context(_lock_directory(run)):
                _locked_here.set(locked_before)
                yield False
                return
            _locked_here.set(_locked_here.get() | {run.resolve()})
        try:
            yield True
        finally:
            _locked_here.set(locked_before)


@contextmanager
def exclusive(runs: Sequence[Path]) -> Iterator[None]:
    """Lock these run directories for the time of the block.

    Raises:
        Fault: another process holds one. NotWritten: a lock file cannot be written.
    """
    with try_lock(runs) as acquired:
        if not acquired:
            raise Fault(f"another process is training {', '.join(map(str, runs))}; wait for it or stop it")
        yield


def remove_stale_locks(runs: Iterable[Path]) -> None:
    """Remove lock files that a killed process left, and directories that are empty then.

    Locks that are held stay. Call it only for runs that are finished or made by a sweep: every empty directory is
    removed.
    """
    for run in runs:
        if (run / LOCK).exists():
            with try_lock([run]):
                pass
        with contextlib.suppress(OSError):
            run.rmdir()  # goes only where it is empty


@contextmanager
def _lock_directory(run: Path) -> Iterator[bool]:
    """Take the lock of one directory for the time of the block; yields whether that succeeded."""
    path, is_new = run / LOCK, not run.exists()
    try:
        file = _open_and_lock(path)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise NotWritten(f"cannot write {path}: {reason}") from error
    try:
        yield file is not None
    finally:
        if file is not None:
            # While it is still held: who opens the file from now on makes a new one.
            path.unlink(missing_ok=True)
            os.close(file)
            if is_new:
                with contextlib.suppress(OSError):
                    run.rmdir()


def _open_and_lock(path: Path) -> int | None:
    """Open and lock the file; None where another process holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except FileNotFoundError:  # its last holder has just taken the directory away
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have unlinked it after it was opened here: then it keeps nobody out.
            if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            os.close(file)
            raise
        os.close(file)

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
"""Directories that are claimed here already: who trains a run may claim it again within."""


@contextmanager
def try_lock(runs: Sequence[Path]) -> Iterator[bool]:
    """Whether all these run directories are now this process's own, for the time of the block.

    A claim is a lock of the operating system on a file in the directory, which is made for it. It goes when its process
    goes, however that ends. A directory that holds nothing else at the end goes as well.

    Raises:
        NotWritten: the lock's file cannot be.
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
    """Training into these run directories, which nobody else may do meanwhile.

    Raises:
        Fault: another process does. NotWritten: the lock's file cannot be.
    """
    with try_lock(runs) as acquired:
        if not acquired:
            raise Fault(f"another process is training {', '.join(map(str, runs))}; wait for it or stop it")
        yield


def remove_stale_locks(runs: Iterable[Path]) -> None:
    """Take away the locks that a kill at the very end left, and directories that hold nothing else.

    What is held stays. Only for runs that are finished or a sweep's own: an empty directory is not asked whose it is.
    """
    for run in runs:
        if (run / LOCK).exists():
            with try_lock([run]):
                pass
        with contextlib.suppress(OSError):
            run.rmdir()  # goes only where it is empty


@contextmanager
def _lock_directory(run: Path) -> Iterator[bool]:
    """Whether the lock in a directory is held now."""
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

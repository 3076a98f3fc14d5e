"""One process at a time on a run: several sweeps of one plan share the work."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tutelage.errors import Fault, NotWritten


@contextmanager
def claimed(places: Sequence[Path]) -> Iterator[bool]:
    """Whether all these run directories are now this process's own, for the time of the block.

    A claim is a lock of the operating system beside the directory: it goes when its process goes, however that ends.

    Raises:
        NotWritten: the lock's file cannot be.
    """
    with ExitStack() as stack:
        for place in places:
            path = place.with_name(place.name + ".lock")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path, "w"))
            except OSError as error:
                raise NotWritten(f"cannot write {path}: {error.strerror}") from error
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
        yield True


@contextmanager
def alone(runs: Sequence[Path]) -> Iterator[None]:
    """Training into these run directories, which nobody else may do meanwhile.

    Raises:
        Fault: another process does. NotWritten: the lock's file cannot be.
    """
    with claimed([run / ".run" for run in runs]) as mine:
        if not mine:
            raise Fault(f"another process is training {', '.join(map(str, runs))}; wait for it or stop it")
        try:
            yield
        finally:  # while it is still held: nobody waits for one, so none is left behind
            for run in runs:
                (run / ".run.lock").unlink(missing_ok=True)

"""Several processes of one command, each on its own cores.

Small networks do not fill two cores: two runs side by side, one core each, finish sooner than one after the other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO


def cores() -> list[int]:
    """The cores this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def kept_to(share: Sequence[int]) -> Iterator[None]:
    """Processes started in the block may use these cores only (where the system lets one choose)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def side_by_side(arguments: Sequence[str], jobs: int) -> int:
    """Run the same command in `jobs` processes with a share of the cores each; what they say is marked by process.

    Returns:
        The highest exit code; of a process that was killed 128 and the signal's number.
    """
    # -P: a user's random.py in the current directory must not stand in for the standard library's.
    command = [sys.executable, "-P", "-m", "tutelage", *arguments]
    children = []
    for i in range(jobs):
        with kept_to(cores()[i::jobs]):
            children.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    readers = [threading.Thread(target=pass_on, args=(child.stderr, f"[{i}] ")) for i, child in enumerate(children)]
    for reader in readers:
        reader.start()
    try:
        return max(code if code >= 0 else 128 - code for code in [child.wait() for child in children])
    finally:  # also after Ctrl-C, which reaches the children as well: they save what they are at
        for child in children:
            child.wait()
        for reader in readers:
            reader.join()


def pass_on(lines: IO[str], mark: str) -> None:
    with lines:
        for line in lines:
            print(mark + line, end="", file=sys.stderr, flush=True)

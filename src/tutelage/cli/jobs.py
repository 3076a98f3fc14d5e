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
def restricted_to(share: Sequence[int]) -> Iterator[None]:
    """Restrict processes that are started in the block to these cores, where the system can do so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_in_processes(arguments: Sequence[str], jobs: int) -> int:
    """Run the same command in `jobs` processes, each with a share of the cores; their messages get the process number.

    Returns:
        The highest exit code; a process that was killed counts as 128 plus the signal's number.
    """
    # -P: a user's random.py in the current directory must not stand in for the standard library's.
    command = [sys.executable, "-P", "-m", "tutelage", *arguments]
    children = []
    for i in range(jobs):
        with restricted_to(cores()[i::jobs]):
            children.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    readers = [
        threading.Thread(target=forward_lines, args=(child.stderr, f"[{i}] ")) for i, child in enumerate(children)
    ]
    for reader in readers:
        reader.start()
    try:
        return max(code if code >= 0 else 128 - code for code in [child.wait() for child in children])
    finally:  # also after Ctrl-C, which reaches the children as well: they save what they are at
        for child in children:
            child.wait()
        for reader in readers:
            reader.join()


def forward_lines(lines: IO[str], prefix: str) -> None:
    """Print every line to standard error, with a prefix."""
    with lines:
        for line in lines:
            print(prefix + line, end="", file=sys.stderr, flush=True)

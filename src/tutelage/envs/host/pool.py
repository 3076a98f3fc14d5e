"""Processes that play n instances of an environment: started when they are first needed, ended with their owner."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import multiprocessing
import os
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tutelage.envs.host.worker import BROKEN, REFUSED, serve, shared_arrays, shared_size
from tutelage.envs.host.world import Facts, World
from tutelage.errors import BadInput, Fault

TIMEOUT = 60.0
"""Seconds in which a process must answer."""

BROKEN_POOLS: list[Fault | BadInput] = []
"""What went wrong in a pool since it was last asked, see `raise_broken`."""


def raise_broken() -> None:
    """Raise where a process failed; called where a compiled loop has ended, which cannot raise itself.

    Raises:
        BadInput: the environment returned something wrong. Fault: it raised, or its process died or hangs.
    """
    if BROKEN_POOLS:
        error = BROKEN_POOLS[0]
        BROKEN_POOLS.clear()
        raise error


class Pool:
    """n instances in processes of their own.

    After a failure `reset` and `step` return at once with what is in memory; `raise_broken` tells.
    """

    def __init__(self, label: str, make: Callable[[], World], facts: Facts, n: int, workers: int) -> None:
        self._label, self._make, self._facts, self._n = label, make, facts, n
        self._workers = max(1, min(workers, n))
        self._pipes: list[Any] = []
        self._broken = False
        self.arrays: dict[str, np.ndarray] = {}

    def reset(self, base: int) -> dict[str, np.ndarray]:
        """New episodes in all instances."""
        if not self._pipes and not self._broken:
            self._start()
        return self._ask(("reset", base))

    def step(self, actions: np.ndarray) -> dict[str, np.ndarray]:
        """One step of all instances; new episodes where none was begun, as after a run was taken up again."""
        if not self._pipes and not self._broken:
            return self.reset(int.from_bytes(hashlib.sha256(actions.tobytes()).digest()[:4], "little"))
        if not self._broken:
            self.arrays["action"][:] = actions
        return self._ask(("step",))

    def draw(self) -> np.ndarray:
        """A picture of the first instance.

        Raises:
            BadInput: it draws none. Fault: its process failed.
        """
        if not self._pipes or self._broken:
            raise_broken()
            raise BadInput(f"{self._label}: there is no picture before its first reset")
        self._pipes[0].send(("draw",))
        answer = self._answer(0)
        if answer is None:
            raise_broken()
        assert answer is not None
        return answer[1]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        memory = context.RawArray("b", shared_size(self._n, self._facts))
        self.arrays = shared_arrays(memory, self._n, self._facts)
        edges = np.linspace(0, self._n, self._workers + 1).round().astype(int)
        processes = []
        for low, high in itertools.pairwise(edges):
            ours, theirs = context.Pipe()
            arguments = self._make, int(low), int(high), self._n, self._facts, memory, theirs
            process = context.Process(target=serve, args=arguments, daemon=True)
            with without_main():
                process.start()
            theirs.close()
            self._pipes.append(ours)
            processes.append(process)
        self._end = weakref.finalize(self, end_processes, processes, self._pipes)
        self._wait()

    def _ask(self, command: tuple[Any, ...]) -> dict[str, np.ndarray]:
        if not self._broken:
            try:
                for pipe in self._pipes:
                    pipe.send(command)
            except (BrokenPipeError, OSError):
                self._fail("a process that plays it was killed")
            else:
                self._wait()
        return self.arrays

    def _wait(self) -> None:
        for i in range(len(self._pipes)):
            if self._answer(i) is None:
                return

    def _answer(self, i: int) -> Any:
        """What process i answers; None where it failed."""
        try:
            if not self._pipes[i].poll(TIMEOUT):
                return self._fail(f"it did not answer within {TIMEOUT:g} seconds")
            answer = self._pipes[i].recv()
        except (EOFError, OSError):
            return self._fail(f"process {i} that plays it died")
        if answer[0] == REFUSED:
            return self._fail_with(BadInput(answer[1]))
        return self._fail(raised(answer[1])) if answer[0] == BROKEN else answer

    def _fail(self, what: str) -> None:
        self._fail_with(Fault(f"{self._label}: {what}"))

    def _fail_with(self, error: Fault | BadInput) -> None:
        self._broken = True
        self._end()
        BROKEN_POOLS.append(error)

    def close(self) -> None:
        """End the processes."""
        if self._pipes and not self._broken:
            self._end()
            self._broken = True


@contextlib.contextmanager
def without_main() -> Iterator[None]:
    """While a process is started: it must not run the user's script again, which need not be guarded against that."""
    main: dict[str, Any] = sys.modules["__main__"].__dict__
    hidden: dict[str, Any] = {name: main.pop(name) for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update({"__spec__": None, **hidden})


def raised(text: str) -> str:
    """One line of a traceback, and the file that holds all of it."""
    descriptor, file = tempfile.mkstemp(prefix="tutelage-", suffix=".txt")
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    return f"raised {text.strip().splitlines()[-1]} (the traceback is in {file})"


def end_processes(processes: list[Any], pipes: list[Any]) -> None:
    """Close the pipes and kill what is left."""
    for pipe in pipes:
        with contextlib.suppress(OSError):
            pipe.close()
    for process in processes:
        with contextlib.suppress(OSError, ValueError):
            process.kill()
            process.join(5)

"""A process that plays some instances of a World into memory that it shares with its parent. jax is not imported."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from tutelage.envs.host.world import Facts, Moment, World
from tutelage.errors import BadInput

FIELDS: tuple[tuple[str, str, Callable[[int, Facts], tuple[int, ...]]], ...] = (
    ("obs", "f4", lambda b, f: (b, len(f.agents), max(f.obs_widths))),
    ("state", "f4", lambda b, f: (b, f.state_width)),
    ("info", "f4", lambda b, f: (b, len(f.info))),
    ("reward", "f4", lambda b, f: (b,)),
    ("action", "i4", lambda b, f: (b, len(f.agents))),
    ("avail", "?", lambda b, f: (b, len(f.agents), max(f.action_counts))),
    ("alive", "?", lambda b, f: (b, len(f.agents))),
    ("first", "?", lambda b, f: (b,)),
    ("terminated", "?", lambda b, f: (b,)),
    ("truncated", "?", lambda b, f: (b,)),
    ("success", "?", lambda b, f: (b,)),
)
"""What is shared: name, type, shape; the widest types first, so that all are aligned."""

READY, BROKEN, REFUSED, PICTURE = "ready", "broken", "refused", "picture"
"""What a process answers: done; the user's code raised; what it returned is wrong; a picture."""


def shared_size(n: int, facts: Facts) -> int:
    """Bytes of the shared memory of n instances."""
    return sum(int(np.prod(shape(n, facts))) * np.dtype(kind).itemsize for _, kind, shape in FIELDS)


def shared_arrays(memory: Any, n: int, facts: Facts) -> dict[str, np.ndarray]:
    """The arrays in the shared memory by name."""
    arrays, start = {}, 0
    for name, kind, shape in FIELDS:
        size = int(np.prod(shape(n, facts)))
        arrays[name] = np.frombuffer(memory, kind, size, start).reshape(shape(n, facts))
        start += size * np.dtype(kind).itemsize
    return arrays


def die_with_parent() -> None:
    """Linux: this process is killed when its parent is gone, also when that was killed itself."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's


def episode_seed(base: int, instance: int, episode: int) -> int:
    """The seed of an episode; the same for the same three numbers on every machine."""
    return int(np.random.SeedSequence([base, instance, episode]).generate_state(1)[0] >> 1)


class Instances:
    """Some instances of a World, with their part of the shared arrays."""

    def __init__(self, worlds: list[World], low: int, arrays: dict[str, np.ndarray]) -> None:
        self._worlds, self._low = worlds, low
        self._arrays = {name: array[low : low + len(worlds)] for name, array in arrays.items()}
        self._episodes, self._base = [0] * len(worlds), 0

    def reset(self, base: int) -> None:
        """New episodes in all of them."""
        self._base, self._episodes = base, [0] * len(self._worlds)
        for i in range(len(self._worlds)):
            self._begin(i)

    def step(self) -> None:
        """One step of all; where an episode has ended, a new one begins and the action is ignored."""
        arrays = self._arrays
        over = arrays["terminated"] | arrays["truncated"]
        for i, world in enumerate(self._worlds):
            if over[i]:
                self._begin(i)
            else:
                self._write(i, world.step(arrays["action"][i]), first=False)

    def draw(self) -> np.ndarray:
        """A picture of the first."""
        return self._worlds[0].draw()

    def _begin(self, i: int) -> None:
        seed = episode_seed(self._base, self._low + i, self._episodes[i])
        self._episodes[i] += 1
        self._write(i, self._worlds[i].reset(seed), first=True)

    def _write(self, i: int, moment: Moment, first: bool) -> None:
        for name, value in moment._asdict().items():
            self._arrays[name][i] = value
        self._arrays["first"][i] = first


def serve(make: Callable[[], World], low: int, high: int, n: int, facts: Facts, memory: Any, pipe: Any) -> None:
    """The process: waits for `("reset", base)`, `("step",)` or `("draw",)`, and answers READY or (PICTURE, array).

    Where something fails it answers (REFUSED, one line) or (BROKEN, traceback), and ends.

    Args:
        make: makes one instance. low, high: which of the n instances are this process's.
    """
    die_with_parent()
    try:
        instances = Instances([make() for _ in range(high - low)], low, shared_arrays(memory, n, facts))
        pipe.send(READY)
        while True:
            command = pipe.recv()
            if command[0] == "draw":
                pipe.send((PICTURE, instances.draw()))
                continue
            if command[0] == "reset":
                instances.reset(command[1])
            else:
                instances.step()
            pipe.send(READY)
    except (EOFError, BrokenPipeError):  # the parent is gone
        os._exit(0)
    except BadInput as error:
        with contextlib.suppress(OSError):
            pipe.send((REFUSED, str(error)))
    except BaseException:
        with contextlib.suppress(OSError):
            pipe.send((BROKEN, traceback.format_exc()))

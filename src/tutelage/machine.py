"""The machine that jax computes on: whether it can be used, and how much memory it has."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import jax

from tutelage.errors import BadInput, Fault


def check_machine(training: bool = False) -> None:
    """Raise an error for settings of jax that cannot work.

    Args:
        training: whether something will be trained, which needs compilation.

    Raises:
        BadInput: 64 bits, no compilation (for training), or a missing platform. Fault: jax finds no device.
    """
    settings: Any = jax.config
    if settings.jax_enable_x64:
        raise BadInput("JAX_ENABLE_X64 is set: tutelage computes with 32 bits, and so do its runs; unset it")
    if training and settings.jax_disable_jit:
        raise BadInput("JAX_DISABLE_JIT is set: training is compiled as a whole; unset it (eval and render go without)")
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).partition("(set ")[0].split())
        suffix = f": {reason}" if reason else ""
        if platforms := settings.jax_platforms:
            raise BadInput(f"JAX_PLATFORMS = {platforms!r}: jax cannot use it here; cpu always works{suffix}") from None
        raise Fault(f"jax finds nothing to compute on{suffix}") from None


def memory() -> float:
    """Memory for arrays in bytes: of the accelerator, or what this process may use of the machine."""
    stats = jax.devices()[0].memory_stats() or {}
    if jax.default_backend() != "cpu" and "bytes_limit" in stats:
        return stats["bytes_limit"]
    limits = [float("inf")]
    with contextlib.suppress(AttributeError, OSError, ValueError):  # where the system does not tell
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for group in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):  # of a container
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(Path(group).read_text()))
    return min(limits)

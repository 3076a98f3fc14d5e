"""Compiling programs that run once or for moments: there the compiler's time counts, not the program's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax


def jit_once(function: Callable[..., Any]) -> Any:
    """`jax.jit` without the optimiser: compiled in half the time, and about twice as slow.

    Programs with and without it may round differently, so one kind of program is always compiled the same way.
    """
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"})

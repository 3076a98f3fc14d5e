"""Compiling programs without optimisation, where the compiler takes longer than the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from tutelage.experiment.compilation_cache import verify_cache


def jit_unoptimised(function: Callable[..., Any]) -> Any:
    """`jax.jit` without the optimiser: compiled in half the time, and about twice as slow.

    Programs with and without it may round differently, so one kind of program is always compiled the same way.
    On a CPU only: on a GPU (an H200, jax 0.11.2) episodes played by such a program were not those that the same
    parameters and keys give elsewhere.
    """
    verify_cache()
    if jax.default_backend() != "cpu":
        return jax.jit(function)
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"})

"""Compiling programs without optimisation, where the compiler takes longer than the program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from tutelage.experiment.compilation_cache import verify_cache


def jit_unoptimised(function: Callable[..., Any]) -> Any:
    """`jax.jit` without the optimiser: compiles in half the time and runs about half as fast.

    The two kinds of compilation may round differently, so each kind of program always uses the same one. On a GPU the
    optimiser stays on: there (an H200, jax 0.11.2) unoptimised programs played other episodes than the same parameters
    and keys give elsewhere.
    """
    verify_cache()
    if jax.default_backend() != "cpu":
        return jax.jit(function)
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": "0"})

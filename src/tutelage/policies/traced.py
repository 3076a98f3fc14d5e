"""Counting the matrix products of a traced function, for policies without a formula."""

from __future__ import annotations

from math import prod
from typing import Any


def traced_macs(jaxpr: Any) -> int:
    """Multiply-adds of all `dot_general`s of a traced function; a loop counts as often as it runs, and of the branches
    of a condition the largest counts.

    Args:
        jaxpr: e.g. `jax.make_jaxpr(f)(*like).jaxpr`.
    """
    total = 0
    for equation in jaxpr.eqns:
        params = equation.params
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            shape = equation.invars[0].aval.shape
            total += prod(shape[axis] for axis in contracted) * prod(equation.outvars[0].aval.shape)
        elif equation.primitive.name == "cond":
            total += max(traced_macs(branch.jaxpr) for branch in params["branches"])
        else:
            bodies = [getattr(value, "jaxpr", value) for value in params.values()]
            in_bodies = sum(traced_macs(body) for body in bodies if hasattr(body, "eqns"))
            total += params.get("length", 1) * in_bodies if equation.primitive.name == "scan" else in_bodies
    return total

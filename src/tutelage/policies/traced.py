"""Counting the matrix products of a traced function, for policies without a formula."""

from __future__ import annotations

from math import prod
from typing import Any

import jax

from tutelage.data.vector import make_vector_env
from tutelage.types import Environment, Policy


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


def joint_macs(policy: Policy, env: Environment) -> int | None:
    """Multiply-adds of a joint decision, counted in the traced step; None for a team of agents, which has formulas."""
    if policy.groups:
        return None
    key = jax.random.key(0)
    params = jax.eval_shape(policy.init, key)
    timestep = jax.eval_shape(make_vector_env(env, 1, policy.goals).reset, key)[1]
    return traced_macs(jax.make_jaxpr(policy.step)(params, policy.carry(1), timestep, key).jaxpr)

"""Counting matrix products: those that XLA really runs, to hold the formulas of `policies.cost` against, and those of
policies that have no formula."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from tutelage.deploy.step import agent_step
from tutelage.policies.agent import Agent

_DEFINED = re.compile(r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = \w+\[(?P<shape>[\d,]*)\]")
_DOT = re.compile(r" dot\((?P<operand>[^)]*)\).*lhs_contracting_dims=\{(?P<axes>[\d,]*)\}")
_SHAPE = re.compile(r"\[(?P<shape>[\d,]*)\]")
_NAME = re.compile(r"^%?(?P<name>[\w.\-]+)")


class Products(NamedTuple):
    """Matrix products of one decision.

    Attributes:
        macs: multiply-adds.
        dots: how many `dot` operations.
        source: the module they were read from.
    """

    macs: int
    dots: int
    source: Literal["compiled", "lowered"]


def count_products(agent: Agent) -> Products:
    """Count the `dot`s in one decision of one agent.

    On CPU XLA keeps every `dot` of these networks in its optimised module (it fuses what lies between them), so they
    are read there. Only products with a vector or matrix of a single element (width 1, one input, one action) become
    plain multiplications; where that leaves fewer `dot`s than the program was written with, all are read from the
    unoptimised HLO of the lowered module instead, and `source` says so.

    Args:
        agent: of any kind and width.
    """
    like = (
        jax.eval_shape(agent.init, jax.random.key(0)),
        jax.eval_shape(agent.carry),
        jax.ShapeDtypeStruct((agent.inputs,), jnp.float32),
        jax.ShapeDtypeStruct((agent.n_actions,), jnp.bool_),
    )
    lowered = jax.jit(agent_step(agent)).lower(*like)
    written = list(dot_macs(lowered.as_text(dialect="hlo")))
    compiled = list(dot_macs(lowered.compile().as_text() or ""))
    if len(compiled) < len(written):
        return Products(sum(written), len(written), "lowered")
    return Products(sum(compiled), len(compiled), "compiled")


def dot_macs(hlo: str) -> Iterator[int]:
    """Multiply-adds of every `dot` in the text of an HLO module: size of the result times the contracted axes.

    Args:
        hlo: as `as_text` prints it; fused computations are read like all others.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for line in hlo.splitlines():
        if line.endswith("{"):  # a computation opens; its names are its own
            shapes = {}
        defined = _DEFINED.match(line)
        if not defined:
            continue
        result = _numbers(defined["shape"])
        shapes[defined["name"]] = result
        dot = _DOT.search(line)
        if dot:
            left = _operand(dot["operand"], shapes)
            yield prod(result) * prod(left[axis] for axis in _numbers(dot["axes"]))


def traced_macs(jaxpr: Any) -> int:
    """Multiply-adds of every `dot_general` of a traced function: those of a loop as often as it runs, of the branches
    of a condition the most.

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
            inside = sum(traced_macs(body) for body in bodies if hasattr(body, "eqns"))
            total += params.get("length", 1) * inside if equation.primitive.name == "scan" else inside
    return total


def _operand(text: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the first operand: written beside its name, or where the name was defined."""
    written = _SHAPE.search(text)
    if written:
        return _numbers(written["shape"])
    name = _NAME.match(text)
    assert name is not None, text
    return shapes[name["name"]]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n)

"""Counting the matrix products that XLA runs, to check `policies.cost`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import prod
from typing import Literal, NamedTuple

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
    shapes = (
        jax.eval_shape(agent.init, jax.random.key(0)),
        jax.eval_shape(agent.carry),
        jax.ShapeDtypeStruct((agent.inputs,), jnp.float32),
        jax.ShapeDtypeStruct((agent.n_actions,), jnp.bool_),
    )
    lowered = jax.jit(agent_step(agent)).lower(*shapes)
    lowered_macs = list(dot_macs(lowered.as_text(dialect="hlo")))
    compiled_macs = list(dot_macs(lowered.compile().as_text() or ""))
    if len(compiled_macs) < len(lowered_macs):
        return Products(sum(lowered_macs), len(lowered_macs), "lowered")
    return Products(sum(compiled_macs), len(compiled_macs), "compiled")


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


def _operand(text: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the first operand: written beside its name, or where the name was defined."""
    shape = _SHAPE.search(text)
    if shape:
        return _numbers(shape["shape"])
    name = _NAME.match(text)
    assert name is not None, text
    return shapes[name["name"]]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split(",") if n)

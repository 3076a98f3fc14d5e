"""Sizes of students, what they cost, and budgets. Pure; jax is not imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from tutelage.errors import BadInput, unknown
from tutelage.policies.blueprint import Core
from tutelage.policies.cost import Cost
from tutelage.policies.size import WIDEST, Shape

LARGEST = 128
"""Width of the widest student where the teacher is no network, so that none can be too large."""
BYTES = 4
"""Of a parameter."""


@dataclass(frozen=True, order=True)
class Size:
    """The network of all agents of a team."""

    core: Core
    width: int

    def __str__(self) -> str:
        return f"{self.core} {self.width}"


@dataclass(frozen=True)
class Costs:
    """What students of one task cost.

    Attributes:
        inputs: columns that each agent reads.
        n_actions: A.
        reference: multiply-adds of the teacher's joint decision; None for one that is no network.
        normalised: whether students normalise their input.
    """

    inputs: tuple[int, ...]
    n_actions: int
    reference: int | None
    normalised: bool = False

    def team(self, size: Size) -> Cost:
        """Cost of a joint decision."""
        shares = (1.0,) * len(self.inputs)
        return Shape(size.core, self.inputs, self.n_actions, shares, self.normalised).cost(size.width)

    def agent(self, size: Size, what: str) -> float:
        """`flops` (matrix products), `params` or `bytes` of an agent, on average over the team."""
        cost = self.team(size)
        return {"flops": cost.products, "params": cost.params, "bytes": BYTES * cost.params}[what] / len(self.inputs)

    def ratio(self, size: Size) -> float | None:
        """How many times fewer matrix products than the teacher's."""
        return None if self.reference is None else self.reference / self.team(size).macs

    def smaller(self, size: Size) -> bool:
        """Whether a student is smaller than its teacher."""
        return size.width <= LARGEST if self.reference is None else self.team(size).macs < self.reference


UNITS: dict[str, dict[str, float]] = {
    **{kind: {"": 1, "k": 1e3, "M": 1e6} for kind in ("flops", "params", "bytes")},
    "latency": {"us": 1, "µs": 1, "ms": 1e3},
    "ratio": {"": 1, "x": 1},
}
"""Units of each budget, and how many of the first they are."""


@dataclass(frozen=True)
class Budget:
    """What a student may cost: `flops`, `params`, `bytes` or `latency` (microseconds) of an agent at most, or at least
    `ratio` times fewer matrix products than the teacher."""

    text: str
    kind: str
    limit: float

    def refusal(self, reason: str) -> BadInput:
        return BadInput(f"within = {self.text!r}: {reason}")

    def fits(self, size: Size, costs: Costs, latency: Mapping[Size, float]) -> bool:
        """Whether a student is within the budget; `latency` in microseconds, of the sizes that were measured."""
        if self.kind == "latency":
            return any(
                own <= self.limit and s.core == size.core and s.width >= size.width for s, own in latency.items()
            )
        if self.kind == "ratio":
            return (costs.ratio(size) or 0.0) >= self.limit
        return costs.agent(size, self.kind) <= self.limit


def parse_budget(text: str) -> Budget:
    """A budget from `flops=20k`, `params=5k`, `bytes=8k`, `latency=20us` or `ratio=100`; raises BadInput for others."""
    kind, _, value = text.partition("=")
    if kind not in UNITS:
        raise unknown("within: budget", kind, UNITS)
    units = UNITS[kind]
    found = re.fullmatch(r"([0-9_.]+(?:[eE][+-]?\d+)?)(\D*)", value)
    if not found or found[2] not in units:
        example = f"{kind}={'20us' if kind == 'latency' else '100' if kind == 'ratio' else '20k'}"
        raise BadInput(f"within = {text!r}: must be like {example}")
    try:
        limit = float(found[1]) * units[found[2]]
    except ValueError:
        raise BadInput(f"within = {text!r}: {found[1]!r} is not a number") from None
    if not 0 < limit < inf:
        raise BadInput(f"within = {text!r}: must be greater than 0")
    return Budget(text, kind, limit)


def widest(core: Core, allowed: Callable[[Size], bool]) -> int:
    """The largest width that is allowed; 0 where none is."""
    return next((width for width in range(WIDEST, 0, -1) if allowed(Size(core, width))), 0)

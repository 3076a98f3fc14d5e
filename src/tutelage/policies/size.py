"""Widths of agents' networks, from `width=`, `ratio=`, `flops=`, `params=` or `tiers=`, in equal or unequal shares."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from tutelage.errors import BadInput, unknown
from tutelage.policies.cost import Cost, layer_cost
from tutelage.policies.sight import numbers

REFERENCE = 128
"""Width of the GRUs that a ratio refers to where there is no teacher: those of the expert in the headline table."""
WIDEST = 1024
LEAST = 8
"""Least width in a team of unequal widths, unless the widest is narrower."""

Tiers = tuple[tuple[tuple[int, ...], int], ...]


@dataclass(frozen=True)
class Shape:
    """The team that a size is solved for.

    Attributes:
        kind: of network, `gru`, `mlp` or `module:factory`.
        inputs: columns that each agent reads.
        n_actions: A.
        shares: relative widths of the agents.
        normalised: whether they normalise their input.
    """

    kind: str
    inputs: tuple[int, ...]
    n_actions: int
    shares: tuple[float, ...]
    normalised: bool = False

    def widths(self, widest: int) -> tuple[int, ...]:
        """The agents' widths where the widest one's is given."""
        return tuple(max(min(LEAST, widest), round(widest * share / max(self.shares))) for share in self.shares)

    def cost(self, widest: int) -> Cost:
        """Cost of one decision of the team."""
        total = Cost(0, 0, 0)
        for inputs, width in zip(self.inputs, self.widths(widest), strict=True):
            total = total + layer_cost(self.kind, inputs, width, self.n_actions)
            total = total + (layer_cost("normaliser", inputs, 0, 0) if self.normalised else Cost(0, 0, 0))
        return total


def solve(size: str, shape: Shape, reference: int) -> Tiers:
    """Find the agents' widths from a size.

    Args:
        size: `width=W` of the widest agents; `ratio=R`, the widest team with at most 1/R of the reference's matrix
            products; `flops=F` or `params=P` per agent on average, the widest team within it;
            `tiers=AGENTS:WIDTH;...` with agents as `0,1` or `2-4`.
        shape: of the team.
        reference: multiply-adds per joint decision that `ratio` refers to.

    Returns:
        ((agent numbers, width), ...) covering every agent once.

    Raises:
        BadInput: not of that form, or no width meets it.
    """
    kind, _, value = size.partition("=")
    n = len(shape.inputs)
    if kind == "tiers":
        if len(set(shape.shares)) > 1:
            raise BadInput(f"size = {size!r}: tiers name every width; leave capacity at equal")
        return _tiers(size, value, n)
    limits: dict[str, Callable[[float], Callable[[Cost], bool]]] = {
        "ratio": lambda x: lambda cost: reference >= x * cost.macs,
        "flops": lambda x: lambda cost: cost.products <= x * n,
        "params": lambda x: lambda cost: cost.params <= x * n,
    }
    if kind != "width" and kind not in limits:
        raise BadInput(f"size = {size!r}: allowed are width=W, ratio=R, flops=F, params=P, tiers=0,1:16;2-4:32")
    if kind in limits and ":" in shape.kind:
        raise BadInput(f"size = {size!r}: core = {shape.kind!r} has no formula of its cost; allowed are width=W, tiers")
    number = _number(size, value)
    if kind == "width":
        if number != int(number) or not 1 <= number <= WIDEST:
            raise BadInput(f"size = {size!r}: the width must be a whole number from 1 to {WIDEST}")
        return _grouped(shape.widths(int(number)))
    fits = limits[kind](number)
    widths = [w for w in range(1, WIDEST + 1) if fits(shape.cost(w))]
    if not widths:
        least = shape.cost(1)
        smallest = {
            "ratio": f"ratio {reference / least.macs:.1f}",
            "flops": f"{least.products / n:g} FLOPs",
            "params": f"{least.params / n:g} parameters",
        }
        inputs = " or ".join(str(i) for i in sorted(set(shape.inputs)))
        least_team = f"a {shape.kind} of width 1 on {inputs} inputs has {smallest[kind]}"
        advice = "; the ratio is to the team that teaches: RUN@teacher names the teacher within a run"
        raise BadInput(f"size = {size!r}: cannot be met; {least_team}{advice if kind == 'ratio' else ''}")
    return _grouped(shape.widths(max(widths)))


def reference_macs(n_agents: int, inputs: int, n_actions: int) -> int:
    """Multiply-adds per joint decision that a ratio refers to without a teacher: of a team of 128-GRUs."""
    return n_agents * layer_cost("gru", inputs, REFERENCE, n_actions).macs


def shares(capacity: str, types: Sequence[str], inputs: Sequence[int]) -> tuple[float, ...]:
    """Relative widths of the agents, from a config's `capacity`.

    Args:
        capacity: `equal`; `inputs`, in proportion to what each reads; or `TYPE=SHARE,TYPE=SHARE` by agent type.
        types, inputs: of each agent.

    Raises:
        BadInput: not of that form, an unknown type, or one without a share.
    """
    if capacity == "equal":
        return (1.0,) * len(types)
    if capacity == "inputs":
        return tuple(float(x) for x in inputs)
    by_type = {}
    for part in capacity.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise BadInput(f"capacity = {capacity!r}: allowed are equal, inputs, or TYPE=SHARE,TYPE=SHARE")
        if name not in types:
            raise unknown("capacity: agent type", name, set(types))
        by_type[name] = _number(capacity, value, "capacity")
    for name in types:
        if name not in by_type:
            raise BadInput(f"capacity = {capacity!r}: no share for agent type {name!r}")
    return tuple(by_type[name] for name in types)


def _number(text: str, value: str, field: str = "size") -> float:
    try:
        number = float(value)
    except ValueError:
        raise BadInput(f"{field} = {text!r}: {value!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise BadInput(f"{field} = {text!r}: must be greater than 0")
    return number


def _grouped(widths: tuple[int, ...]) -> Tiers:
    tiers: dict[int, list[int]] = {}
    for agent, width in enumerate(widths):
        tiers.setdefault(width, []).append(agent)
    return tuple((tuple(agents), width) for width, agents in tiers.items())


def _tiers(size: str, text: str, n_agents: int) -> Tiers:
    tiers = []
    for part in text.split(";"):
        agents, _, width = part.partition(":")
        try:
            tiers.append((tuple(numbers(agents, size)), int(width)))
        except (ValueError, BadInput):
            raise BadInput(f"size = {size!r}: {part!r} is not of the form 0,1:16 or 2-4:32") from None
    named = sorted(i for members, _ in tiers for i in members)
    if named != list(range(n_agents)):
        raise BadInput(f"size = {size!r}: must name each of the agents 0..{n_agents - 1} once, names {named}")
    for _, wide in tiers:
        if not 1 <= wide <= WIDEST:
            raise BadInput(f"size = {size!r}: the width {wide} must be from 1 to {WIDEST}")
    return tuple(tiers)


def split(tiers: Tiers, labels: Sequence[Hashable]) -> Tiers:
    """Split every tier by the agents' labels, so that only agents of one tier and one label share weights."""
    members: dict[tuple[int, Hashable], list[int]] = {}
    for tier, (agents, _) in enumerate(tiers):
        for i in agents:
            members.setdefault((tier, labels[i]), []).append(i)
    return tuple((tuple(agents), tiers[tier][1]) for (tier, _), agents in members.items())

"""How wide the agents are: `width=`, `ratio=`, `flops=`, `params=` or `tiers=`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tutelage.errors import BadInput
from tutelage.policies.cost import Cost, layer_cost
from tutelage.types import Spec

REFERENCE = 128
"""Width of the GRU that a ratio refers to where there is no teacher network: the headline expert."""
WIDEST = 1024

Tiers = tuple[tuple[tuple[int, ...], int], ...]


@dataclass(frozen=True)
class Shape:
    """What a size is solved for: the network's kind, its input width and its actions."""

    kind: str
    inputs: int
    n_actions: int

    def cost(self, width: int) -> Cost:
        return layer_cost(self.kind, self.inputs, width, self.n_actions)


def solve(size: str, shape: Shape, spec: Spec, teacher_macs: int | None = None) -> Tiers:
    """Turn a size into tiers.

    Args:
        size: `width=W`; `ratio=R`, the widest network with at most 1/R of the reference's matrix products;
            `flops=F` or `params=P` per agent, the widest within it; `tiers=AGENTS:WIDTH;...` with agents as
            `0,1` or `2-4`.
        shape: of the network.
        spec: of the environment.
        teacher_macs: multiply-adds per agent and decision that `ratio` refers to; None: a 128-GRU's on the same
            inputs.

    Returns:
        ((agent numbers, width), ...) covering every agent once.

    Raises:
        BadInput: not of that form, or no width meets it.
    """
    kind, _, value = size.partition("=")
    everyone = tuple(range(spec.n_agents))
    if kind == "tiers":
        return _tiers(size, value, spec.n_agents)
    limits: dict[str, Callable[[float], Callable[[Cost], bool]]] = {
        "ratio": lambda x: lambda cost: (teacher_macs or _reference(shape)) >= x * cost.macs,
        "flops": lambda x: lambda cost: cost.products <= x,
        "params": lambda x: lambda cost: cost.params <= x,
    }
    if kind != "width" and kind not in limits:
        raise BadInput(f"size = {size!r}: allowed are width=W, ratio=R, flops=F, params=P, tiers=0,1:16;2-4:32")
    number = _number(size, value)
    if kind == "width":
        if number != int(number) or not 1 <= number <= WIDEST:
            raise BadInput(f"size = {size!r}: the width must be a whole number from 1 to {WIDEST}")
        return ((everyone, int(number)),)
    fits = limits[kind](number)
    widths = [w for w in range(1, WIDEST + 1) if fits(shape.cost(w))]
    if not widths:
        least = shape.cost(1)
        reach = f"{(teacher_macs or _reference(shape)) / least.macs:.1f}" if kind == "ratio" else ""
        smallest = {
            "ratio": f"ratio {reach}",
            "flops": f"{least.products} FLOPs",
            "params": f"{least.params} parameters",
        }
        raise BadInput(
            f"size = {size!r}: cannot be met; a {shape.kind} of width 1 on {shape.inputs} inputs has {smallest[kind]}"
        )
    return ((everyone, max(widths)),)


def _reference(shape: Shape) -> int:
    return layer_cost("gru", shape.inputs, REFERENCE, shape.n_actions).macs


def _number(size: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise BadInput(f"size = {size!r}: {text!r} is not a number") from None
    if not 0 < number < float("inf"):
        raise BadInput(f"size = {size!r}: must be greater than 0")
    return number


def _tiers(size: str, text: str, n_agents: int) -> Tiers:
    tiers = []
    for part in text.split(";"):
        agents, _, width = part.partition(":")
        try:
            members: list[int] = []
            for piece in agents.split(","):
                low, _, high = piece.partition("-")
                members += range(int(low), int(high or low) + 1)
            tiers.append((tuple(members), int(width)))
        except ValueError:
            raise BadInput(f"size = {size!r}: {part!r} is not of the form 0,1:16 or 2-4:32") from None
    named = sorted(i for members, _ in tiers for i in members)
    if named != list(range(n_agents)):
        raise BadInput(f"size = {size!r}: must name each of the agents 0..{n_agents - 1} once, names {named}")
    for _, wide in tiers:
        if not 1 <= wide <= WIDEST:
            raise BadInput(f"size = {size!r}: the width {wide} must be from 1 to {WIDEST}")
    return tuple(tiers)


def by_type(tiers: Tiers, types: tuple[str, ...]) -> Tiers:
    """Split every tier by agent type, so that only agents of one tier and one type share weights."""
    split: dict[tuple[int, str], list[int]] = {}
    for tier, (agents, _) in enumerate(tiers):
        for i in agents:
            split.setdefault((tier, types[i]), []).append(i)
    return tuple((tuple(agents), tiers[tier][1]) for (tier, _), agents in split.items())

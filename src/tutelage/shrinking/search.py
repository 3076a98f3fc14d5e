"""Which sizes to try next: bisection, several widths at a time, of each core in turn. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tutelage.policies.blueprint import Core
from tutelage.policies.cost import Cost
from tutelage.shrinking.sizes import Size, widest

TOGETHER, LATER = 4, 2
"""How many students are distilled together; of a later core, which often has none that is better."""
FIRST = 16
"""The widest student that is tried first."""


@dataclass(frozen=True)
class Judged:
    """A student and how much of its teacher's score it keeps.

    Attributes:
        episodes: that were played until it was decided, or all.
        score: success rate or return. share: of the teacher's; low, high: its interval.
        keeps: whether it keeps the share that was asked for. decided: whether the interval says so, or only the share.
    """

    size: Size
    episodes: int
    score: float
    share: float
    low: float
    high: float
    keeps: bool
    decided: bool


Judge = Callable[[Core, Sequence[int]], Sequence[Judged]]
"""Distils and evaluates students of one core and several widths."""


def next_widths(tried: Mapping[int, bool], top: int, together: int = TOGETHER) -> tuple[int, ...]:
    """Widths to try next, the widest first; none where the smallest that keeps the share is known.

    It is known to the unit up to a width of 16, beyond to an eighth of it.

    Args:
        tried: which widths were tried, and whether they keep the share. It is taken for monotone: what is narrower
            than the narrowest that keeps it, and than one that does not, is not tried.
        top: the largest width there is.
        together: how many are tried at a time.
    """
    kept = min((width for width, keeps in tried.items() if keeps), default=None)
    failed = max((width for width in tried if kept is None or width < kept), default=0)
    if kept is None:
        powers = [2**i for i in range(top.bit_length()) if failed < 2**i < top]
        if not tried:
            if top <= together:
                return tuple(range(top, 0, -1))
            powers = [width for width in powers if width < min(top, FIRST)] + [min(top, FIRST)]
            return tuple(powers[: -together - 1 : -1])
        return tuple([*powers, top][:2][::-1]) if failed < top else ()
    if kept - failed <= max(1, (kept - 1) // 8):
        return ()
    between = range(failed + 1, kept)
    if len(between) > together:
        step = (kept - failed) / (together + 1)
        between = [round(failed + i * step) for i in range(1, together + 1)]  # type: ignore[assignment]
    return tuple(between)[::-1]


def find_smallest(
    judge: Judge, cores: Sequence[Core], allowed: Callable[[Size], bool], cost: Callable[[Size], Cost]
) -> tuple[list[Judged], Judged | None]:
    """All students that were tried, and the cheapest that keeps the share; None where none does.

    Cores are tried in turn; of a later one only students with fewer matrix products than the best so far.
    """
    judged: list[Judged] = []
    best: Judged | None = None
    for core in cores:
        cheaper = lambda size, best=best: allowed(size) and (best is None or cost(size).macs < cost(best.size).macs)
        top, tried, together = widest(core, cheaper), dict[int, bool](), LATER if best else TOGETHER
        while top and (widths := next_widths(tried, top, together)):
            found = judge(core, widths)
            judged += found
            tried |= {each.size.width: each.keeps for each in found}
        keeping = [each for each in judged if each.keeps]
        best = min(keeping, key=lambda each: cost(each.size).macs, default=None)
    return judged, best


def find_best(
    judge: Judge, cores: Sequence[Core], allowed: Callable[[Size], bool], cost: Callable[[Size], Cost]
) -> tuple[list[Judged], Judged]:
    """All students that were tried, and the one that keeps most; of equals the cheapest.

    Of each core the widest that is allowed is tried, and three narrower ones. At least one must be allowed.
    """
    judged: list[Judged] = []
    for core in cores:
        top = widest(core, allowed)
        widths = sorted({max(1, round(top * share)) for share in (1, 0.75, 0.5, 0.25)}, reverse=True)
        judged += judge(core, widths) if top else []
    return judged, nearest(judged, cost)


def nearest(judged: Sequence[Judged], cost: Callable[[Size], Cost]) -> Judged:
    """The student that keeps most; of equals the cheapest."""
    return max(judged, key=lambda each: (each.share, -cost(each.size).macs))

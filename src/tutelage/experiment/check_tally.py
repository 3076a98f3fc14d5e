"""What is kept of an environment's steps to judge it by: statistics of columns, small fields, whole episodes."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from tutelage.types import TimeStep


class Columns(NamedTuple):
    """Statistics of columns over what was finite in them, float64 arrays of one shape."""

    n: np.ndarray
    low: np.ndarray
    high: np.ndarray
    total: np.ndarray
    square: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return self.total / np.maximum(self.n, 1)

    @property
    def var(self) -> np.ndarray:
        return np.maximum(self.square / np.maximum(self.n, 1) - self.mean**2, 0.0) * (self.high > self.low)

    @property
    def largest(self) -> np.ndarray:
        """Largest absolute value; 0 where nothing was seen."""
        return np.where(self.n > 0, np.maximum(np.abs(self.low), np.abs(self.high)), 0.0)


def columns_of(x: np.ndarray, where: np.ndarray) -> Columns:
    """Statistics over the first axis of x (M, ...), of entries that count and are finite; `where`: (M, ...)."""
    x = np.asarray(x, np.float64)
    where = np.broadcast_to(where, x.shape) & np.isfinite(x)
    kept = np.where(where, x, 0.0)
    low = np.where(where, x, np.inf).min(0, initial=np.inf)
    high = np.where(where, x, -np.inf).max(0, initial=-np.inf)
    return Columns(where.sum(0), low, high, kept.sum(0), (kept**2).sum(0))


def merged(a: Columns, b: Columns) -> Columns:
    """Statistics of both."""
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return Columns(a.n + b.n, low, high, a.total + b.total, a.square + b.square)


class Flow(NamedTuple):
    """What is kept of every step, (T, B) or (T, B, N)."""

    reward: np.ndarray
    discount: np.ndarray
    first: np.ndarray
    last: np.ndarray
    success: np.ndarray
    alive: np.ndarray
    can: np.ndarray
    """Whether the agent has an available action."""
    blind: np.ndarray
    """Whether the agent's whole row is zeros."""


class Moments(NamedTuple):
    """Statistics of all that living agents observe, and of the state, (N D + S,), at particular steps."""

    resets: Columns
    """Where play began."""
    firsts: Columns
    """First steps of later episodes."""
    lasts: Columns
    before: Columns
    """The steps before the last ones, but for first ones."""


class Tally(NamedTuple):
    """What is kept of a piece.

    Attributes:
        obs: (N, D), of living agents. state: (S,).
        available: (N, A), steps in which a living agent could take the action.
        links: (N, N), steps in which agent i heard agent j; () without links.
        untaken: actions that came back as others than those that were taken.
        faults: codes of `data/watch.py` by name.
    """

    obs: Columns
    state: Columns
    moments: Moments
    available: np.ndarray
    links: Any
    untaken: int
    faults: dict[str, float]


class Episode(NamedTuple):
    """Outcomes of whole episodes, (E,)."""

    length: np.ndarray
    returns: np.ndarray
    success: np.ndarray
    discount: np.ndarray


def tally_of(steps: TimeStep, taken: np.ndarray, faults: dict[str, float], opens: bool) -> Tally:
    """What is kept of one piece.

    Args:
        steps: (T + 1, B, ...), of which the first is the last of the piece before.
        taken: (T, B, N) actions.
        opens: whether it is the first piece, so that its first step counts.
    """
    new = jax.tree.map(lambda x: x if opens else x[1:], steps)
    flat = lambda x: x.reshape(-1, *x.shape[2:])
    living = np.where(steps.alive[..., None], steps.obs, np.nan)
    seen = np.concatenate([living.reshape(*steps.first.shape, -1), steps.state], -1)
    fresh = seen if opens else seen[1:]
    begun = np.zeros_like(new.first)
    begun[0] = opens
    at = lambda x, which: columns_of(x[which], np.ones((int(which.sum()), 1), bool))
    moments = Moments(
        at(fresh, begun),
        at(fresh, new.first & ~begun),
        at(fresh, new.last),
        at(seen[:-1], steps.last[1:] & ~steps.first[:-1]),
    )
    led = ~steps.first[1:, :, None] & steps.acts[:-1]
    return Tally(
        columns_of(flat(new.obs), flat(new.alive)[..., None]),
        columns_of(flat(new.state), np.ones((1, 1), bool)),
        moments,
        (new.avail & new.alive[..., None]).sum((0, 1)),
        () if isinstance(new.links, tuple) else new.links.sum((0, 1)),
        int((led & (steps.action[1:] != taken)).sum()),
        {name: code for name, code in faults.items() if code},
    )


def joined(a: Tally, b: Tally) -> Tally:
    """Two tallies as one."""
    return Tally(
        merged(a.obs, b.obs),
        merged(a.state, b.state),
        Moments(*(merged(x, y) for x, y in zip(a.moments, b.moments, strict=True))),
        a.available + b.available,
        () if isinstance(a.links, tuple) else a.links + b.links,
        a.untaken + b.untaken,
        b.faults | a.faults,
    )


def flow_of(steps: TimeStep) -> Flow:
    """What is kept of every step."""
    each: tuple[Any, ...] = steps.alive, steps.avail.any(-1), (steps.obs == 0).all(-1)
    small: tuple[Any, ...] = steps.reward, steps.discount, steps.first, steps.last, steps.success
    return Flow(*small, *each)


def whole_episodes(flow: Flow, each: int) -> Episode:
    """The first `each` episodes of every environment that came to an end."""
    rows = []
    for b in range(flow.last.shape[1]):
        begin = 0
        for end in np.flatnonzero(flow.last[:, b])[:each]:
            total = flow.reward[begin : end + 1, b].sum(dtype=np.float64)
            rows.append((end - begin, total, flow.success[end, b], flow.discount[end, b]))
            begin = end + 1
    length, returns, success, discount = (np.array(x) for x in (zip(*rows, strict=True) if rows else ((),) * 4))
    return Episode(length.astype(int), returns.astype(float), success.astype(bool), discount.astype(float))

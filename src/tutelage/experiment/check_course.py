"""What is wrong with the course of episodes: their ends and beginnings, resets, and what follows from the seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tutelage.experiment.check_play import Seen
from tutelage.experiment.check_tally import Columns
from tutelage.experiment.check_words import Found, percent
from tutelage.types import TimeStep

ENOUGH = 16
"""Episodes on each side from which first steps are compared with resets."""


def ends(seen: Seen) -> Iterator[Found]:
    """Whether episodes begin and end as the spec says."""
    flow, spec = seen.random.flow, seen.spec
    yield from order_of(seen)
    inner = flow.discount[~flow.last]
    if (early := (inner >= 0) & (inner < 1)).any():
        yield "warning", f"discount is not 1 on {early.sum()} steps before an episode's end; must be 1 there"
    length, _, _, discount = seen.random.episodes
    endless = any(name.startswith("?last ") for name in seen.random.tally.faults)  # told already
    if len(length) < seen.random.asked and not endless:
        steps = f"{flow.last.size:,} steps"
        yield "warning", f"last: only {len(length)} of {seen.random.asked} episodes ended within {steps}"
    reached = length >= spec.max_steps
    if spec.time_limit == "terminal" and (discount[reached] == 1).any():
        yield "fault", "discount is 1 where max_steps is reached; spec.time_limit = 'terminal' expects 0"
    if spec.time_limit == "truncation" and reached.sum() >= ENOUGH and not discount[reached].any():
        yield "warning", "discount is always 0 where max_steps is reached; spec.time_limit = 'truncation' expects 1"
    if length.max(initial=0) == 1 < spec.max_steps:
        yield "warning", f"last: every episode ends after one step; spec.max_steps is {spec.max_steps}"
    yield "fine", "an episode begins after each end, and ends by max_steps"


def lengths(seen: Seen) -> Iterator[Found]:
    """How long episodes are, and how they end."""
    length, _, _, discount = seen.random.episodes
    if len(length):
        yield (
            "fine",
            (
                f"{length.min()} to {length.max()} steps, mean {length.mean():.1f}; "
                f"{percent((length >= seen.spec.max_steps).mean())} of {len(length)} episodes reach max_steps = "
                f"{seen.spec.max_steps}; {percent((discount == 0).mean())} ended, the others were cut off"
            ),
        )


def order_of(seen: Seen) -> Iterator[Found]:
    """Whether the step after a last one, and no other, is a first one, with reward 0."""
    flow = seen.random.flow
    if not flow.first[0].all():
        yield "fault", "first is false after a reset; must be true"
    missing, extra = (flow.last[:-1] & ~flow.first[1:]).sum(), (~flow.last[:-1] & flow.first[1:]).sum()
    if missing:
        yield "fault", f"first is false on {missing} steps that follow a last one; must be true"
    if extra:
        yield "fault", f"first is true on {extra} steps that follow no last one; must be false"
    paid = flow.reward[flow.first]
    if (paid != 0).any():
        yield "fault", f"reward is {paid[paid != 0][0]:.3g} on a first step; must be 0"


def resets(seen: Seen) -> Iterator[Found]:
    """Whether a later episode begins as the first one did, and `step` does not begin one by itself."""
    reset, first, last, before = seen.random.tally.moments
    slack = 1e-4 * (1 + np.abs(reset.mean))
    if min(reset.n.max(), first.n.max()) < ENOUGH:
        yield "fine", f"fewer than {ENOUGH} resets or later episodes; too few to compare"
        return
    both = (reset.n > 0) & (first.n > 0)
    outside = both & ((first.low > reset.high + slack) | (first.high < reset.low - slack))
    error = np.sqrt(reset.var / np.maximum(reset.n, 1) + first.var / np.maximum(first.n, 1))
    apart = both & ~outside & (np.abs(first.mean - reset.mean) > 6 * error + slack)
    for level, which in (("fault", outside), ("warning", apart)):
        if which.any():
            yield level, f"first steps of later episodes: {span(seen, which, first)}; after a reset {of(which, reset)}"
    if min(last.n.max(), before.n.max()) >= ENOUGH:
        moved = (reset.high == reset.low) & (before.n > 0) & (last.n > 0)
        moved &= (before.low > reset.high + slack) | (before.high < reset.low - slack)
        back = (last.low >= reset.low - slack) & (last.high <= reset.high + slack)
        if moved.any() and back[moved].all():
            yield (
                "warning",
                (
                    f"last steps look like a reset: {span(seen, moved, last)}, the step before {of(moved, before)}; "
                    "step must not reset by itself"
                ),
            )
    yield "fine", "later episodes begin as after a reset"


def of(which: np.ndarray, columns: Columns) -> str:
    """The range of the first of some columns."""
    i = int(which.argmax())
    return f"{columns.low[i]:.3g} to {columns.high[i]:.3g}"


def span(seen: Seen, which: np.ndarray, columns: Columns) -> str:
    """The first of some columns of all that is observed, its range, and how many more there are."""
    i, width = int(which.argmax()), seen.spec.n_agents * seen.spec.obs_width
    agent, column = divmod(i, seen.spec.obs_width)
    name = f"obs column {column} of agent {agent}" if i < width else f"state column {i - width}"
    more = int(which.sum()) - 1
    return f"{name}{f' (and {more} more)' if more else ''} is {of(which, columns)}"


def determinism(seen: Seen) -> Iterator[Found]:
    """Whether everything follows from the seed, and something does."""
    play = seen.random
    if seen.baked:
        yield (
            "fault",
            (
                f"{' and '.join(seen.baked)}: another program each time it is compiled; what is random must come from "
                "the key, by jax.random"
            ),
        )
    if differ := differing(play.opening, play.again):
        yield "fault", f"{', '.join(differ)}: other values when the same seed is played again; must be the same"
    others = set(differing(play.opening, play.other))
    start = lambda steps: steps._replace(**{name: getattr(steps, name)[0] for name in ("obs", "state")})
    if not others & {"obs", "state", "reward"}:
        yield "warning", "obs, state, reward: the same under another seed and other actions; must follow from them"
    elif not set(differing(start(play.opening), start(play.other))) & {"obs", "state"}:
        yield "advice", "every episode begins the same, whatever the seed: a team may learn it by heart"
    yield "fine", "the same seed gives the same steps bit for bit, another seed others"


def differing(a: TimeStep, b: TimeStep) -> list[str]:
    """Fields of timesteps that are not the same bit for bit."""
    fields = [name for name in a._fields if not isinstance(getattr(a, name), tuple)]
    return [name for name in fields if getattr(a, name).tobytes() != getattr(b, name).tobytes()]

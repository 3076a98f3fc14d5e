"""What random and scripted play tell about an environment: findings, each with a level and one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from tutelage.data.watch import describe_fault
from tutelage.experiment.check_course import determinism, ends, lengths, resets
from tutelage.experiment.check_inputs import input_findings, masks
from tutelage.experiment.check_play import Seen
from tutelage.experiment.check_words import Found, agents_text, percent, summed
from tutelage.experiment.stats import wilson

Level = Literal["fault", "warning", "advice", "fine"]
LARGE_RETURN, SMALL_RETURN, GOOD_RETURN = 100.0, 0.1, 10.0
"""Scaled returns beyond the first two are far from what value functions are used to; the third is advised."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, worst first in a card: `level`, what it is `about`, and a line."""

    level: Level
    about: str
    text: str


def values(seen: Seen) -> Iterator[Found]:
    """Numbers that are none, actions that do not exist or were not taken."""
    faults = {name: code for play in reversed(seen.plays) for name, code in play.tally.faults.items()}
    for name, code in faults.items():
        yield "fault", f"{describe_fault(name, code)}; {EXPECTED[name[1:].partition(' ')[0]]}"
    if any(play.tally.untaken for play in seen.plays) and not any(name.startswith("?action ") for name in faults):
        count = sum(play.tally.untaken for play in seen.plays)
        yield "fault", f"action is another than the one that was taken, {count} times; must be what led to the step"
    yield "fine", "reward, discount, obs and state are finite; actions are those that were taken"


EXPECTED = {
    "reward": "must be finite",
    "discount": "must be from 0 to 1",
    "obs": "must be finite",
    "state": "must be finite",
    "goals": "must be finite",
    "action": "must be one of the spec's n_actions",
    "an": "must be one of the spec's n_actions",
    "last": "must be true at max_steps at the latest, and never on a first step",
}
"""What a field must be, by its name in a fault."""


def reward(seen: Seen) -> Iterator[Found]:
    """The size of rewards and returns, and how often there is one."""
    paid = np.concatenate([play.flow.reward[~play.flow.first] for play in seen.plays])
    paid = np.abs(paid[np.isfinite(paid)])
    returns = np.concatenate([play.episodes.returns for play in seen.plays])
    size, scale = np.abs(returns[np.isfinite(returns)]).max(initial=0.0), seen.spec.reward_scale
    rewarded = paid[paid > 0]
    share = len(rewarded) / max(1, len(paid))
    if not len(rewarded):
        yield "warning", f"reward was 0 in all {len(paid):,} steps; there is nothing to learn from"
        return
    if share < 0.01:
        yield "advice", f"reward is not 0 in {percent(share)} of steps only; learning from so few is slow"
    if rewarded.max() > 50 * np.median(rewarded):
        usual = np.median(rewarded)
        yield "advice", f"reward reaches {rewarded.max():.3g}, and is usually {usual:.3g}: clip or scale the largest"
    if size and not SMALL_RETURN <= scale * size <= LARGE_RETURN:
        yield (
            "advice",
            (
                f"returns reach {size:.3g} and spec.reward_scale is {scale:g}; {float(f'{GOOD_RETURN / size:.1g}'):g} "
                f"would bring them to about {GOOD_RETURN:g}"
            ),
        )
    usual = np.median(rewarded)
    yield "fine", f"not 0 in {percent(share)} of steps, then usually {usual:.3g}; returns reach {size:.3g}"


def success(seen: Seen) -> Iterator[Found]:
    """Whether success can be reached."""
    names = ("random", "scripted")[: len(seen.plays)]
    outcomes = [play.episodes for play in seen.plays]
    if seen.scripted and len(outcomes[0].returns) and len(outcomes[1].returns):
        scores = [float((x.success if seen.spec.measure == "success" else x.returns).mean()) for x in outcomes]
        if scores[1] < scores[0]:
            yield "advice", f"{seen.spec.measure}: the scripted controller has {scores[1]:.3g}, random {scores[0]:.3g}"
    if seen.spec.measure == "return":
        yield "fine", "the score is the return; success is not looked at"
        return
    won, n = sum(int(x.success.sum()) for x in outcomes), sum(len(x.success) for x in outcomes)
    if n and not won:
        level = "warning" if seen.scripted else "advice"
        yield level, f"{' and '.join(names)} play never succeeded in {n} episodes ({percent(wilson(0, n)[1])} at most)"
    elif n and outcomes[0].success.mean() > 0.9:
        yield "advice", f"random play succeeds in {percent(outcomes[0].success.mean())}: too easy to tell teams apart"
    yield "fine", "success is reached" if won else "no episode ended"


def links(seen: Seen) -> Iterator[Found]:
    """Who hears whom."""
    if not seen.spec.links:
        return
    heard = summed(play.tally.links for play in seen.plays) * ~np.eye(seen.spec.n_agents, dtype=bool)
    steps = sum(play.flow.last.size for play in seen.plays)
    if not heard.any(1).all():
        yield "advice", f"links: {agents_text(~heard.any(1))} never heard another"
    pairs = seen.spec.n_agents * (seen.spec.n_agents - 1)
    yield "fine", f"an agent hears another in {percent(heard.sum() / max(1, steps * pairs))} of steps"


AREAS: dict[str, Callable[[Seen], Iterator[Found]]] = {
    "values": values,
    "obs": partial(input_findings, "obs"),
    "state": partial(input_findings, "state"),
    "masks": masks,
    "ends": ends,
    "lengths": lengths,
    "resets": resets,
    "determinism": determinism,
    "reward": reward,
    "success": success,
    "links": links,
}
ORDER = ("fault", "warning", "advice", "fine")


def findings_of(seen: Seen, areas: Sequence[str] = tuple(AREAS)) -> tuple[Finding, ...]:
    """What is to be said, the worst first; an area with nothing wrong has a line of its own."""
    found: list[Finding] = []
    for area in areas:
        own = [Finding(level, area, text) for level, text in AREAS[area](seen)]
        wrong = [finding for finding in own if finding.level != "fine"]
        found += wrong or own
    return tuple(sorted(found, key=lambda finding: ORDER.index(finding.level)))

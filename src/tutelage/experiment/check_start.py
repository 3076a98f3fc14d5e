"""The cheap part of a check, before a training begins: a short random play of an environment that is a user's."""

from __future__ import annotations

from tutelage.experiment.check_course import order_of
from tutelage.experiment.check_inputs import masks, row_findings
from tutelage.experiment.check_play import Play, Seen, keys_of, make_player
from tutelage.experiment.check_tally import flow_of, tally_of, whole_episodes
from tutelage.experiment.input_scale import scale_warnings
from tutelage.policies.acting import random_policy, sample
from tutelage.types import Environment

STEPS, ENVS = 64, 8
"""Length and number of environments of the play that is looked at."""
MOST_LINES = 2


def start_warnings(env: Environment, normalised: bool = False) -> tuple[str, ...]:
    """At most MOST_LINES warnings on a user's or another package's environment; none on those of this package.

    Args:
        normalised: whether networks normalise what they read, so that sizes do not matter.

    Raises:
        Fault: a process that plays it failed.
    """
    if not env.watched:
        return ()
    player = make_player(env, env.watched, random_policy(), sample, ENVS, STEPS, quick=True)
    _, (steps, taken, faults), _ = player.piece(player.begin(keys_of(0, 0)), keys_of(0, 1))
    flow, tally = flow_of(steps), tally_of(steps, taken, faults, opens=True)
    play = Play(flow, tally, whole_episodes(flow, STEPS), 0, ENVS, 0.0, 0.0, steps, steps, steps)
    seen = Seen(env.watched, env.spec, play, None, ())
    wrong = (*row_findings(seen.plays), *masks(seen), *order_of(seen))
    sizes = () if normalised else scale_warnings(env.watched, tally.obs.largest.max(0), tally.state.largest)
    lines = (
        *sizes,
        *(f"warning: {text} (more: tutelage check {env.watched})" for level, text in wrong if level in SERIOUS),
    )
    return lines[:MOST_LINES]


SERIOUS = ("fault", "warning")

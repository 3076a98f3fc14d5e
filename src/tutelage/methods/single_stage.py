"""A method of one stage, whose only role is the team that it trains."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import PRNGKeyArray

from tutelage.types import Method, Params, Policy, Stage, TrainState


def single_stage(
    init: Callable[[PRNGKeyArray], TrainState], stage: Stage, team: Policy, params: Callable[[TrainState], Params]
) -> Method:
    """The method; `params` gives the team's parameters of a train state."""
    return Method(init, (stage,), {"student": team}, lambda state: {"student": params(state)})

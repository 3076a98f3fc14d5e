"""A method of one stage, whose only role is the team that it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxtyping import PRNGKeyArray

from tutelage.types import Method, Params, Policy, Stage, TrainState


def single_stage(
    init: Callable[[PRNGKeyArray], TrainState],
    stage: Stage,
    team: Policy,
    params: Callable[[TrainState], Params],
    put: Callable[[TrainState, Params], TrainState],
    copy_targets: Callable[[TrainState], TrainState],
) -> Method:
    """The method; `params` gives the team's parameters of a train state, and `put` replaces them."""

    def with_params(state: TrainState, given: Mapping[str, Params]) -> TrainState:
        return put(state, given["student"]) if "student" in given else state

    return Method(
        init,
        (stage,),
        {"student": team},
        lambda state: {"student": params(state)},
        with_params=with_params,
        copy_targets=copy_targets,
    )

"""What a parallel environment in Python returned, checked by value: one line says what is wrong. No jax here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from tutelage.errors import BadInput, short

STEP_PARTS = ("observations", "rewards", "terminations", "truncations", "infos")
RESET_PARTS = ("observations", "infos")


def check_count(part: str, returned: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """What `reset` or `step` returned; raises BadInput where it is no tuple of as many values as there are names.

    Args:
        part: `LABEL: reset` or `LABEL: step`, for messages.
    """
    if not isinstance(returned, tuple) or len(returned) != len(names):
        found = f"a tuple of {len(returned)}" if isinstance(returned, tuple) else f"a {type(returned).__name__}"
        raise BadInput(f"{part} gives {found}, must give ({', '.join(names)})")
    return returned


def check_parts(part: str, returned: Any, names: tuple[str, ...], agents: Collection[Any]) -> tuple[Any, ...]:
    """What `reset` or `step` returned, as its dicts by agent.

    Args:
        names: of the dicts. agents: all possible ones.

    Raises:
        BadInput: it is something else, or names an agent that there is not.
    """
    for name, values in zip(names, check_count(part, returned, names), strict=True):
        if not isinstance(values, Mapping):
            raise BadInput(f"{part}: {name} are a {type(values).__name__}, must be a dict by agent")
        check_known(f"{part}: {name}", values, agents)
    return returned


def check_known(label: str, found: Iterable[Any], agents: Collection[Any]) -> None:
    """Raise BadInput for an agent that there is not."""
    for agent in found:
        if agent not in agents:
            raise BadInput(f"{label} name {agent!r}; possible agents are {short(', '.join(map(str, agents)), str)}")


def check_observed(part: str, living: Iterable[Any], observations: Mapping[Any, Any]) -> None:
    """Raise BadInput where an agent of `agents` observes nothing."""
    for agent in living:
        if agent not in observations:
            raise BadInput(f"{part}: {agent!r} is among its agents and has no observation; must have one")


def check_rewards(part: str, rewards: Mapping[Any, Any]) -> None:
    """Raise BadInput for a reward that is no number."""
    for agent, reward in rewards.items():
        if not is_scalar(reward):
            raise BadInput(f"{part}: reward of {agent!r} is {short(reward)}, must be a number")


def check_mask(agent: Any, mask: Any, count: int) -> np.ndarray:
    """An action mask; raises BadInput where it is not one number for each action."""
    found = np.asarray(mask)
    if found.shape != (count,) or found.dtype.kind not in "bif":
        raise BadInput(f"action_mask of {agent!r} is {found.dtype} {found.shape}, must be {count} of 0 or 1")
    return found.astype(bool)


def scalars(infos: Iterable[Mapping[Any, Any]]) -> dict[str, float]:
    """The numbers in the infos of agents by key, each the mean over the agents that have it."""
    found: dict[str, list[float]] = {}
    for info in infos:
        for key, value in info.items():
            if isinstance(key, str) and is_scalar(value):
                found.setdefault(key, []).append(float(value))
    return {key: float(np.mean(values)) for key, values in found.items()}


def is_scalar(value: Any) -> bool:
    """Whether a value is one number, or a truth value."""
    return isinstance(value, Real | np.bool_) or (isinstance(value, np.ndarray) and value.shape == ())

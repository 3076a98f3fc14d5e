"""One instance of an environment on the host, whatever package it comes from. jax is not imported."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from tutelage.errors import BadInput

UNKNOWN_LENGTH = 1000
"""Steps after which an episode is cut off where nothing says how long it may be."""


@dataclass(frozen=True)
class Facts:
    """What does not change: agents, widths, lengths.

    Attributes:
        agents: their names. obs_widths, action_counts: of each. state_width: S.
        columns: `NAME [UNIT]` of each agent's row.
        max_steps: after which an episode is cut off at the latest.
        version: of the package and the environment.
        measure: `success` where success is defined, else `return`.
        info: names of the environment's own quantities, numbers that its infos hold in every step.
    """

    agents: tuple[str, ...]
    obs_widths: tuple[int, ...]
    action_counts: tuple[int, ...]
    state_width: int
    columns: tuple[tuple[str, ...], ...]
    max_steps: int
    version: str
    measure: str
    info: tuple[str, ...] = ()


class Moment(NamedTuple):
    """One step of one instance; rows are padded to the widest agent.

    Attributes:
        obs (N, D), state (S,), avail (N, A), alive (N,): as of a TimeStep.
        reward: of the team. terminated: the episode truly ended. truncated: it was cut off. success: see Settings.
        info: the environment's own quantities, in the order of `Facts.info`.
    """

    obs: np.ndarray
    state: np.ndarray
    avail: np.ndarray
    alive: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    success: bool
    info: np.ndarray


@runtime_checkable
class World(Protocol):
    """One instance.

    Attributes:
        shown: the numbers in the infos of its last step, by key.
    """

    facts: Facts
    shown: dict[str, float]

    def reset(self, seed: int) -> Moment: ...
    def step(self, actions: np.ndarray) -> Moment: ...
    def draw(self) -> np.ndarray: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Settings:
    """How a team is judged in an environment that says nothing about teams.

    Attributes:
        reward: `mean`, `sum`, or an agent's name.
        success: an info key, `return>=X`, or "" for none.
        max_steps: where the environment's own limit is unknown or too long; None: its own.
        info: `KEY,KEY`: numbers of its infos that are logged beside those that its first step shows.
    """

    reward: str = "mean"
    success: str = ""
    max_steps: int | None = None
    info: str = ""

    def __post_init__(self) -> None:
        if self.max_steps is not None and self.max_steps < 1:
            raise BadInput(f"max_steps = {self.max_steps}: must be at least 1")

    @property
    def info_keys(self) -> tuple[str, ...]:
        """The keys of `info`."""
        return tuple(key for part in self.info.split(",") if (key := part.strip()))

    def team_reward(self, rewards: Mapping[str, float]) -> float:
        """The team's reward of the agents that got one in this step."""
        if self.reward in ("mean", "sum"):
            total = float(sum(rewards.values()))
            return total / max(1, len(rewards)) if self.reward == "mean" else total
        return float(rewards.get(self.reward, 0.0))

    def judge(self) -> Callable[[float, Any], bool]:
        """(return so far, infos of the agents) -> whether the team succeeded.

        Raises:
            BadInput: a threshold that is no number.
        """
        if not self.success:
            return lambda total, infos: False
        threshold, key = threshold_of(self.success), self.success
        if threshold is None:
            return lambda total, infos: any(bool(info.get(key, False)) for info in infos)
        return lambda total, infos: total >= threshold


def threshold_of(success: str) -> float | None:
    """X of `return>=X`; None for anything else, which is an info's key; raises BadInput where X is no number."""
    found = re.fullmatch(r"return\s*>=\s*(\S+)", success)
    try:
        return float(found[1]) if found else None
    except ValueError:
        raise BadInput(f"success = {success!r}: must be an info key, or return>=X with a number X") from None


def agent_type(name: str) -> str:
    """The type of an agent: agents whose names differ in a number only are of one type."""
    return name.rstrip("0123456789").rstrip("_- ") or "agent"

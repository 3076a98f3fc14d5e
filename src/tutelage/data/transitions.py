"""What was chosen where, and what came of it."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Array, Bool, Float, Int

from tutelage.data.trees import before
from tutelage.types import TimeStep


@runtime_checkable
class Played(Protocol):
    """A Rollout, or what a method makes of one: steps (T + 1, B, ...), and which transitions are valid."""

    @property
    def steps(self) -> TimeStep: ...

    @property
    def valid(self) -> Bool[Array, "T B"]: ...


class Transitions(NamedTuple):
    """The T transitions of a rollout.

    Attributes:
        now: the timesteps at which the actions were chosen, (T, B, ...).
        action, reward, discount: what was done there, and what came of it.
        valid: see Rollout.
        counts: decisions that enter a loss: of agents that act, in transitions that are valid.
    """

    now: TimeStep
    action: Int[Array, "T B N"]
    reward: Float[Array, "T B"]
    discount: Float[Array, "T B"]
    valid: Bool[Array, "T B"]
    counts: Bool[Array, "T B N"]


def transitions(rollout: Played) -> Transitions:
    """Timesteps, actions and what came of them, (T, B, ...) each."""
    steps, valid, now = rollout.steps, rollout.valid, before(rollout.steps)
    counts = valid[..., None] & now.acts
    return Transitions(now, steps.action[1:], steps.reward[1:], steps.discount[1:], valid, counts)

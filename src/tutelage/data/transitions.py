"""What was chosen where, and what came of it."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from tutelage.data.trees import before
from tutelage.types import Rollout, TimeStep


class Transitions(NamedTuple):
    """The T transitions of a rollout.

    Attributes:
        now: the timesteps at which the actions were chosen, (T, B, ...).
        action, reward, discount: what was done there, and what came of it.
        valid: see Rollout.
    """

    now: TimeStep
    action: Int[Array, "T B N"]
    reward: Float[Array, "T B"]
    discount: Float[Array, "T B"]
    valid: Bool[Array, "T B"]


def transitions(rollout: Rollout) -> Transitions:
    """Timesteps, actions and what came of them, (T, B, ...) each."""
    steps = rollout.steps
    return Transitions(before(steps), steps.action[1:], steps.reward[1:], steps.discount[1:], rollout.valid)

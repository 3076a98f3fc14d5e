"""Shaping rewards for progress towards goals.

Reference: Ng et al. 1999 (potentials); paying the first completion on top is HINT's here (docs/methods/hint.md).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tutelage.types import Goals


def at_goal(x: Array, goal: Int[Array, "*b"]) -> Array:
    """The entry of x (*b, M, ...) at each agent's goal; without a goal (index M) the last one, which means nothing."""
    axis = goal.ndim
    index = jnp.minimum(goal, x.shape[axis] - 1).reshape(*goal.shape, *[1] * (x.ndim - axis))
    return jnp.take_along_axis(x, index, axis).squeeze(axis)


def goal_progress(
    goals: Goals, goal: Int[Array, "T B N"], first: Bool[Array, "T B"], gamma: float
) -> Float[Array, "T B N"]:
    """Shaping reward: g Phi' - Phi of the goal held, plus 1 on its first completion; 0 without a goal (index M).

    Args:
        goals: leaves (T + 1, B, N, M).
        first: where episodes begin.
    """
    gain = gamma * at_goal(goals.potential[1:], goal) - at_goal(goals.potential[:-1], goal)
    done = first_completion(goal, at_goal(goals.reached[:-1], goal), at_goal(goals.reached[1:], goal), first)
    return jnp.where(goal < goals.valid.shape[-1], gain + done, 0.0)


def first_completion(
    goal: Int[Array, "T B N"], was: Bool[Array, "T B N"], now: Bool[Array, "T B N"], first: Bool[Array, "T B"]
) -> Bool[Array, "T B N"]:
    """Where a goal is completed for the first time since the agent got it: reaching it again earns nothing.

    Args:
        goal: what is held. was, now: whether it is reached before and after the step. first: where episodes begin.
    """

    def body(before: tuple[Array, Array], step: tuple[Array, ...]) -> tuple[tuple[Array, Array], Array]:
        goal, was, now, first = step
        before_now = was | (before[1] & (goal == before[0]) & ~first[:, None])
        return (goal, before_now | now), now & ~before_now

    start = goal[0], jnp.zeros_like(was[0])
    return jax.lax.scan(body, start, (goal, was, now, first))[1]


def most_promising(goals: Goals) -> Int[Array, "*b N"]:
    """For every agent the valid goal with the highest potential; M where there is none."""
    best = jnp.where(goals.valid, goals.potential, -jnp.inf).argmax(-1)
    return jnp.where(goals.valid.any(-1), best, goals.valid.shape[-1])

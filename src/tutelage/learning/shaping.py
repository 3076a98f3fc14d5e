"""Rewards for coming nearer to goals.

Reference: Ng et al. 1999 (potentials); paying the first completion on top is HINT's here (docs/methods/hint.md).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tutelage.types import Goals


def progress(goals: Goals, goal: Int[Array, "T B N"], gamma: float) -> Float[Array, "T B N"]:
    """g Phi' - Phi of the goal held, and 1 where it was completed for the first time; 0 without a goal (index M).

    Args:
        goals: leaves (T + 1, B, N, M).
    """
    none = goals.valid.shape[-1]
    index = jnp.minimum(goal, none - 1)[..., None]
    of = lambda x: jnp.take_along_axis(x, index, -1)[..., 0]
    gain = gamma * of(goals.potential[1:]) - of(goals.potential[:-1])
    return jnp.where(goal < none, gain + first_time(goal, of(goals.reached[:-1]), of(goals.reached[1:])), 0.0)


def first_time(goal: Int[Array, "T B N"], was: Bool[Array, "T B N"], now: Bool[Array, "T B N"]) -> Bool[Array, "T B N"]:
    """Where a goal is completed for the first time since it was given: going in and out earns nothing.

    Args:
        goal: what is held. was, now: whether it is reached before and after the step.
    """

    def body(before: tuple[Array, Array], step: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        goal, was, now = step
        had = was | (before[1] & (goal == before[0]))
        return (goal, had | now), now & ~had

    start = goal[0], jnp.zeros_like(was[0])
    return jax.lax.scan(body, start, (goal, was, now))[1]


def most_promising(goals: Goals) -> Int[Array, "*b N"]:
    """For every agent the possible goal of the highest potential; M where there is none."""
    best = jnp.where(goals.valid, goals.potential, -jnp.inf).argmax(-1)
    return jnp.where(goals.valid.any(-1), best, goals.valid.shape[-1])

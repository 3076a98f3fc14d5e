"""Environments out of functions of B instances at once, whose axis is the *last* of every array of a state.

That axis is the long one, so every operation is a loop over neighbouring numbers, which is faster than `vmap`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.envs.parts import first_timestep, next_timestep
from tutelage.types import Environment, EnvState, Goals, Sensed, TimeStep, VectorEnv


class Outcome(NamedTuple):
    """What a step of B instances came to: the last three say whether it ended, was won, and ended for good."""

    reward: Float[Array, " B"]
    last: Bool[Array, " B"]
    won: Bool[Array, " B"]
    terminal: Bool[Array, " B"]


class Noise(NamedTuple):
    """How the random numbers are drawn that functions of B instances are given.

    Attributes:
        begin, step: (key, B) -> what `begin`, or `advance`, is given.
        both: (key, B) -> both, for a step after which new episodes begin; the first as a function without arguments.
    """

    begin: Callable[[PRNGKeyArray, int], Any]
    step: Callable[[PRNGKeyArray, int], Any]
    both: Callable[[PRNGKeyArray, int], tuple[Callable[[], Any], Any]]


class Batched(NamedTuple):
    """The functions of B instances that an environment is made of.

    Attributes:
        begin: noise -> states of new episodes.
        advance: (states, actions (N, B), noise) -> (states, Outcome).
        sense: states -> Sensed (B, ...).
        goals: states -> Goals (M, ..., B), the instances last as in a state.
        noise: how their random numbers are drawn.
        rare: beginning is costly: it is computed only in steps after which some episode begins.
        stored: states -> what a replay must keep to observe them anew.
    """

    begin: Callable[[Any], EnvState]
    advance: Callable[[EnvState, Int[Array, "N B"], Any], tuple[EnvState, Outcome]]
    sense: Callable[[EnvState], Sensed]
    goals: Callable[[EnvState], Goals]
    noise: Noise
    rare: bool = False
    stored: Callable[[EnvState], EnvState] = lambda states: states


def uniform_noise(begin: int, step: int) -> Noise:
    """Uniform numbers for each instance, so many for a new episode and for a step; those of both are drawn at once."""

    def both(key: PRNGKeyArray, n: int) -> tuple[Callable[[], Array], Array]:
        numbers = jax.random.uniform(key, (begin + step, n))
        return lambda: numbers[:begin], numbers[begin:]

    draw = lambda size: lambda key, n: jax.random.uniform(key, (size, n))
    return Noise(draw(begin), draw(step), both)


def instances_first(tree: Any) -> Any:
    """The last axis of every leaf as its first."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, -1, 0), tree)


def instances_last(tree: Any) -> Any:
    """The first axis of every leaf as its last."""
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, -1), tree)


class FromBatched(Environment):
    """What an Environment does with states, for one instance and, by `vector`, for many: made of `Batched` functions.

    Subclasses give these, and what it looks like and who plays it: `spec`, `draw`, `places`, `scripted`.
    """

    @property
    @abstractmethod
    def batched(self) -> Batched:
        """The functions that it is made of."""

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        state = self._one(self.batched.begin(self.batched.noise.begin(key, 1)))
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        noise = self.batched.noise.step(key, 1)
        state, outcome = self._one(self.batched.advance(self._several(state), action[:, None], noise))
        return state, next_timestep(self.sense(state), action, *outcome)

    def sense(self, state: EnvState) -> Sensed:
        return jax.tree.map(lambda x: x[0], self.batched.sense(self._several(state)))

    def goals(self, state: EnvState) -> Goals:
        return self._one(self.batched.goals(self._several(state)))

    def vector(self, n: int) -> VectorEnv:
        """`n` instances side by side."""
        batched = self.batched

        def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
            state = batched.begin(batched.noise.begin(key, n))
            return state, jax.vmap(first_timestep)(batched.sense(state))

        def step(
            key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
        ) -> tuple[EnvState, TimeStep]:
            begin_noise, step_noise = batched.noise.both(key, n)
            after, outcome = batched.advance(state, action.T, step_noise)
            begin = lambda: batched.begin(begin_noise())
            initial = jax.lax.cond(timestep.last.any(), begin, lambda: after) if batched.rare else begin()
            return first_or_next(batched.sense, timestep.last, initial, after, action, outcome)

        return VectorEnv(
            reset,
            step,
            n,
            pack=lambda state: instances_first(batched.stored(state)),
            sense=lambda packed: batched.sense(instances_last(packed)),
            goals=lambda state: instances_first(batched.goals(state)),
        )

    @staticmethod
    def _several(state: EnvState) -> EnvState:
        return jax.tree.map(lambda x: x[..., None], state)

    @staticmethod
    def _one(tree: Any) -> Any:
        return jax.tree.map(lambda x: x[..., 0], tree)


STEP_FIELDS = ("action", "reward", "discount", "first", "last", "success")
"""Fields of a timestep that are not sensed: they differ between the first step of an episode and others."""


def first_or_next(
    sense: Callable[[EnvState], Sensed],
    begins: Bool[Array, " B"],
    initial: EnvState,
    following: EnvState,
    action: Int[Array, "B N"],
    outcome: Outcome,
) -> tuple[EnvState, TimeStep]:
    """State and timestep of B episodes: the first step of a new episode where one begins, else the next step.

    It observes once, after the choice, so that the other branch costs nothing.

    Args:
        begins: where a new episode begins. initial: its state.
        following: the state that `action` led to, with this outcome.
    """
    state = jax.tree.map(lambda a, b: jnp.where(begins, a, b), initial, following)
    sensed = sense(state)
    opening, continued = jax.vmap(first_timestep)(sensed), jax.vmap(next_timestep)(sensed, action, *outcome)
    pick = lambda a, b: jnp.where(begins.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    fields = {name: pick(getattr(opening, name), getattr(continued, name)) for name in STEP_FIELDS}
    return state, continued._replace(**fields)

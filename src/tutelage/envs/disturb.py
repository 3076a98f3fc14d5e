"""Disturbances of what agents observe, hear and can do, as a wrapper of any environment; see docs/stress.md.

What is drawn for a step is a function of a random key in the wrapper's state, so a state is sensed anew as it was seen.
The environment itself gets the keys that it gets without the wrapper, so its own random numbers stay the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.disturb import Disturbance
from tutelage.errors import BadInput
from tutelage.types import Block, Environment, EnvState, Policy, Sensed, Spec, TimeStep, VectorEnv


class Amounts(NamedTuple):
    """How much is disturbed, by the fields of `configs.disturb.Disturbance`; None: not at all.

    The numbers may be traced, so that one compiled program serves several of them.
    """

    noise: Any = None
    dropout: Any = None
    delay: Any = None
    lost: Any = None
    lost_from: Any = 0
    lost_messages: Any = None

    @property
    def draws(self) -> bool:
        """Whether random numbers are needed."""
        return not (self.noise is None and self.dropout is None and self.lost_messages is None)


class Kept(NamedTuple):
    """What is kept of one instance beside its own state; () where nothing needs it.

    Attributes:
        key: data of the random key of this step.
        age: steps of the episode so far.
        recent: (K, N, D) what was to be observed in the last K steps, the present one first. Before an episode's
            first step it is that step's.
    """

    key: Any
    age: Any
    recent: Any


class DisturbedState(NamedTuple):
    """State of the environment itself, and what the wrapper keeps."""

    inner: EnvState
    kept: Kept


def disturb(name: str, env: Environment, options: Disturbance) -> Environment:
    """An environment with the disturbances of its options; the same object where there are none.

    Raises:
        BadInput: it has no such agent or no messages, or the delay is as long as an episode.
    """
    check_disturbance(name, env.spec, options)
    amounts = Amounts(
        noise=options.noise or None,
        dropout=options.dropout or None,
        delay=options.delay or None,
        lost=options.lost,
        lost_from=options.lost_from,
        lost_messages=options.lost_messages or None,
    )
    if amounts == Amounts():
        return env
    disturbed = Disturbed(env, amounts, options.delay)
    if options.lost is not None:  # what notes of the environment say of available actions is not so for this agent
        lost = (
            f"Agent {options.lost} is lost from step {options.lost_from} on: its row is all 0, it has no available "
            f"action, and whatever it is told, its body does action {env.idle}."
        )
        disturbed.spec = replace(env.spec, notes=(*env.spec.notes, lost))
    return disturbed


def check_disturbance(name: str, spec: Spec, options: Disturbance) -> None:
    """Raise BadInput where disturbances do not fit an environment."""
    if options.lost is not None and options.lost >= spec.n_agents:
        raise BadInput(f"lost = {options.lost}: {name} has the agents 0 to {spec.n_agents - 1}")
    if options.delay >= spec.max_steps:
        raise BadInput(f"delay = {options.delay}: must be less than the {spec.max_steps} steps of {name}")
    if options.lost_messages and not spec.links:
        raise BadInput(f"lost_messages = {options.lost_messages}: agents of {name} have no links to talk over")


class Disturbed(Environment):
    """An environment whose agents observe, hear or do less than it lets them. World state and goals stay as they are.

    Attributes:
        inner: the environment itself. amounts: the disturbances. longest: no delay is above it.
    """

    def __init__(self, inner: Environment, amounts: Amounts, longest: int = 0) -> None:
        self.inner, self.amounts, self.longest = inner, amounts, longest
        self.spec, self.watched, self.idle = inner.spec, inner.watched, inner.idle
        self.on_host = inner.on_host
        self.goals = of_inner(inner.goals)
        self.places = of_inner(inner.places)
        self.vector = self._side_by_side if inner.vector else None

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        inner, timestep = self.inner.reset(key)
        kept = self.keep(None, timestep.first, timestep.obs, own_key(key))
        return DisturbedState(inner, kept), disturbed_timestep(self.seen, kept, timestep)

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        lost = self.lost(state.kept)
        inner, timestep = self.inner.step(key, state.inner, replaced(lost, self.idle, action))
        kept = self.keep(state.kept, timestep.first, timestep.obs, own_key(key))
        timestep = timestep._replace(action=replaced(lost, 0, timestep.action))
        return DisturbedState(inner, kept), disturbed_timestep(self.seen, kept, timestep)

    def sense(self, state: EnvState) -> Sensed:
        return self.seen(state.kept, self.inner.sense(state.inner))

    def draw(self, state: EnvState) -> np.ndarray:
        return self.inner.draw(state.inner)

    def scripted(self, name: str = "local") -> Policy:
        return self.inner.scripted(name)

    def __getattr__(self, part: str) -> Any:
        """What the package does not know, for a user's own method."""
        if part.startswith("__") or part == "inner":
            raise AttributeError(part)
        return getattr(self.inner, part)

    def _side_by_side(self, n: int) -> VectorEnv:
        """`n` instances of an environment that brings a VectorEnv of its own."""
        assert self.inner.vector is not None
        vector = self.inner.vector(n)
        keys = lambda key: jax.random.split(own_key(key), n)
        lost_each, keep_each, seen_each = jax.vmap(self.lost), jax.vmap(self.keep), jax.vmap(self.seen)

        def reset(key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
            inner, timestep = vector.reset(key)
            kept = keep_each(None, timestep.first, timestep.obs, keys(key))
            return DisturbedState(inner, kept), disturbed_timestep(seen_each, kept, timestep)

        def step(
            key: PRNGKeyArray, state: EnvState, timestep: TimeStep, action: Int[Array, "B N"]
        ) -> tuple[EnvState, TimeStep]:
            lost = lost_each(state.kept)
            inner, following = vector.step(key, state.inner, timestep, replaced(lost, self.idle, action))
            kept = keep_each(state.kept, following.first, following.obs, keys(key))
            following = following._replace(action=replaced(lost, 0, following.action))
            return DisturbedState(inner, kept), disturbed_timestep(seen_each, kept, following)

        return VectorEnv(
            reset,
            step,
            n,
            pack=lambda state: DisturbedState(vector.pack(state.inner), state.kept),
            sense=lambda packed: seen_each(packed.kept, vector.sense(packed.inner)),
            goals=of_inner(vector.goals),
        )

    def keep(self, kept: Kept | None, first: Array, obs: Float[Array, "N D"], key: PRNGKeyArray) -> Kept:
        """What is kept after a step; `kept`: before it, None where there was none."""
        amounts = self.amounts
        age: Any = ()
        recent: Any = ()
        if amounts.lost is not None:
            age = jnp.zeros((), jnp.int32) if kept is None else jnp.where(first, 0, kept.age + 1)
        if amounts.delay is not None:
            recent = jnp.broadcast_to(obs, (self.longest + 1, *obs.shape))
            if kept is not None:
                recent = jnp.where(first, recent, jnp.concatenate([obs[None], kept.recent[:-1]]))
        return Kept(jax.random.key_data(key) if amounts.draws else (), age, recent)

    def lost(self, kept: Kept) -> Bool[Array, " N"] | None:
        """Which agents are lost; None where none ever is."""
        if self.amounts.lost is None:
            return None
        return (jnp.arange(self.spec.n_agents) == self.amounts.lost) & (kept.age >= self.amounts.lost_from)

    def seen(self, kept: Kept, sensed: Sensed) -> Sensed:
        """What is observed of one instance: late, then with noise, then perhaps not at all."""
        amounts, obs, links = self.amounts, sensed.obs, sensed.links
        if amounts.delay is not None:
            obs = kept.recent[amounts.delay]
        if amounts.draws:
            for_noise, for_dropout, for_messages = jax.random.split(jax.random.wrap_key_data(kept.key), 3)
        if amounts.noise is not None:
            where = columns_that_show(self.spec, obs)
            obs = obs + jnp.where(where, amounts.noise * jax.random.normal(for_noise, obs.shape), 0.0)
        if amounts.dropout is not None:
            obs = jnp.where(jax.random.uniform(for_dropout, obs.shape[:1])[:, None] < amounts.dropout, 0.0, obs)
        if amounts.lost_messages is not None:
            links &= jax.random.uniform(for_messages, links.shape) >= amounts.lost_messages
        sensed = sensed._replace(obs=jnp.where(sensed.alive[:, None], obs, 0.0), links=links)
        lost = self.lost(kept)
        return sensed if lost is None else without(lost, sensed)


def of_inner(function: Callable[[EnvState], Any] | None) -> Callable[[EnvState], Any] | None:
    """A function of the environment's own state as one of the wrapper's; None where there is none."""
    return None if function is None else lambda state: function(state.inner)


def own_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """The wrapper's key of a step, beside that of the environment."""
    return jax.random.fold_in(key, 0xD157)


def replaced(lost: Bool[Array, "*B N"] | None, by: int, action: Int[Array, "*B N"]) -> Int[Array, "*B N"]:
    """A joint action in which lost agents take the action `by`."""
    return action if lost is None else jnp.where(lost, by, action)


def disturbed_timestep(seen: Callable[[Kept, Sensed], Sensed], kept: Kept, timestep: TimeStep) -> TimeStep:
    """A timestep as it is observed."""
    sensed = Sensed(*(getattr(timestep, name) for name in Sensed._fields))
    return timestep._replace(**seen(kept, sensed)._asdict())


def without(lost: Bool[Array, " N"], sensed: Sensed) -> Sensed:
    """What is observed where some agents are lost: these observe zeros, can do nothing, and neither speak nor hear."""
    links = sensed.links if isinstance(sensed.links, tuple) else sensed.links & ~lost & ~lost[:, None]
    return sensed._replace(
        obs=jnp.where(lost[:, None], 0.0, sensed.obs), avail=sensed.avail & ~lost[:, None], links=links
    )


def columns_that_show(spec: Spec, obs: Float[Array, "N D"]) -> Bool[Array, "N D"]:
    """Columns with something to observe: neither a narrower agent's padding nor an entity that is not seen.

    An entity that is not seen is all zeros; with noise it would look like one that stands beside the agent.
    """
    layouts = [spec.layout_of(agent) for agent in range(spec.n_agents)]
    show = jnp.arange(spec.obs_width) < jnp.array(spec.obs_widths)[:, None]
    for layout in dict.fromkeys(layouts):
        its_own = np.array([own == layout for own in layouts])[:, None]
        show &= ~its_own | ~unseen_entities(layout, obs)
    return show


def unseen_entities(layout: tuple[Block, ...], obs: Float[Array, "N D"]) -> Bool[Array, "N D"]:
    """The columns of entities of which every column is zero."""
    columns = np.arange(obs.shape[1])
    entities = [(block.start <= columns) & (columns < block.stop) for block in layout if block.place is not None]
    belongs = np.array(entities, np.float32).reshape(len(entities), len(columns))
    # Products instead of sums over reshaped columns: what is drawn is fused with those, and takes three times as long.
    unseen = (obs != 0).astype(jnp.float32) @ belongs.T == 0
    return unseen.astype(jnp.float32) @ belongs > 0

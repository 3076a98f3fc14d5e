"""An environment on the host as an Environment: its VectorEnv asks processes from inside the compiled loop."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, PRNGKeyArray

from tutelage.envs.host.build import Maker
from tutelage.envs.host.pool import Pool
from tutelage.envs.host.world import Facts, agent_type
from tutelage.errors import unknown
from tutelage.types import Block, Environment, Policy, Sensed, Spec, TimeStep, VectorEnv


class HostState(NamedTuple):
    """What is known here of an instance's state: what it was observed to be."""

    sensed: Sensed


def spec_of(facts: Facts) -> Spec:
    """The static facts of an environment on the host."""
    layouts = tuple(layout_of(columns) for columns in facts.columns)
    alike = len(set(layouts)) == 1
    return Spec(
        n_agents=len(facts.agents),
        n_actions=max(facts.action_counts),
        obs_width=max(facts.obs_widths),
        state_width=facts.state_width,
        max_steps=facts.max_steps,
        time_limit="truncation",
        agent_types=tuple(map(agent_type, facts.agents)),
        action_counts=facts.action_counts,
        obs_widths=facts.obs_widths,
        layout=layouts[0] if alike else (),
        version=facts.version,
        measure=facts.measure,  # type: ignore[arg-type]
        info=facts.info,
        own_layouts=() if alike else layouts,
    )


def layout_of(columns: tuple[str, ...]) -> tuple[Block, ...]:
    """One block of all columns of an agent's row."""
    return (Block("own", 0, len(columns), None, columns),)


class HostEnv(Environment):
    """An environment that runs in processes on the host.

    It plays in batches; one instance is a batch of one. `step` after an episode's end begins a new one.
    """

    def __init__(self, label: str, make: Maker, facts: Facts, workers: int | None = None) -> None:
        self.label, self._make, self._facts = label, make, facts
        self.spec = spec_of(facts)
        self._workers = workers or os.cpu_count() or 1
        self.watched, self.vector = label, self._vector
        self.idle, self.on_host = 0, True

    @cached_property
    def _single(self) -> tuple[VectorEnv, Pool]:
        pool = Pool(self.label, replace(self._make, pictures=True), self._facts, 1, 1)
        return vector_of(pool, self._facts, 1), pool

    def _vector(self, n: int) -> VectorEnv:
        return vector_of(Pool(self.label, self._make, self._facts, n, self._workers), self._facts, n)

    def reset(self, key: PRNGKeyArray) -> tuple[HostState, TimeStep]:
        return jax.tree.map(lambda x: x[0], self._single[0].reset(key))

    def step(self, key: PRNGKeyArray, state: HostState, action: Array) -> tuple[HostState, TimeStep]:
        vector = self._single[0]
        batch = jax.tree.map(lambda x: x[None], (state, action))
        return jax.tree.map(lambda x: x[0], vector.step(key, batch[0], None, batch[1]))  # type: ignore[arg-type]

    def sense(self, state: HostState) -> Sensed:
        return state.sensed

    def draw(self, state: HostState) -> np.ndarray:
        """A picture of what the one instance of `reset` and `step` came to last."""
        return self._single[1].draw()

    def scripted(self, name: str = "local") -> Policy:
        raise unknown(f"scripted controller of {self.label}", name, ())


def vector_of(pool: Pool, facts: Facts, n: int) -> VectorEnv:
    """A VectorEnv that asks a pool, by ordered callbacks that touch NumPy alone."""
    agents, width, actions = len(facts.agents), max(facts.obs_widths), max(facts.action_counts)
    f32, boolean = jnp.float32, jnp.bool_
    shapes = {
        "obs": ((n, agents, width), f32), "state": ((n, facts.state_width), f32),
        "avail": ((n, agents, actions), boolean), "alive": ((n, agents), boolean), "reward": ((n,), f32),
        "info": ((n, len(facts.info)), f32),
        **dict.fromkeys(("first", "terminated", "truncated", "success"), ((n,), boolean)),
    }  # fmt: skip
    results = {name: jax.ShapeDtypeStruct(*each) for name, each in shapes.items()}

    def copied(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: arrays[name].copy() if name in arrays else np.zeros(*shapes[name]) for name in shapes}

    def begin(seed: Any) -> dict[str, np.ndarray]:
        return copied(pool.reset(int(np.asarray(seed)[0])))

    def advance(action: Any) -> dict[str, np.ndarray]:
        return copied(pool.step(np.asarray(action)))

    def timestep(found: dict[str, Array], action: Array) -> tuple[HostState, TimeStep]:
        sensed = Sensed(found["obs"], found["state"], found["avail"], found["alive"])
        first, last = found["first"], found["terminated"] | found["truncated"]
        step = TimeStep(
            *sensed[:4],
            action=jnp.where(first[:, None], 0, action),
            reward=jnp.where(first, 0.0, found["reward"]),
            discount=1.0 - found["terminated"].astype(f32),
            first=first,
            last=last,
            success=found["success"],
            info={name: found["info"][:, i] for i, name in enumerate(facts.info)} or (),
        )
        return HostState(sensed), step

    def reset(key: PRNGKeyArray) -> tuple[HostState, TimeStep]:
        seed = jax.random.bits(key, (1,), jnp.uint32)
        return timestep(io_callback(begin, results, seed, ordered=True), jnp.zeros((n, agents), jnp.int32))

    def step(key: PRNGKeyArray, state: HostState, at: TimeStep, action: Array) -> tuple[HostState, TimeStep]:
        return timestep(io_callback(advance, results, action, ordered=True), action.astype(jnp.int32))

    return VectorEnv(reset, step, n, pack=lambda state: state, sense=lambda packed: packed.sensed)

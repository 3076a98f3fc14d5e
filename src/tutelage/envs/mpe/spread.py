"""simple_spread."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.envs import SpreadOptions
from tutelage.envs.canvas import BLUE, GREEN, INK
from tutelage.envs.mpe import notes
from tutelage.envs.mpe.base import NEAR, POSITION, RELATIVE, VELOCITY, Mpe
from tutelage.envs.mpe.physics import Bodies, World, length, relative, scatter, touching
from tutelage.envs.parts import NOTHING, Segment, blocks, controller, entity_columns, greedy_matching, steer
from tutelage.types import Carry, TimeStep

RADIUS = 0.15


class Spread(Mpe):
    """Cooperative navigation: cover every landmark, do not collide. Success: each landmark has an agent within 0.1."""

    name = "simple_spread"

    def __init__(self, options: SpreadOptions) -> None:
        n, self.local_ratio = options.n_agents, options.local_ratio
        own = Segment("own velocity", 2, columns=VELOCITY), Segment("own position", 2, columns=POSITION)
        others = [entity_columns(*what, 2, columns=RELATIVE) for what in (("landmark", n), ("agent", n - 1))]
        unused = Segment("said", 2 * (n - 1), columns=(NOTHING,) * 2 * (n - 1))
        layout = blocks(*own, *others[0], *others[1], unused)
        bodies = Bodies((RADIUS,) * n + (0.05,) * n, (5.0,) * n, solid=n)
        told = notes.spread(bodies, options.max_steps, self.local_ratio)
        super().__init__(bodies, layout, options.max_steps, action_names=notes.MOVE_NAMES, notes=told)

    def _open(self, key: PRNGKeyArray) -> World:
        return scatter(self.bodies, *jax.random.split(key))

    def _see(self, state: World, agent: int) -> Float[Array, " D"]:
        landmarks, others = relative(state, agent)
        said = jnp.zeros(2 * len(others))  # the game has a channel that nobody uses
        return jnp.concatenate([state.velocity[agent], state.place[agent], landmarks.ravel(), others.ravel(), said])

    def rewards(self, state: World) -> Float[Array, " N"]:
        """Minus own collisions, and minus every landmark's distance to the nearest agent."""
        n = self.n_bodies
        agents, landmarks = state.place[:n], state.place[n:]
        touched = touching(agents, agents, 2 * RADIUS) & ~jnp.eye(n, dtype=bool)
        uncovered = length(landmarks[:, None] - agents[None]).min(1).sum()
        return -touched.sum(1) * self.local_ratio - uncovered * (1 - self.local_ratio)

    def _success(self, state: World) -> Bool[Array, ""]:
        n = self.n_bodies
        return touching(state.place[n:], state.place[:n], NEAR).any(1).all()

    def _controllers(self) -> dict[str, Any]:
        """`local`: every agent matches all agents to landmarks, nearest pair first, and goes to its own."""
        n = self.spec.n_agents

        def one(obs: Float[Array, " D"]) -> Int[Array, ""]:
            landmarks = obs[4 : 4 + 2 * n].reshape(n, 2)
            others = obs[4 + 2 * n : 4 + 2 * n + 2 * (n - 1)].reshape(n - 1, 2)
            team = jnp.concatenate([jnp.zeros((1, 2)), others])
            match = greedy_matching(jnp.linalg.norm(team[:, None] - landmarks[None], axis=-1))
            return steer(landmarks[match[0]], obs[:2])

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            return carry, jax.vmap(jax.vmap(one))(ts.obs)

        return {"local": lambda: controller(act)}

    def draw(self, state: World) -> np.ndarray:
        """Landmarks green, filled once an agent is near enough; agents blue, as large as they collide."""
        canvas, agents, landmarks = self._canvas(state)
        for x, y in landmarks:
            reached = np.linalg.norm(agents - (x, y), axis=-1).min() < NEAR
            canvas.disc(x, y, NEAR, f"{GREEN}{'ff' if reached else '30'}", GREEN, 2)
        for i, (x, y) in enumerate(agents):
            canvas.disc(x, y, RADIUS, f"{BLUE}66", BLUE, 2)
            canvas.text(x, y, str(i), INK, 13)
        return canvas.array()

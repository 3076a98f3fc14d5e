"""simple_spread."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tutelage.configs.envs import SpreadOptions
from tutelage.envs.canvas import BLUE, GREEN, INK
from tutelage.envs.mpe.base import NEAR, Mpe
from tutelage.envs.parts import blocks, controller, greedy_matching, several, steer
from tutelage.envs.quiet import quiet_import
from tutelage.types import Carry, EnvState, TimeStep

with quiet_import():
    from jaxmarl.environments.mpe.simple_spread import SimpleSpreadMPE


class Spread(Mpe):
    """Cooperative navigation: cover every landmark, do not collide. Success: each landmark has an agent within 0.1."""

    name = "simple_spread"

    def __init__(self, options: SpreadOptions) -> None:
        n = options.n_agents
        game = SimpleSpreadMPE(num_agents=n, num_landmarks=n, local_ratio=options.local_ratio)
        entities = *several("landmark", n, 2), *several("agent", n - 1, 2)
        layout = blocks(("own velocity", 2), ("own position", 2), *entities, ("said", 2 * (n - 1)))
        super().__init__(game, layout, options.max_steps)

    def _success(self, state: EnvState) -> Bool[Array, ""]:
        n = self.spec.n_agents
        gap = jnp.linalg.norm(state.p_pos[n:, None] - state.p_pos[None, :n], axis=-1)
        return (gap.min(1) < NEAR).all()

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

    def draw(self, state: EnvState) -> np.ndarray:
        """Landmarks green, filled once an agent is near enough; agents blue, as large as they collide."""
        canvas, agents, landmarks = self._canvas(state)
        for x, y in landmarks:
            reached = np.linalg.norm(agents - (x, y), axis=-1).min() < NEAR
            canvas.disc(x, y, NEAR, f"{GREEN}{'ff' if reached else '30'}", GREEN, 2)
        for i, (x, y) in enumerate(agents):
            canvas.disc(x, y, 0.15, f"{BLUE}66", BLUE, 2)
            canvas.text(x, y, str(i), INK, 13)
        return canvas.array()

"""simple_tag."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.envs import TagOptions
from tutelage.envs.canvas import GREEN, GREY, INK, RED
from tutelage.envs.mpe.base import Mpe
from tutelage.envs.parts import blocks, controller, first_timestep, several, steer
from tutelage.envs.quiet import quiet_import
from tutelage.types import Carry, EnvState, TimeStep

with quiet_import():
    from jaxmarl.environments.mpe.simple_tag import SimpleTagMPE


class Tag(Mpe):
    """Three slow predators hunt one fast prey around two obstacles. Success: at least one catch.

    Option `prey`: `scripted` flees (the predators are the team), `learns` makes it the fourth agent as in jaxmarl's
    own game, with the mean of all four rewards as the team's. jaxmarl's scripted prey (`simple_facmac`) is not used:
    it reads the place of a predator for its own.
    """

    name = "simple_tag"
    stay = ("prey",)

    def __init__(self, options: TagOptions) -> None:
        # A predator's: two others, then the prey's place and velocity.
        entities = *several("obstacle", 2, 2), *several("agent", 2, 2), ("prey", 4, 0)
        layout = blocks(("own velocity", 2), ("own position", 2), *entities)
        self.flees = options.prey == "scripted"
        types = ("predator",) * 3 + (() if self.flees else ("prey",))
        super().__init__(SimpleTagMPE(), layout, options.max_steps, types)
        self.near = float(self.game.rad[0] + self.game.rad[3])  # they touch: a catch

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        """jaxmarl's field `goal`, unused in this game, holds whether there was a catch."""
        _, state = self.game.reset(key)
        state = state.replace(goal=jnp.zeros((), bool))
        return state, first_timestep(self.sense(state))

    def joint(self, state: EnvState, action: Int[Array, " N"]) -> dict[str, Array]:
        fled = {"agent_0": flee(state.p_pos[3], state.p_vel[3], state.p_pos[:3], state.p_pos[4:])}
        return super().joint(state, action) | (fled if self.flees else {})

    def _remember(self, state: EnvState) -> EnvState:
        caught = jnp.linalg.norm(state.p_pos[:3] - state.p_pos[3], axis=-1) < self.near
        return state.replace(goal=state.goal | caught.any())

    def _places(self, state: EnvState) -> Float[Array, "1 2"]:
        """Where the prey is."""
        return state.p_pos[3:4]

    def _success(self, state: EnvState) -> Bool[Array, ""]:
        return state.goal

    def _controllers(self) -> dict[str, Any]:
        """`local`: predators go to where the prey will be; a prey that learns flees as the scripted one does."""

        def chase(obs: Float[Array, " D"]) -> Int[Array, ""]:
            return steer(obs[12:14] + 0.3 * obs[14:16], obs[:2])

        def run(obs: Float[Array, " D"]) -> Int[Array, ""]:
            place = obs[2:4]
            return flee(place, obs[:2], obs[8:14].reshape(3, 2) + place, obs[4:8].reshape(2, 2) + place)

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            moves = jax.vmap(jax.vmap(chase))(ts.obs[:, :3])
            if self.flees:
                return carry, moves
            return carry, jnp.concatenate([moves, jax.vmap(run)(ts.obs[:, 3])[:, None]], 1)

        return {"local": lambda: controller(act)}

    def draw(self, state: EnvState) -> np.ndarray:
        """Obstacles grey, predators red, the prey green, once caught with a ring."""
        canvas, agents, obstacles = self._canvas(state)
        radius = np.asarray(self.game.rad)
        for (x, y), r in zip(obstacles, radius[4:], strict=True):
            canvas.disc(x, y, r, GREY)
        for i, ((x, y), r) in enumerate(zip(agents, radius[:4], strict=True)):
            canvas.disc(x, y, r, RED if i < 3 else GREEN, INK, 1)
        if state.goal:
            canvas.disc(agents[3, 0], agents[3, 1], 0.16, None, RED, 2)
        return canvas.array()


MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float32)
"""Directions of stay, left, right, down, up."""


def flee(
    place: Float[Array, "2"], velocity: Float[Array, "2"], hunters: Float[Array, "n 2"], obstacles: Float[Array, "m 2"]
) -> Int[Array, ""]:
    """The move after which, a little later, the nearest hunter is farthest; inside the map, around obstacles."""
    later = place + 0.3 * velocity + 0.4 * MOVES
    nearest = jnp.linalg.norm(later[:, None] - hunters, axis=-1).min(1)
    outside = jnp.maximum(jnp.abs(later) - 0.9, 0.0).sum(1)
    blocked = jnp.linalg.norm(later[:, None] - obstacles, axis=-1).min(1) < 0.3
    return (nearest - 3.0 * outside - 0.5 * blocked).argmax()

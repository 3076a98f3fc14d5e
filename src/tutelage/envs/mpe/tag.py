"""simple_tag."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.envs import TagOptions
from tutelage.envs.canvas import GREEN, GREY, INK, RED
from tutelage.envs.mpe import notes
from tutelage.envs.mpe.base import POSITION, RELATIVE, VELOCITY, Mpe
from tutelage.envs.mpe.physics import DOWN_UP, LEFT_RIGHT, Bodies, World, advance, relative, scatter, touching
from tutelage.envs.parts import Segment, blocks, controller, entity_columns, steer
from tutelage.types import Carry, TimeStep

PREDATOR, PREY, OBSTACLE = 0.075, 0.05, 0.2
"""Radii."""
BODIES = Bodies(
    radius=(PREDATOR,) * 3 + (PREY,) + (OBSTACLE,) * 2,
    thrust=(3.0,) * 3 + (4.0,),
    top_speed=(1.0,) * 3 + (1.3,),
    solid=6,
)


class Tag(Mpe):
    """Three slow predators hunt one fast prey around two obstacles. Success: at least one catch.

    Option `prey`: `scripted` flees (the predators are the team), `learns` makes it the fourth agent as in jaxmarl's
    own game, with the mean of all four rewards as the team's.
    """

    name = "simple_tag"
    stay = ("prey",)
    near = PREDATOR + PREY  # they touch: a catch

    def __init__(self, options: TagOptions) -> None:
        own = Segment("own velocity", 2, columns=VELOCITY), Segment("own position", 2, columns=POSITION)
        obstacles = entity_columns("obstacle", 2, 2, columns=RELATIVE)
        agents = lambda n: entity_columns("agent", n, 2, columns=RELATIVE)
        prey = Segment("prey", 4, 0, (*RELATIVE, *VELOCITY))
        layout = blocks(*own, *obstacles, *agents(2), prey)  # a predator's; the prey sees three predators
        width, self.flees = layout[-1].stop, options.prey == "scripted"
        types = ("predator",) * 3 + (() if self.flees else ("prey",))
        widths = (width,) * 3 + (() if self.flees else (width - 2,))  # the prey has its velocity in front already
        others = () if self.flees else ((), (), (), blocks(*own, *obstacles, *agents(3)))
        told = notes.tag(BODIES, options.max_steps, self.flees)
        super().__init__(BODIES, layout, options.max_steps, types, (), widths, others, notes.MOVE_NAMES, told)

    def _open(self, key: PRNGKeyArray) -> World:
        return scatter(BODIES, *jax.random.split(key))._replace(caught=jnp.zeros((), bool))

    def _act(self, state: World, action: Int[Array, " N"]) -> World:
        if self.flees:
            place = state.place
            action = jnp.append(action, flee(place[3], state.velocity[3], place[:3], place[4:]))
        return self._remember(advance(BODIES, state, action))

    def _remember(self, state: World) -> World:
        return state._replace(caught=state.caught | self._touched(state).any())

    def _touched(self, state: World) -> Bool[Array, "3"]:
        """Which predators touch the prey."""
        return touching(state.place[:3], state.place[3:4], self.near)[:, 0]

    def _see(self, state: World, agent: int) -> Float[Array, " D"]:
        obstacles, others = relative(state, agent)
        seen = [state.velocity[agent], state.place[agent], obstacles.ravel(), others.ravel()]
        return jnp.concatenate(seen if agent == 3 else [*seen, state.velocity[3]])

    def rewards(self, state: World) -> Float[Array, " N"]:
        """10 to every predator for each that touches the prey; a prey that learns loses that, and by the map's edge."""
        caught = 10.0 * self._touched(state).sum()
        hunt = jnp.full(3, caught)
        return hunt if self.flees else jnp.append(hunt, -caught - strayed(state.place[3]))

    def _places(self, state: World) -> Float[Array, "1 2"]:
        """Where the prey is."""
        return state.place[3:4]

    def _success(self, state: World) -> Bool[Array, ""]:
        return state.caught

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

    def draw(self, state: World) -> np.ndarray:
        """Obstacles grey, predators red, the prey green, once caught with a ring."""
        canvas, agents, obstacles = self._canvas(state)
        for x, y in obstacles:
            canvas.disc(x, y, OBSTACLE, GREY)
        for i, (x, y) in enumerate(agents):
            canvas.disc(x, y, BODIES.radius[i], RED if i < 3 else GREEN, INK, 1)
        if state.caught:
            canvas.disc(agents[3, 0], agents[3, 1], 0.16, None, RED, 2)
        return canvas.array()


WAYS = np.array([LEFT_RIGHT, DOWN_UP], np.float32).T
"""Directions of the moves."""


def strayed(place: Float[Array, "2"]) -> Float[Array, ""]:
    """What a prey pays near the map's edge and beyond: per direction 0 up to 0.9, 1 at the edge, never more than 10."""
    far = jnp.abs(place)
    beyond = jnp.minimum(jnp.exp(2 * far - 2), 10.0)
    return jnp.where(far < 0.9, 0.0, jnp.where(far < 1.0, (far - 0.9) * 10, beyond)).sum()


def flee(
    place: Float[Array, "2"], velocity: Float[Array, "2"], hunters: Float[Array, "n 2"], obstacles: Float[Array, "m 2"]
) -> Int[Array, ""]:
    """The move after which, a little later, the nearest hunter is farthest; inside the map, around obstacles."""
    later = place + 0.3 * velocity + 0.4 * WAYS
    nearest = jnp.linalg.norm(later[:, None] - hunters, axis=-1).min(1)
    outside = jnp.maximum(jnp.abs(later) - 0.9, 0.0).sum(1)
    blocked = jnp.linalg.norm(later[:, None] - obstacles, axis=-1).min(1) < 0.3
    return (nearest - 3.0 * outside - 0.5 * blocked).argmax()

"""What the particle environments share.

The world state is all observations side by side. An episode ends by the limit alone, which is a truncation. Rules and
random numbers are those of jaxmarl 0.2.0, with which a test compares every task step by step.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.envs.canvas import BLUE, GREEN, RED, Canvas, extent, places
from tutelage.envs.mpe.physics import Bodies, World, advance
from tutelage.envs.parts import first_timestep, next_timestep, pick_controller, xy
from tutelage.types import Block, Environment, Goals, Places, Policy, Sensed, Spec, TimeStep

NEAR = 0.1
"""Distance within which a landmark counts as reached."""
MOVES = 5
SIGNS = (RED, GREEN, BLUE)
"""Colours of landmarks that agents talk about."""
LENGTH, SPEED = "half map widths", "half map widths in 10 steps"
"""Units of columns: everything begins within [-1, 1], and a step lasts 0.1."""
VELOCITY, POSITION, RELATIVE = xy("velocity", SPEED), xy("position", LENGTH), xy("relative", LENGTH)


class Mpe(Environment):
    """What the particle environments share. Subclasses say what is seen, paid and a success, and how to draw it.

    Attributes:
        stay: types of agents that have no place to go to.
        near: distance within which they have come to it.
    """

    name: str
    stay: tuple[str, ...] = ()
    near: float = NEAR

    def __init__(
        self,
        bodies: Bodies,
        layout: tuple[Block, ...],
        max_steps: int,
        types: tuple[str, ...] = (),
        counts: tuple[int, ...] = (),
        widths: tuple[int, ...] = (),
        own_layouts: tuple[tuple[Block, ...], ...] = (),
        action_names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        """`layout`: the widest agent's columns. `types`: of the agents that learn, the first ones; () for all alike.
        `counts`, `widths`: actions and columns of each; () for the five moves, and for the whole layout.
        `own_layouts`, `action_names`, `notes`: see `Spec`."""
        self.bodies, self.n_bodies = bodies, len(bodies.thrust)
        n = len(types) or self.n_bodies
        widths, counts = widths or (layout[-1].stop,) * n, counts or (MOVES,) * n
        self.spec = Spec(
            n_agents=n,
            n_actions=max(counts),
            obs_width=max(widths),
            state_width=sum(widths),
            max_steps=max_steps,
            time_limit="truncation",
            agent_types=types or ("agent",) * n,
            action_counts=counts,
            obs_widths=widths,
            layout=layout,
            version="jaxmarl-0.2.0",  # whose dynamics these are: results that were made through it stay current
            measure="return",
            own_layouts=own_layouts,
            action_names=action_names,
            notes=notes,
        )

    def reset(self, key: PRNGKeyArray) -> tuple[World, TimeStep]:
        state = self._open(key)
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: World, action: Int[Array, " N"]) -> tuple[World, TimeStep]:
        state = self._act(state, action)
        last = state.step >= self.spec.max_steps
        success = last & self._success(state)
        reward = self.rewards(state).mean()
        return state, next_timestep(self.sense(state), action, reward, last, success, terminal=False)

    def sense(self, state: World) -> Sensed:
        spec = self.spec
        each = [self._see(state, agent) for agent in range(spec.n_agents)]
        return Sensed(
            obs=jnp.stack([jnp.pad(x, (0, spec.obs_width - x.shape[0])) for x in each]),
            state=jnp.concatenate(each),
            avail=jnp.arange(spec.n_actions) < jnp.asarray(spec.action_counts)[:, None],
            alive=jnp.ones(spec.n_agents, bool),
        )

    def goals(self, state: World) -> Goals:
        """Places to go to (see `_places`), for who can. Progress is coming nearer; one is reached within `near`."""
        n, where = self.spec.n_agents, self._places(state)
        way = where[None] - state.place[:n, None]
        far = jnp.linalg.norm(way, axis=-1)
        goes = jnp.broadcast_to(
            jnp.array([kind not in self.stay for kind in self.spec.agent_types])[:, None], far.shape
        )
        nearest = jnp.broadcast_to(jnp.where(goes, far, jnp.inf).min(0), far.shape)
        return Goals(
            features=jnp.concatenate([way, far[..., None], nearest[..., None]], -1),
            valid=goes,
            potential=-far,
            reached=goes & (far < self.near),
            thing=jnp.broadcast_to(jnp.arange(far.shape[1]), far.shape),
        )

    def rewards(self, state: World) -> Float[Array, " N"]:
        """What each agent earns for coming to this state; the team earns the mean."""
        raise NotImplementedError

    def _open(self, key: PRNGKeyArray) -> World:
        raise NotImplementedError

    def _act(self, state: World, action: Int[Array, " N"]) -> World:
        """Actions are moves, unless a subclass says otherwise."""
        return advance(self.bodies, state, action)

    def _see(self, state: World, agent: int) -> Float[Array, " D"]:
        raise NotImplementedError

    def _success(self, state: World) -> Bool[Array, ""]:
        raise NotImplementedError

    def _controllers(self) -> dict[str, Any]:
        raise NotImplementedError

    def _places(self, state: World) -> Float[Array, "M 2"]:
        """The landmarks, unless a subclass says otherwise."""
        return state.place[self.n_bodies :]

    def scripted(self, name: str = "local") -> Policy:
        """`local`: see the subclass."""
        return pick_controller(f"mpe/{self.name}", name, self._controllers())

    def _canvas(self, state: World) -> tuple[Canvas, np.ndarray, np.ndarray]:
        half, where = self._half(state), np.asarray(state.place)
        canvas = Canvas(-half, half)
        canvas.grid(0.5)
        canvas.caption(f"mpe/{self.name}   step {int(state.step)}")
        return canvas, where[: self.n_bodies], where[self.n_bodies :]

    def _half(self, state: World) -> float:
        """Half the side of what a picture shows."""
        return extent(np.asarray(state.place), 0.0, smallest=1.2, margin=0.25)

    def places(self, state: World) -> Places:
        """Agents, and the places to go to."""
        half, here = self._half(state), np.asarray(state.place)[: self.spec.n_agents]
        return places(here[:, 0], here[:, 1], self.goals(state).features[..., :2], -half, half)


def words(count: int) -> tuple[str, ...]:
    """Names of the columns with what was heard; all are 0 at first."""
    return tuple(f"word {i} was said last [0 or 1]" for i in range(count))


def signposts(canvas: Canvas, landmarks: np.ndarray) -> None:
    """Landmarks by number and colour."""
    for i, ((x, y), colour) in enumerate(zip(landmarks, SIGNS, strict=True)):
        canvas.disc(x, y, NEAR, f"{colour}30", colour, 2)
        canvas.text(x, y, str(i), colour, 13)

"""Particles on a plane: what pushes them and how they move, over all of them at once.

The rules are those of the Multi-Particle Environments, with the numbers of jaxmarl 0.2.0. Nothing in a step is drawn.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.envs.parts import table_lookup

SECONDS = 0.1
"""What one step lasts."""
DRAG = 0.25
"""Share of its velocity that a particle loses in a step."""
STIFFNESS, SOFTNESS = 100.0, 1e-3
"""Force per length that two particles overlap by; distance over which contact sets in."""
LEFT_RIGHT, DOWN_UP = (0, -1, 1, 0, 0), (0, 0, 0, -1, 1)
"""Direction of each move: stay, left, right, down, up."""


class Bodies(NamedTuple):
    """What particles are: agents come first, then landmarks, which nothing moves.

    Attributes:
        radius: of every particle.
        thrust: acceleration by an agent's own move; 0 if it cannot move.
        top_speed: of every agent; () where there is no limit.
        solid: how many particles, from the first on, push each other apart when they touch.
    """

    radius: tuple[float, ...]
    thrust: tuple[float, ...]
    top_speed: tuple[float, ...] = ()
    solid: int = 0


class World(NamedTuple):
    """Where an episode stands.

    Attributes:
        place: of agents, then landmarks. velocity: of agents.
        step: how many were taken.
        said: what each agent said last, one-hot; () where nobody speaks.
        goal: numbers of the landmarks to go to, where a task draws them.
        caught: whether the prey was ever touched, where there is one.
    """

    place: Float[Array, "E 2"]
    velocity: Float[Array, "A 2"]
    step: Int[Array, ""]
    said: Any = ()
    goal: Any = ()
    caught: Any = ()


def scatter(bodies: Bodies, key_agents: PRNGKeyArray, key_landmarks: PRNGKeyArray) -> World:
    """A new episode: everything somewhere within [-1, 1], at rest."""
    n, m = len(bodies.thrust), len(bodies.radius) - len(bodies.thrust)
    somewhere = lambda key, count: jax.random.uniform(key, (count, 2), minval=-1.0, maxval=1.0)
    place = jnp.concatenate([somewhere(key_agents, n), somewhere(key_landmarks, m)])
    return World(place, jnp.zeros((n, 2)), jnp.zeros((), jnp.int32))


def advance(bodies: Bodies, world: World, move: Int[Array, " A"]) -> World:
    """One step. Places follow the velocities from before it, velocities the forces at the places from before it."""
    n, velocity = len(bodies.thrust), world.velocity
    own = (
        jnp.stack([table_lookup(move, LEFT_RIGHT), table_lookup(move, DOWN_UP)], -1) * jnp.array(bodies.thrust)[:, None]
    )
    force = contact(bodies, world.place) + own if bodies.solid else own
    faster = velocity * (1 - DRAG) + force * SECONDS  # every mass is 1
    if bodies.top_speed:
        speed, limit = length(faster)[:, None], jnp.array(bodies.top_speed)[:, None]
        faster = jnp.where(speed > limit, faster / speed * limit, faster)
    place = jnp.concatenate([world.place[:n] + velocity * SECONDS, world.place[n:]])
    return world._replace(place=place, velocity=faster, step=world.step + 1)


def contact(bodies: Bodies, place: Float[Array, "E 2"]) -> Float[Array, "A 2"]:
    """What solid particles push agents by: softly at their rims, then in proportion to how far they overlap."""
    n, solid = len(bodies.thrust), place[: bodies.solid]
    radius = jnp.array(bodies.radius[: bodies.solid])
    way = solid[:n, None] - solid[None]
    far = length(way)
    overlap = jnp.logaddexp(0.0, -(far - (radius[:n, None] + radius)) / SOFTNESS) * SOFTNESS
    # A particle and itself have no distance, and so no direction to be pushed in.
    push = STIFFNESS * way / jnp.where(far > 0, far, 1.0)[..., None] * overlap[..., None]
    return push.sum(1)


def length(way: Float[Array, "*n 2"]) -> Float[Array, "*n"]:
    """Euclidean."""
    return jnp.sqrt(jnp.square(way).sum(-1))


def touching(
    place: Float[Array, "n 2"], other: Float[Array, "m 2"], reach: float | Float[Array, "n m"]
) -> Bool[Array, "n m"]:
    """Which pairs are nearer than `reach`, the sum of their radii."""
    return length(place[:, None] - other[None]) < reach


def relative(world: World, agent: int) -> tuple[Float[Array, "M 2"], Float[Array, "others 2"]]:
    """Where landmarks and the other agents are, seen from an agent."""
    n = len(world.velocity)
    way = world.place - world.place[agent]
    return way[n:], jnp.concatenate([way[:agent], way[agent + 1 : n]])

"""simple_reference."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.envs import MpeOptions
from tutelage.envs.canvas import INK
from tutelage.envs.mpe import notes
from tutelage.envs.mpe.base import MOVES, NEAR, RELATIVE, SIGNS, VELOCITY, Mpe, signposts, words
from tutelage.envs.mpe.physics import Bodies, World, advance, length, relative, scatter
from tutelage.envs.parts import Segment, blocks, controller, entity_columns, steer
from tutelage.types import Carry, TimeStep

WORDS = 10


class Reference(Mpe):
    """Two agents, three landmarks: each knows where the *other* must go and can say one of ten words.

    Success: both within 0.1 of their landmark at the end.
    """

    name = "simple_reference"

    def __init__(self, options: MpeOptions) -> None:
        layout = blocks(
            Segment("own velocity", 2, columns=VELOCITY),
            *entity_columns("landmark", 3, 2, columns=RELATIVE),
            Segment(
                "goal of the other", 3, columns=tuple(f"is landmark {i} [0.75 if so, else 0.25]" for i in range(3))
            ),
            Segment("heard", WORDS, columns=words(WORDS)),
        )
        bodies = Bodies((0.15,) * 2 + (0.2,) * 3, (5.0,) * 2)
        names = tuple(f"{move}, say word {word}" for word in range(WORDS) for move in notes.MOVE_NAMES)
        told = notes.reference(bodies, options.max_steps, WORDS)
        counts = (MOVES * WORDS,) * 2
        super().__init__(bodies, layout, options.max_steps, counts=counts, action_names=names, notes=told)

    def _open(self, key: PRNGKeyArray) -> World:
        key_agents, key_landmarks, key_goal = jax.random.split(key, 3)
        goal = jax.random.randint(key_goal, (2,), 0, 3)
        return scatter(self.bodies, key_agents, key_landmarks)._replace(said=jnp.zeros((2, WORDS)), goal=goal)

    def _act(self, state: World, action: Int[Array, " N"]) -> World:
        """A move and a word at once: `move + 5 * word`."""
        return advance(self.bodies, state, action % MOVES)._replace(said=jax.nn.one_hot(action // MOVES, WORDS))

    def _see(self, state: World, agent: int) -> Float[Array, " D"]:
        other = 1 - agent
        colour = jnp.where(jnp.arange(3) == state.goal[other], 0.75, 0.25)
        return jnp.concatenate([state.velocity[agent], relative(state, agent)[0].ravel(), colour, state.said[other]])

    def _far(self, state: World) -> Float[Array, "2"]:
        """How far each agent is from its landmark."""
        return length(state.place[:2] - state.place[2 + state.goal])

    def rewards(self, state: World) -> Float[Array, " N"]:
        """Half for the mean distance to the landmarks, half for the other's, whom one has told where to go."""
        far = self._far(state)
        return -0.5 * far.mean() - 0.5 * far[::-1]

    def _success(self, state: World) -> Bool[Array, ""]:
        return (self._far(state) < NEAR).all()

    def _controllers(self) -> dict[str, Any]:
        """`local`: say the number of the other's landmark; go to the landmark whose number was heard."""

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            landmarks = ts.obs[..., 2:8].reshape(*ts.obs.shape[:2], 3, 2)
            say = ts.obs[..., 8:11].argmax(-1)
            heard = ts.obs[..., 11:14]
            delta = jnp.take_along_axis(landmarks, heard.argmax(-1)[..., None, None], -2)[..., 0, :]
            move = jnp.where(heard.any(-1), steer(delta, ts.obs[..., :2]), 0)
            return carry, move + MOVES * say

        return {"local": lambda: controller(act)}

    def draw(self, state: World) -> np.ndarray:
        """Landmarks by number and colour; agents in the colour of the landmark they must find, with what they say."""
        canvas, agents, landmarks = self._canvas(state)
        for i, (x, y) in enumerate(agents):
            canvas.line((x, y), tuple(landmarks[int(state.goal[i])]), f"{SIGNS[int(state.goal[i])]}40", 2)
        signposts(canvas, landmarks)
        for i, (x, y) in enumerate(agents):
            canvas.disc(x, y, 0.06, SIGNS[int(state.goal[i])], INK, 1)
            word = np.asarray(state.said[i])
            said = f': "{int(word.argmax())}"' if word.any() else ""
            canvas.text(x, y + (0.14, -0.14)[i], f"agent {i}{said}")
        return canvas.array()

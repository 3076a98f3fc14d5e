"""simple_speaker_listener."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.envs import MpeOptions
from tutelage.envs.canvas import GREY, INK
from tutelage.envs.mpe import notes
from tutelage.envs.mpe.base import MOVES, NEAR, RELATIVE, SIGNS, VELOCITY, Mpe, signposts, words
from tutelage.envs.mpe.physics import Bodies, World, advance, length, relative, scatter
from tutelage.envs.parts import Segment, blocks, controller, entity_columns, steer
from tutelage.types import Carry, TimeStep

WORDS = 3


class SpeakerListener(Mpe):
    """The speaker knows which of three landmarks the listener must go to and can only speak; the listener can only go.

    Success: the listener within 0.1 of its landmark at the end.
    """

    name = "simple_speaker_listener"
    stay = ("speaker",)

    def __init__(self, options: MpeOptions) -> None:
        layout = blocks(  # the listener's
            Segment("own velocity", 2, columns=VELOCITY),
            *entity_columns("landmark", 3, 2, columns=RELATIVE),
            Segment("heard", WORDS, columns=words(WORDS)),
        )
        goal = tuple(f"is landmark {i} [0.65 if so, else 0.15]" for i in range(3))
        speakers = blocks(Segment("goal of the listener", 3, columns=goal))
        bodies = Bodies((0.075,) * 2 + (0.04,) * 3, thrust=(0.0, 5.0))
        types, counts, widths = ("speaker", "listener"), (WORDS, MOVES), (3, layout[-1].stop)
        says = [f"say word {word}" for word in range(WORDS)] + ["never available"] * (MOVES - WORDS)
        names = tuple(f"listener: {move}; speaker: {say}" for move, say in zip(notes.MOVE_NAMES, says, strict=True))
        told = notes.speaker_listener(bodies, options.max_steps, WORDS)
        super().__init__(bodies, layout, options.max_steps, types, counts, widths, (speakers, ()), names, told)

    def _open(self, key: PRNGKeyArray) -> World:
        key_agents, key_landmarks, key_goal = jax.random.split(key, 3)
        goal = jax.random.randint(key_goal, (), 0, 3)
        return scatter(self.bodies, key_agents, key_landmarks)._replace(said=jnp.zeros(WORDS), goal=goal)

    def _act(self, state: World, action: Int[Array, " N"]) -> World:
        """The speaker's action is a word, which as a move comes to nothing: it has no thrust."""
        return advance(self.bodies, state, action)._replace(said=jax.nn.one_hot(action[0], WORDS))

    def _see(self, state: World, agent: int) -> Float[Array, " D"]:
        if agent == 0:
            return jnp.where(jnp.arange(3) == state.goal, 0.65, 0.15)
        return jnp.concatenate([state.velocity[1], relative(state, 1)[0].ravel(), state.said])

    def rewards(self, state: World) -> Float[Array, " N"]:
        """Minus the squared distance of the listener to its landmark, for both."""
        return jnp.broadcast_to(-jnp.square(state.place[1] - state.place[2 + state.goal]).sum(), (2,))

    def _success(self, state: World) -> Bool[Array, ""]:
        return length(state.place[1] - state.place[2 + state.goal]) < NEAR

    def _controllers(self) -> dict[str, Any]:
        """`local`: say the landmark's number; go to the landmark whose number was heard."""

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            obs = ts.obs[:, 1]
            landmarks, heard = obs[:, 2:8].reshape(-1, 3, 2), obs[:, 8:11]
            delta = jnp.take_along_axis(landmarks, heard.argmax(-1)[:, None, None], 1)[:, 0]
            move = jnp.where(heard.any(-1), steer(delta, obs[:, :2]), 0)
            return carry, jnp.stack([ts.obs[:, 0, :3].argmax(-1), move], -1)

        return {"local": lambda: controller(act)}

    def draw(self, state: World) -> np.ndarray:
        """Landmarks by number and colour; the listener in the colour of its landmark; the speaker and its word."""
        canvas, agents, landmarks = self._canvas(state)
        goal, word = int(state.goal), np.asarray(state.said)
        canvas.line(tuple(agents[1]), tuple(landmarks[goal]), f"{SIGNS[goal]}40", 2)
        signposts(canvas, landmarks)
        said = f'speaker: "{int(word.argmax())}"' if word.any() else "speaker"
        for (x, y), colour, label in zip(agents, (GREY, SIGNS[goal]), (said, "listener"), strict=True):
            canvas.disc(x, y, 0.06, colour, INK, 1)
            canvas.text(x, y + 0.14, label)
        return canvas.array()

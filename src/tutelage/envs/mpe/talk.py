"""simple_reference and simple_speaker_listener: games in which words are actions."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from tutelage.configs.envs import MpeOptions
from tutelage.envs.canvas import BLUE, GREEN, GREY, INK, RED
from tutelage.envs.mpe.base import NEAR, Mpe
from tutelage.envs.parts import blocks, controller, several, steer
from tutelage.envs.quiet import quiet_import
from tutelage.types import Carry, EnvState, TimeStep

with quiet_import():
    from jaxmarl.environments.mpe.simple_reference import SimpleReferenceMPE
    from jaxmarl.environments.mpe.simple_speaker_listener import SimpleSpeakerListenerMPE


class Reference(Mpe):
    """Two agents, three landmarks: each knows where the *other* must go and can say one of ten words.

    Success: both within 0.1 of their landmark at the end.
    """

    name = "simple_reference"

    def __init__(self, options: MpeOptions) -> None:
        layout = blocks(("own velocity", 2), *several("landmark", 3, 2), ("goal of the other", 3), ("heard", 10))
        super().__init__(SimpleReferenceMPE(), layout, options.max_steps)

    def _success(self, state: EnvState) -> Bool[Array, ""]:
        gap = jnp.linalg.norm(state.p_pos[:2] - state.p_pos[2 + state.goal], axis=-1)
        return (gap < NEAR).all()

    def _controllers(self) -> dict[str, Any]:
        """`local`: say the number of the other's landmark; go to the landmark whose number was heard."""

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            landmarks = ts.obs[..., 2:8].reshape(*ts.obs.shape[:2], 3, 2)
            say = ts.obs[..., 8:11].argmax(-1)
            heard = ts.obs[..., 11:14]
            delta = jnp.take_along_axis(landmarks, heard.argmax(-1)[..., None, None], -2)[..., 0, :]
            move = jnp.where(heard.any(-1), steer(delta, ts.obs[..., :2]), 0)
            return carry, move + 5 * say

        return {"local": lambda: controller(act)}

    def draw(self, state: EnvState) -> np.ndarray:
        """Landmarks by number and colour; agents in the colour of the landmark they must find, with what they say."""
        canvas, agents, landmarks = self._canvas(state)
        colours = (RED, GREEN, BLUE)
        for i, (x, y) in enumerate(agents):
            canvas.line((x, y), tuple(landmarks[int(state.goal[i])]), f"{colours[int(state.goal[i])]}40", 2)
        for i, ((x, y), colour) in enumerate(zip(landmarks, colours, strict=True)):
            canvas.disc(x, y, NEAR, f"{colour}30", colour, 2)
            canvas.text(x, y, str(i), colour, 13)
        for i, (x, y) in enumerate(agents):
            canvas.disc(x, y, 0.06, colours[int(state.goal[i])], INK, 1)
            word = np.asarray(state.c[i])
            said = f': "{int(word.argmax())}"' if word.any() else ""
            canvas.text(x, y + (0.14, -0.14)[i], f"agent {i}{said}")
        return canvas.array()


class SpeakerListener(Mpe):
    """The speaker knows which of three landmarks the listener must go to and can only speak; the listener can only go.

    Success: the listener within 0.1 of its landmark at the end.
    """

    name = "simple_speaker_listener"
    stay = ("speaker",)

    def __init__(self, options: MpeOptions) -> None:
        layout = blocks(("own velocity", 2), *several("landmark", 3, 2), ("heard", 3))  # the listener's
        super().__init__(SimpleSpeakerListenerMPE(), layout, options.max_steps, ("speaker", "listener"))

    def _success(self, state: EnvState) -> Bool[Array, ""]:
        return jnp.linalg.norm(state.p_pos[1] - state.p_pos[2 + state.goal]) < NEAR

    def _controllers(self) -> dict[str, Any]:
        """`local`: say the landmark's number; go to the landmark whose number was heard."""

        def act(carry: Carry, ts: TimeStep, key: Array) -> tuple[Carry, Int[Array, "B N"]]:
            obs = ts.obs[:, 1]
            landmarks, heard = obs[:, 2:8].reshape(-1, 3, 2), obs[:, 8:11]
            delta = jnp.take_along_axis(landmarks, heard.argmax(-1)[:, None, None], 1)[:, 0]
            move = jnp.where(heard.any(-1), steer(delta, obs[:, :2]), 0)
            return carry, jnp.stack([ts.obs[:, 0, :3].argmax(-1), move], -1)

        return {"local": lambda: controller(act)}

    def draw(self, state: EnvState) -> np.ndarray:
        """Landmarks by number and colour; the listener in the colour of its landmark; the speaker and its word."""
        canvas, agents, landmarks = self._canvas(state)
        colours, goal = (RED, GREEN, BLUE), int(state.goal)
        canvas.line(tuple(agents[1]), tuple(landmarks[goal]), f"{colours[goal]}40", 2)
        for i, ((x, y), colour) in enumerate(zip(landmarks, colours, strict=True)):
            canvas.disc(x, y, NEAR, f"{colour}30", colour, 2)
            canvas.text(x, y, str(i), colour, 13)
        word = np.asarray(state.c[0])
        said = f'speaker: "{int(word.argmax())}"' if word.any() else "speaker"
        for (x, y), colour, label in zip(agents, (GREY, colours[goal]), (said, "listener"), strict=True):
            canvas.disc(x, y, 0.06, colour, INK, 1)
            canvas.text(x, y + 0.14, label)
        return canvas.array()

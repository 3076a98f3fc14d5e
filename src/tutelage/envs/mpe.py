"""Multi-Particle Environments through the `jaxmarl` package: simple_spread and simple_reference.

jaxmarl gives no action masks, no world state (here: all observations side by side) and no success flag, and it ends
an episode one step late (its step 25 is not yet `done`); the limit is kept here, as a truncation.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.configs.envs import ReferenceOptions, SpreadOptions
from tutelage.envs.canvas import BLUE, GREEN, INK, RED, Canvas, extent
from tutelage.envs.parts import controller, first_timestep, greedy_matching, next_timestep, pick_controller, steer
from tutelage.envs.quiet import quiet_import
from tutelage.types import Block, Carry, EnvState, Policy, Sensed, Spec, TimeStep

with quiet_import():
    from jaxmarl.environments.mpe.simple_reference import SimpleReferenceMPE
    from jaxmarl.environments.mpe.simple_spread import SimpleSpreadMPE

NEAR = 0.1
"""Distance within which a landmark counts as reached."""


def make(name: str, options: SpreadOptions | ReferenceOptions) -> Mpe:
    """The environment of that name."""
    return {"simple_spread": Spread, "simple_reference": Reference}[name](options)


class Mpe:
    """What the particle environments share. Subclasses say what success means and how to draw it."""

    name: str
    game: Any

    def __init__(self, game: Any, layout: tuple[tuple[str, int], ...], max_steps: int) -> None:
        self.game = game
        n = game.num_agents
        widths = tuple(game.observation_space(agent).shape[0] for agent in game.agents)
        counts = tuple(int(game.action_space(agent).n) for agent in game.agents)
        stops = np.cumsum([width for _, width in layout]).tolist()
        self.spec = Spec(
            n_agents=n,
            n_actions=max(counts),
            obs_width=max(widths),
            state_width=sum(widths),
            max_steps=max_steps,
            time_limit="truncation",
            agent_types=("agent",) * n,
            action_counts=counts,
            obs_widths=widths,
            layout=tuple(Block(b, stop - w, stop) for (b, w), stop in zip(layout, stops, strict=True)),
            version="jaxmarl-0.2.0",
        )

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        _, state = self.game.reset(key)
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        joint = {agent: action[i] for i, agent in enumerate(self.game.agents)}
        _, state, reward, _, _ = self.game.step_env(key, state, joint)
        team_reward = jnp.stack([reward[agent] for agent in self.game.agents]).mean()
        last = state.step >= self.spec.max_steps
        success = last & self._success(state)
        return state, next_timestep(self.sense(state), action, team_reward, last, success, terminal=False)

    def sense(self, state: EnvState) -> Sensed:
        spec, obs = self.spec, self.game.get_obs(state)
        each = [obs[agent] for agent in self.game.agents]
        return Sensed(
            obs=jnp.stack([jnp.pad(x, (0, spec.obs_width - x.shape[0])) for x in each]),
            state=jnp.concatenate(each),
            avail=jnp.arange(spec.n_actions) < jnp.asarray(spec.action_counts)[:, None],
            alive=jnp.ones(spec.n_agents, bool),
        )

    def _success(self, state: EnvState) -> Bool[Array, ""]:
        raise NotImplementedError

    def _controllers(self) -> dict[str, Any]:
        raise NotImplementedError

    def scripted(self, name: str = "local") -> Policy:
        """`local`: see the subclass."""
        return pick_controller(f"mpe/{self.name}", name, self._controllers())

    def _canvas(self, state: EnvState) -> tuple[Canvas, np.ndarray, np.ndarray]:
        n, places = self.spec.n_agents, np.asarray(state.p_pos)
        half = extent(places, 0.0, least=1.2, margin=0.25)
        canvas = Canvas(-half, half)
        canvas.grid(0.5)
        canvas.caption(f"mpe/{self.name}   step {int(state.step)}")
        return canvas, places[:n], places[n:]


class Spread(Mpe):
    """Cooperative navigation: cover every landmark, do not collide. Success: each landmark has an agent within 0.1."""

    name = "simple_spread"

    def __init__(self, options: SpreadOptions) -> None:
        n = options.n_agents
        game = SimpleSpreadMPE(num_agents=n, num_landmarks=n, local_ratio=options.local_ratio)
        others = n - 1
        layout = (("velocity", 2), ("position", 2), ("landmarks", 2 * n), ("agents", 2 * others), ("said", 2 * others))
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


class Reference(Mpe):
    """Two agents, three landmarks: each knows where the *other* must go and can say one of ten words.

    Success: both within 0.1 of their landmark at the end.
    """

    name = "simple_reference"

    def __init__(self, options: ReferenceOptions) -> None:
        layout = (("velocity", 2), ("landmarks", 6), ("goal of the other", 3), ("heard", 10))
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

"""What the particle environments share.

jaxmarl gives no action masks, no world state (here: all observations side by side) and no success flag, and it ends
an episode one step late (its step 25 is not yet `done`); the limit is kept here, as a truncation.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from tutelage.envs.canvas import Canvas, extent, places
from tutelage.envs.parts import first_timestep, next_timestep, pick_controller
from tutelage.types import Block, EnvState, Goals, Places, Policy, Sensed, Spec, TimeStep

NEAR = 0.1
"""Distance within which a landmark counts as reached."""


class Mpe:
    """What the particle environments share. Subclasses say what success means and how to draw it.

    Attributes:
        stay: types of agents that have no place to go to.
        near: distance within which they have come to it.
    """

    name: str
    game: Any
    stay: tuple[str, ...] = ()
    near: float = NEAR

    def __init__(self, game: Any, layout: tuple[Block, ...], max_steps: int, types: tuple[str, ...] = ()) -> None:
        """`layout`: the widest agent's columns. `types`: of the agents that learn, the first ones; () for all alike."""
        self.game = game
        self.agents = game.agents[: len(types) or None]
        n = len(self.agents)
        widths = tuple(game.observation_space(agent).shape[0] for agent in self.agents)
        counts = tuple(int(game.action_space(agent).n) for agent in self.agents)
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
            version="jaxmarl-0.2.0",
            measure="return",
        )

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        _, state = self.game.reset(key)
        return state, first_timestep(self.sense(state))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Int[Array, " N"]) -> tuple[EnvState, TimeStep]:
        _, state, reward, _, _ = self.game.step_env(key, state, self.joint(state, action))
        state = self._remember(state)
        team_reward = jnp.stack([reward[agent] for agent in self.agents]).mean()
        last = state.step >= self.spec.max_steps
        success = last & self._success(state)
        return state, next_timestep(self.sense(state), action, team_reward, last, success, terminal=False)

    def sense(self, state: EnvState) -> Sensed:
        spec, obs = self.spec, self.game.get_obs(state)
        each = [obs[agent] for agent in self.agents]
        return Sensed(
            obs=jnp.stack([jnp.pad(x, (0, spec.obs_width - x.shape[0])) for x in each]),
            state=jnp.concatenate(each),
            avail=jnp.arange(spec.n_actions) < jnp.asarray(spec.action_counts)[:, None],
            alive=jnp.ones(spec.n_agents, bool),
        )

    def goals(self, state: EnvState) -> Goals:
        """Places to go to (see `_places`), for who can. Progress is coming nearer; one is reached within `near`."""
        n, where = self.spec.n_agents, self._places(state)
        way = where[None] - state.p_pos[:n, None]
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

    def _places(self, state: EnvState) -> Float[Array, "M 2"]:
        """The landmarks, unless a subclass says otherwise."""
        return state.p_pos[self.game.num_agents :]

    def joint(self, state: EnvState, action: Int[Array, " N"]) -> dict[str, Array]:
        """jaxmarl's joint action: the learners' and, in a subclass, that of whoever follows a script."""
        return {agent: action[i] for i, agent in enumerate(self.agents)}

    def _remember(self, state: EnvState) -> EnvState:
        """What success needs to know of earlier steps."""
        return state

    def _success(self, state: EnvState) -> Bool[Array, ""]:
        raise NotImplementedError

    def _controllers(self) -> dict[str, Any]:
        raise NotImplementedError

    def scripted(self, name: str = "local") -> Policy:
        """`local`: see the subclass."""
        return pick_controller(f"mpe/{self.name}", name, self._controllers())

    def _canvas(self, state: EnvState) -> tuple[Canvas, np.ndarray, np.ndarray]:
        n, half, where = self.game.num_agents, self._half(state), np.asarray(state.p_pos)
        canvas = Canvas(-half, half)
        canvas.grid(0.5)
        canvas.caption(f"mpe/{self.name}   step {int(state.step)}")
        return canvas, where[:n], where[n:]

    def _half(self, state: EnvState) -> float:
        """Half the side of what a picture shows."""
        return extent(np.asarray(state.p_pos), 0.0, least=1.2, margin=0.25)

    def places(self, state: EnvState) -> Places:
        """Agents, and the places to go to."""
        half, here = self._half(state), np.asarray(state.p_pos)[: self.spec.n_agents]
        return places(here[:, 0], here[:, 1], self.goals(state).features[..., :2], -half, half)

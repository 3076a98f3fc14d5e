"""A small world of a user's, wrong in one way or another. Also importable by the package, as `worlds:NAME`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tutelage import Environment, Sensed, Spec, TimeStep
from tutelage.data.vector import vmap_env
from tutelage.envs.parts import controller, first_timestep, next_timestep
from tutelage.types import Policy, VectorEnv


class State(NamedTuple):
    """Which button is lit for each agent, and the step."""

    lit: Any
    t: Any


@dataclass(frozen=True)
class World(Environment):
    """Two agents see which of three buttons is lit for each, and share a point for every one pressed.

    Attributes:
        steps: of an episode. limit: what its spec says, where that is another number.
        dies: step from which agent 1 is dead. blank: it then has no action at all. senses: what it senses then.
        bad: the field that is `value` from step `at` on.
        scale: of the observations.
    """

    steps: int = 4
    limit: int = 0
    dies: int = 99_999_999
    blank: bool = False
    senses: float = 0.0
    bad: str = ""
    at: int = 2
    value: float = float("nan")
    scale: float = 1.0

    @property
    def spec(self) -> Spec:
        return Spec(
            n_agents=2, n_actions=3, obs_width=3, state_width=7, max_steps=self.limit or self.steps,
            time_limit="terminal", agent_types=("presser",) * 2, action_counts=(3,) * 2, obs_widths=(3,) * 2,
            layout=(), version="1",
        )  # fmt: skip

    def reset(self, key: Any) -> Any:
        state = State(jax.random.randint(key, (2,), 0, 3), jnp.zeros((), jnp.int32))
        return state, first_timestep(self.sense(state))

    def step(self, key: Any, state: State, action: Any) -> Any:
        alive = self.sense(state).alive
        reward = jnp.where(alive, action == state.lit, False).sum() / 2
        state = State(jax.random.randint(key, (2,), 0, 3), state.t + 1)
        last = state.t >= self.steps
        timestep = next_timestep(self.sense(state), action, reward, last, last & (reward > 0), True)
        return state, self.spoilt(state, timestep, ("reward", "discount", "action"))

    def sense(self, state: State) -> Sensed:
        seen = self.scale * jax.nn.one_hot(state.lit, 3)
        alive = jnp.array([True, False]) | (state.t < self.dies)
        sensed = Sensed(
            obs=jnp.where(alive[:, None], seen, self.senses),
            state=jnp.append(jax.nn.one_hot(state.lit, 3).reshape(-1), state.t / self.steps),
            avail=jnp.ones((2, 3), bool) & (alive[:, None] if self.blank else True),
            alive=alive,
        )
        return self.spoilt(state, sensed, ("obs", "state"))

    def spoilt(self, state: State, told: Any, fields: tuple[str, ...]) -> Any:
        """The same, with one number replaced where this world is to be wrong."""
        if self.bad not in fields:
            return told
        good = getattr(told, self.bad)
        bad = good.reshape(-1).at[0].set(self.value).reshape(good.shape)
        return told._replace(**{self.bad: jnp.where(state.t >= self.at, bad, good)})

    def draw(self, state: State) -> np.ndarray:
        return np.full((40, 40, 3), 200, np.uint8)

    def scripted(self, name: str = "local") -> Policy:
        return controller(lambda carry, timestep, key: (carry, timestep.obs.argmax(-1)))


def fine() -> World:
    return World()


def blank() -> World:
    """The second agent dies, and then has no action."""
    return World(dies=2, blank=True)


def dead() -> World:
    """The second agent dies, and what it then senses is no number."""
    return World(dies=2, senses=float("nan"))


def nan_reward() -> World:
    return World(bad="reward")


def nan_obs() -> World:
    return World(bad="obs")


def inf_state() -> World:
    return World(bad="state", value=float("inf"))


def late_discount() -> World:
    return World(bad="discount", value=1.5)


def strange_action() -> World:
    return World(bad="action", value=3)


def endless() -> World:
    """It goes on beyond what its spec says."""
    return World(steps=1_000_000, limit=5)


def long() -> World:
    """Episodes of 5,000 steps."""
    return World(steps=5_000)


def raw() -> World:
    """Observations in raw units."""
    return World(scale=1e4)


def good(env: Any) -> Any:
    """A teacher that presses what is lit."""
    return lambda timestep: timestep.obs.argmax(-1)


def transposed(env: Any) -> Any:
    return lambda timestep: timestep.obs.argmax(-1).T


def flat(env: Any) -> Any:
    return lambda timestep: timestep.obs.argmax(-1).reshape(-1)


def shared(env: Any) -> Any:
    return lambda timestep: timestep.obs.argmax(-1)[:, 0]


def floats(env: Any) -> Any:
    return lambda timestep: timestep.obs.argmax(-1).astype(jnp.float32)


def beyond(env: Any) -> Any:
    return lambda timestep: timestep.obs.argmax(-1) + 7


def negative(env: Any) -> Any:
    return lambda timestep: timestep.obs.argmax(-1) - 5


def nothing(env: Any) -> Any:
    return lambda timestep: None


def pairs(env: Any) -> Any:
    return lambda timestep: (timestep.obs.argmax(-1), timestep.obs)


def scores(env: Any) -> Any:
    return lambda timestep: timestep.obs


def pressed(timestep: TimeStep) -> Any:
    """The scores of a policy that sees."""
    return jnp.where(timestep.avail, timestep.obs, -jnp.inf)


class Wide(World):
    """A world that plays many instances by itself."""

    def vector(self, n: int) -> VectorEnv:
        return vmap_env(World(self.steps, dies=self.dies, senses=self.senses, bad=self.bad), n)


def wide_nan() -> Wide:
    return Wide(bad="reward")


def wide_dead() -> Wide:
    return Wide(dies=1, senses=float("nan"))

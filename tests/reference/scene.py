"""A tiny world, and experience of it made by hand, in which everything happens that a loss must take into account."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from helpers import make_spec
from tutelage.envs.parts import first_timestep, next_timestep
from tutelage.types import Environment, Goals, Rollout, Sensed, TimeStep

N, A, M, F = 2, 3, 2, 2
"""Agents, actions, goals, features of a goal."""
SCENE = dict(
    n_agents=N, n_actions=A, obs_width=2, state_width=2, max_steps=6, time_limit="truncation", links=True,
    agent_types=("scout", "guard"),
)  # fmt: skip


class Place(NamedTuple):
    """A state that is larger than what is sensed of it, so that replay keeps what was sensed."""

    padding: Any


class Scene(Environment):
    """Only shapes of it are ever asked for: what is learned from is `rollout`. `offers`: goals and their features."""

    def __init__(self, offers: tuple[int, int] = (M, F), **changes: Any) -> None:
        self.spec, self.offers = make_spec(**{**SCENE, **changes}), offers

    def reset(self, key: Any) -> Any:
        state = Place(jnp.zeros(1000))
        return state, first_timestep(self.sense(state))

    def step(self, key: Any, state: Place, action: Any) -> Any:
        no = jnp.zeros((), bool)
        return state, next_timestep(self.sense(state), action, jnp.zeros(()), no, no, False)

    def sense(self, state: Place) -> Sensed:
        n, yes = self.spec.n_agents, jnp.ones((self.spec.n_agents, self.spec.n_actions), bool)
        obs, world = jnp.zeros((n, self.spec.obs_width)), jnp.zeros(self.spec.state_width)
        return Sensed(obs, world, yes, yes[:, 0], ~jnp.eye(n, dtype=bool))

    def goals(self, state: Place) -> Goals:
        n, (m, f) = self.spec.n_agents, self.offers
        two = jnp.zeros((n, m))
        return Goals(jnp.zeros((n, m, f)), two == 0, two, two > 0, jnp.zeros((n, m), jnp.int32))


def steps(t: int, goals: bool = False, seed: int = 0) -> dict[str, Any]:
    """Timesteps (t + 1, 2, ...) as float64 NumPy arrays by name.

    In environment 0 an episode ends truly after two steps; in 1 one is cut off by a limit after three. Rewards are
    about 1, an agent dies, an action is unavailable here and there, and twice an agent has none.
    """
    rng = np.random.default_rng(seed)
    lead = (t + 1, 2)
    last, first = np.zeros(lead, bool), np.zeros(lead, bool)
    last[2, 0] = last[3, 1] = first[3, 0] = first[0, 1] = True
    if t > 3:
        first[4, 1] = True
    discount = np.ones(lead)
    discount[2, 0] = 0.0
    reward = rng.normal(0.4, 1.0, lead)
    reward[first] = 0.0
    alive = np.ones((*lead, N), bool)
    alive[1:3, 0, 1] = alive[2:4, 1, 0] = False
    avail = rng.random((*lead, N, A)) < 0.7
    avail[..., 1] = True
    avail[0, 0, 0] = avail[min(t, 4), 1, 0] = False  # has nothing to do
    action = np.zeros((*lead, N), int)
    for i, b, n in np.ndindex(t, 2, N):  # what was done in step i: the record of step i + 1
        options = np.flatnonzero(avail[i, b, n])
        if len(options) and not first[i + 1, b]:
            action[i + 1, b, n] = options[(i + b + n) % len(options)]
    steps = dict(
        obs=rng.normal(size=(*lead, N, 2)), state=rng.normal(size=(*lead, 2)), avail=avail, alive=alive, action=action,
        reward=reward, discount=discount, first=first, last=last, success=last & np.array([True, False]),
        links=rng.random((*lead, N, N)) < 0.7,
    )  # fmt: skip
    steps = {k: v.astype(np.float32).astype(float) if v.dtype == float else v for k, v in steps.items()}
    return steps | (dict(goals=some_goals(rng, lead)) if goals else {})


def some_goals(rng: Any, lead: tuple[int, ...]) -> dict[str, Any]:
    """Goals by name; one agent has none to choose at first, and some are reached."""
    valid = rng.random((*lead, N, M)) < 0.8
    valid[0, 0, 0] = False
    return dict(
        features=rng.normal(size=(*lead, N, M, F)).astype(np.float32).astype(float),
        valid=valid,
        potential=rng.uniform(-1, 0, (*lead, N, M)).astype(np.float32).astype(float),
        reached=rng.random((*lead, N, M)) < 0.3,
        thing=np.broadcast_to(np.arange(M), (*lead, N, M)).copy(),
    )


def as_jax(steps: dict[str, Any]) -> TimeStep:
    """The same as the package reads it."""

    def leaf(x: Any) -> Any:
        return jnp.asarray(x, {"f": jnp.float32, "i": jnp.int32, "b": bool}[np.asarray(x).dtype.kind])

    goals = Goals(**{k: leaf(v) for k, v in steps["goals"].items()}) if "goals" in steps else ()
    return TimeStep(**{k: leaf(v) for k, v in steps.items() if k != "goals"}, goals=goals)


def log_probs(t: int, seed: int = 1) -> np.ndarray:
    """Log-probabilities of who acted, (t, 2, N): some ratios to them are clipped, some are not."""
    x = np.random.default_rng(seed).uniform(-1.4, -0.7, (t, 2, N))
    return x.astype(np.float32).astype(float)


def rollout(steps: dict[str, Any], log_prob: Any, out: Any = (), carry: Any = ()) -> Rollout:
    """A rollout of these timesteps."""
    timesteps = as_jax(steps)
    return Rollout(timesteps, jnp.asarray(log_prob, jnp.float32), out, carry, ~timesteps.last[:-1])


def spread(x: Any) -> Any:
    """float64 copies of a pytree of arrays."""
    return jax.tree.map(lambda a: np.asarray(a, float), x)

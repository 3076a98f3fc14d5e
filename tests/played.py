"""Episodes of an environment, played once per session and read by many tests."""

from __future__ import annotations

from copy import copy
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tutelage import make
from tutelage.types import TimeStep

SHORT, SHORTER, SHORTEST, B = 60, 30, 9, 16
"""Battles and voyages are cut short, so that some reach the time limit."""

OTHERS = [
    ("mpe/simple_tag", dict(prey="learns")), ("mpe/simple_spread", dict(n_agents=2)),
    ("smax/MMM2", dict(see_enemy_actions=False)), ("fire_commander/hard", dict(radio=False)),
    ("fire_commander/5x5", dict(radio=True)), ("marine/hard", dict(ais=False)),
    ("predator_prey/punish2", dict(vision=1)),
]  # fmt: skip
"""Environments with options that change what is observed."""


@cache
def build(name: str) -> Any:
    """The environment of that name."""
    short = SHORTER if name == "smax/MMM2" else SHORT  # where one side soon wins
    limits = {"smax": short, "smax-jaxmarl": short, "marine": SHORTEST}
    task = name.split("/")[0]
    return make(name, **({"max_steps": limits[task]} if task in limits else {}))


@cache
def compiled(name: str, **options: Any) -> Any:
    """An environment whose functions are compiled whole: one by one, every operation in them would be."""
    env = copy(make(name, **options))
    for function in ("reset", "step", "sense", "goals"):
        if getattr(env, function):
            setattr(env, function, jax.jit(getattr(env, function)))
    return env


def changed(name: str, options: dict | None = None, **state: list) -> tuple[Any, Any]:
    """The environment, and the first state of an episode with some fields changed by hand."""
    env = compiled(name, **(options or {}))
    opened = jax.device_get(env.reset(jax.random.key(0))[0])
    changes = {field: np.asarray(value, np.asarray(getattr(opened, field)).dtype) for field, value in state.items()}
    return env, opened._replace(**changes)


class Played(NamedTuple):
    """B episodes.

    Attributes:
        steps: timesteps (T+1, B).
        sensed: what `sense` says of each state.
        scripted: (T, B, N) what the script would do.
        states: the environment's states (T+1, B).
        theirs: of smax-jaxmarl, the game's own (observation, reward per agent, end) of the T steps; else ().
    """

    steps: TimeStep
    sensed: Any
    scripted: np.ndarray
    states: Any
    theirs: Any

    def until_last(self) -> np.ndarray:
        """(T+1, B): steps of the episode, its last one included (a step after `last` means nothing)."""
        return np.cumsum(self.steps.last, 0) - self.steps.last == 0


def jaxmarl_step(env: Any, key: Any, state: Any, action: Any) -> Any:
    """What the game below our environment answers to the same key, state and action."""
    if not hasattr(env, "game"):
        return ()
    agents = env.game.agents
    obs, _, reward, done, _ = env.game.step_env(key, state, {a: action[i] for i, a in enumerate(agents)})
    return [obs[agent] for agent in agents], [reward[agent] for agent in agents], done["__all__"]


@cache
def play_of(name: str) -> Any:
    """To the limit: random available actions in every fourth instance, scripted ones in the others.

    A compiled function of a key that gives Played and the actions."""
    env = build(name)
    policy = env.scripted()

    def body(carry: Any, key: Any) -> Any:
        state, ts, memory = carry
        k_policy, k_random, k_step = jax.random.split(key, 3)
        memory, out = policy.step((), memory, ts, k_policy)
        scripted = out.scores.argmax(-1)
        random = jnp.where(ts.avail, jax.random.uniform(k_random, ts.avail.shape), -1).argmax(-1)
        action = jnp.where((jnp.arange(B) % 4 == 0)[:, None], random, scripted)
        keys = jax.random.split(k_step, B)
        theirs = jax.vmap(lambda *x: jaxmarl_step(env, *x))(keys, state, action)
        after, following = jax.vmap(env.step)(keys, state, action)
        return (after, following, memory), (ts, scripted, state, action, theirs)

    @jax.jit
    def play(key: Any) -> Any:
        state, ts = jax.vmap(env.reset)(jax.random.split(key, B))
        keys = jax.random.split(key, env.spec.max_steps)
        end, (steps, scripted, states, action, theirs) = jax.lax.scan(body, (state, ts, policy.carry(B)), keys)
        steps, states = (
            jax.tree.map(lambda x, y: jnp.concatenate([x, y[None]]), *pair)
            for pair in ((steps, end[1]), (states, end[0]))
        )
        return Played(steps, jax.lax.map(jax.vmap(env.sense), states), scripted, states, theirs), action

    return play


@cache
def played(name: str) -> Played:
    """Episodes of that environment, always the same."""
    told, action = jax.device_get(play_of(name)(jax.random.key(0)))
    np.testing.assert_array_equal(told.steps.action[1:], action, err_msg="a timestep holds the action that led to it")
    return told

"""A small environment of jaxmarl's form."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jaxmarl.environments.spaces import Box, Discrete


class Counting:
    """Agents a and b are paid 1 and 3 for their action 1; b has three actions; it ends by itself when b takes 2."""

    agents = ("a", "b")
    max_steps = 4

    def action_space(self, agent: str) -> Discrete:
        return Discrete(3 if agent == "b" else 2)

    def observation_space(self, agent: str) -> Box:
        return Box(0, 9, (2,) if agent == "b" else (1,))

    def reset(self, key: Any) -> tuple[dict[str, Any], Any]:
        return self.get_obs(jnp.zeros((), jnp.int32)), jnp.zeros((), jnp.int32)

    def get_obs(self, t: Any) -> dict[str, Any]:
        return {"a": jnp.array([t]), "b": jnp.array([t, 7])}

    def get_avail_actions(self, t: Any) -> dict[str, Any]:
        return {"a": jnp.array([t > 0, True]), "b": jnp.ones(3)}

    def step_env(self, key: Any, t: Any, actions: dict[str, Any]) -> tuple[Any, ...]:
        paid = {"a": 1.0 * (actions["a"] == 1), "b": 3.0 * (actions["b"] == 1)}
        over = actions["b"] == 2
        infos = {"shaped_reward": {"a": 1.0, "b": 2.0}, "level": t + 1, "map": jnp.zeros(5)}
        return self.get_obs(t + 1), t + 1, paid, {"a": over, "b": over, "__all__": over}, infos

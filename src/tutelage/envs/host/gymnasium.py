"""Environments of Gymnasium for teams as EPyMARL has them: tuples of spaces, lists of rewards; jax is not imported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tutelage.envs.host.pettingzoo import ParallelWorld
from tutelage.envs.host.returned import RESET_PARTS, check_count
from tutelage.envs.host.world import Settings
from tutelage.errors import BadInput, short


class TupleEnv:
    """An environment with tuples of spaces as a parallel environment: agents `agent_0`, `agent_1`, ...

    A single agent's environment is a team of one.
    """

    def __init__(self, env: Any, label: str) -> None:
        self._env, self._label, self.unwrapped = env, label, getattr(env, "unwrapped", env)
        self._several = type(env.action_space).__name__ == "Tuple"
        spaces = tuple(env.action_space) if self._several else (env.action_space,)
        seen = tuple(env.observation_space) if self._several else (env.observation_space,)
        if len(spaces) != len(seen):
            found = f"{len(seen)} observation spaces, {len(spaces)} action spaces"
            raise BadInput(f"{label}: {found}: must be one for each agent")
        self.possible_agents = [f"agent_{i}" for i in range(len(spaces))]
        self._actions, self._observations = (dict(zip(self.possible_agents, x, strict=True)) for x in (spaces, seen))
        self.agents: list[str] = []
        self.max_cycles = getattr(getattr(env, "spec", None), "max_episode_steps", None)

    def observation_space(self, agent: str) -> Any:
        return self._observations[agent]

    def action_space(self, agent: str) -> Any:
        return self._actions[agent]

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, info = check_count(f"{self._label}: reset", self._env.reset(seed=seed), RESET_PARTS)
        self.agents = list(self.possible_agents)
        return self._named(observations), self._infos(info)

    def step(self, actions: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        chosen = tuple(actions[agent] for agent in self.possible_agents)
        returned = self._env.step(chosen if self._several else chosen[0])
        names = "observations", "rewards", "terminated", "truncated", "info"
        observations, reward, ended, cut, info = check_count(f"{self._label}: step", returned, names)
        rewards = self._rewards(reward)
        terminated, truncated = bool(np.all(ended)), bool(np.all(cut))
        if terminated or truncated:
            self.agents = []
        each = lambda value: dict.fromkeys(self.possible_agents, value)
        by_name = dict(zip(self.possible_agents, rewards.tolist(), strict=True))
        return self._named(observations), by_name, each(terminated), each(truncated), self._infos(info)

    def _rewards(self, reward: Any) -> np.ndarray:
        """One for each agent; a single number is everybody's."""
        found = np.asarray(reward)
        if found.dtype.kind not in "bif" or found.shape not in ((), (len(self.possible_agents),)):
            expected = f"a number, or {len(self.possible_agents)} of them"
            raise BadInput(f"{self._label}: step gives rewards {short(reward)}, must be {expected}")
        return np.broadcast_to(found.astype(float), len(self.possible_agents))

    def _named(self, observations: Any) -> dict[str, Any]:
        rows = observations if self._several else (observations,)
        if len(rows) != len(self.possible_agents):
            expected = f"one for each of {len(self.possible_agents)} agents"
            raise BadInput(f"{self._label}: gives {len(rows)} observations, must give {expected}")
        return dict(zip(self.possible_agents, rows, strict=True))

    def _infos(self, info: Any) -> dict[str, Any]:
        """The info of every agent; a mask is a list of one for each."""
        masks = info.get("action_mask", info.get("avail_actions")) if isinstance(info, dict) else None
        infos: dict[str, Any] = {agent: dict(info) for agent in self.possible_agents}
        for i, agent in enumerate(self.possible_agents):
            infos[agent].pop("action_mask", None)
            if masks is not None:
                infos[agent]["action_mask"] = masks[i] if self._several else masks
        return infos

    def render(self) -> Any:
        return self._env.render()

    def close(self) -> None:
        if hasattr(self._env, "close"):
            self._env.close()


class TupleWorld(ParallelWorld):
    """A World of an environment with tuples of spaces."""

    def __init__(self, env: Any, label: str, version: str, settings: Settings) -> None:
        wrapped = TupleEnv(env, label)
        limit = settings.max_steps or wrapped.max_cycles
        super().__init__(wrapped, label, version, replace(settings, max_steps=limit))

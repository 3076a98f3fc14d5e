"""Small parallel environments in Python: `host_worlds` is named as a module of PettingZoo environments is."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete


class Crew:
    """Three agents count to their number: agent i leaves after i + 2 steps; the last to stay ends the episode.

    Its observation is (step, own seed). Agent b's mask forbids action 0. `fails`: what goes wrong in step 2.
    """

    possible_agents = ("a", "b", "c")

    def __init__(self, fails: str = "") -> None:
        self.fails, self.agents, self.max_cycles = fails, [], 10

    def observation_space(self, agent: str) -> Box:
        return Box(-np.inf, np.inf, (3 if agent == "c" else 2,), np.float32)

    def action_space(self, agent: str) -> Discrete:
        return Discrete(4 if agent == "b" else 3)

    def reset(self, seed: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents, self.t, self.seed = list(self.possible_agents), 0, seed
        return self._seen(self.agents), self._infos(self.agents)

    def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
        assert set(actions) == set(self.agents)
        self.t += 1
        if self.t == 2 and self.fails == "raises":
            raise RuntimeError("the crew is on strike")
        if self.t == 2 and self.fails == "dies":
            os._exit(3)
        if self.t == 2 and self.fails == "hangs":
            time.sleep(3600)
        acted = list(self.agents)
        over = {agent: self.t >= i + 2 for i, agent in enumerate(self.possible_agents)}
        self.agents = [agent for agent in acted if not over[agent]]
        rewards = {agent: float(actions[agent]) for agent in acted}
        return self._seen(acted), rewards, {a: over[a] for a in acted}, dict.fromkeys(acted, False), self._infos(acted)

    def _seen(self, agents: list[str]) -> dict[str, Any]:
        row = lambda agent: [self.t, (self.seed or 0) % 1000, *([7.0] if agent == "c" else [])]
        return {agent: np.array(row(agent), np.float32) for agent in agents}

    def _infos(self, agents: list[str]) -> dict[str, Any]:
        masks = {"b": {"action_mask": np.array([0, 1, 1, 1])}}
        return {agent: masks.get(agent, {}) | {"done_well": self.t == 4} for agent in agents}

    def close(self) -> None:
        pass


parallel_env = Crew

"""Small parallel environments in Python: `host_worlds` is named as a module of PettingZoo environments is."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Tuple


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


class Foragers:
    """Two walkers and a carrier, which senses and does more, gather berries on a line; `wrong`: what is wrong."""

    possible_agents = ("walker_0", "walker_1", "carrier")

    def __init__(self, wrong: str = "", cells: int = 9) -> None:
        self.wrong, self.cells, self.agents, self.max_cycles = wrong, cells, [], 6
        if wrong == "nobody":
            self.possible_agents = ()
        if wrong == "twins":
            self.possible_agents = ("walker", "walker")

    def observation_space(self, agent: str) -> Any:
        if self.wrong == "number":
            return Discrete(4)
        return Box(-1, 1, (3 if agent == "carrier" else 2,), np.float32)

    def action_space(self, agent: str) -> Any:
        return Box(-1, 1, (2,)) if self.wrong == "continuous" else Discrete(4 if agent == "carrier" else 3)

    def reset(self, seed: int | None = None) -> Any:
        rng = np.random.default_rng(seed)
        self.agents, self.t, self.berries = list(self.possible_agents), 0, 0
        self.at, self.berry = rng.integers(self.cells, size=3), int(rng.integers(self.cells))
        seen = self._seen()
        return seen if self.wrong == "old reset" else (seen, {agent: {} for agent in self.agents})

    def step(self, actions: dict[str, int]) -> Any:
        moved = [{1: -1, 2: 1}.get(int(actions[agent]), 0) for agent in self.agents]
        self.at, self.t = np.clip(self.at + moved, 0, self.cells - 1), self.t + 1
        gathered = bool(self.at[2] == self.berry and actions["carrier"] == 3)
        self.berry = (self.berry + 3 * gathered) % self.cells
        self.berries += gathered
        acted, over = list(self.agents), self.t >= 6
        rewards: dict[str, Any] = {a: gathered + 0.1 * (self.at[i] == self.berry) for i, a in enumerate(acted)}
        if self.wrong == "no number":
            rewards["carrier"] = [1.0, 2.0]
        seen, infos = self._seen(), {agent: {"berries": gathered} for agent in acted}
        if self.wrong == "mask":
            infos["carrier"]["action_mask"] = [1, 1, 1]
        if over:
            self.agents = []
        never, at_limit = dict.fromkeys(acted, False), dict.fromkeys(acted, over)
        return (seen, rewards, at_limit, infos) if self.wrong == "old step" else (seen, rewards, never, at_limit, infos)

    def _seen(self) -> dict[str, Any]:
        rows = {}
        for i, agent in enumerate(self.agents):
            row = [(self.berry - self.at[i]) / self.cells, self.t / 6, self.berries / 6]
            rows[agent] = np.array(row[: 3 if agent == "carrier" else 2], np.float32)
        if self.wrong == "shape":
            rows["carrier"] = rows["carrier"][:1]
        if self.wrong == "number":
            rows = dict.fromkeys(rows, 7)
        if self.wrong == "stranger":
            rows["carier"] = rows.pop("carrier")
        if self.wrong == "blind":
            del rows["walker_1"]
        if self.wrong == "not finite" and self.t == 2:
            rows["carrier"][0] = np.nan
        return rows


def foragers(wrong: str = "", cells: int = 9) -> Foragers:
    return Foragers(wrong, cells)


class Pair:
    """Two agents of Gymnasium's form with tuples; they draw a picture."""

    observation_space = Tuple([Discrete(3), Discrete(3)])
    action_space = Tuple([Discrete(2), Discrete(2)])

    def __init__(self, wrong: str = "", render_mode: str | None = None) -> None:
        self.wrong, self.render_mode, self.max_steps = wrong, render_mode, 3

    def reset(self, seed: int | None = None) -> Any:
        self.t = 0
        return (0, 0), {}

    def step(self, actions: tuple[int, ...]) -> Any:
        self.t += 1
        rewards = [1.0] if self.wrong == "rewards" else [1.0, 2.0]
        seen = (1, 1, 1) if self.wrong == "rows" else (1, 1)
        return seen, rewards, False, self.t >= 3, {"age": self.t}

    def render(self) -> Any:
        return np.full((4, 5, 3), 40 * self.t, np.uint8) if self.render_mode == "rgb_array" else None


def Nothing() -> dict[str, int]:
    return {}


class Guests:
    """`n` agents; agent i is away in every third step, from its number on, and agent 0 never has an action."""

    def __init__(self, n: int = 2) -> None:
        self.possible_agents, self.agents, self.max_cycles = [f"guest_{i}" for i in range(n)], [], 6

    def observation_space(self, agent: str) -> Box:
        return Box(0, 9, (1,), np.float32)

    def action_space(self, agent: str) -> Discrete:
        return Discrete(2)

    def reset(self, seed: int | None = None) -> Any:
        self.t = 0
        return self._seen()

    def step(self, actions: dict[str, int]) -> Any:
        self.t += 1
        seen, infos = self._seen()
        never, at_limit = dict.fromkeys(actions, False), dict.fromkeys(actions, self.t >= 6)
        return seen, {agent: float(action) for agent, action in actions.items()}, never, at_limit, infos

    def _seen(self) -> Any:
        present = [a for i, a in enumerate(self.possible_agents) if len(self.possible_agents) == 1 or (self.t + i) % 3]
        self.agents = present
        masks = {agent: {"action_mask": [0, 0] if agent == "guest_0" else [1, 1]} for agent in present}
        return {agent: np.array([self.t], np.float32) for agent in present}, masks

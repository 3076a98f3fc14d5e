"""Parallel environments of PettingZoo as a World. jax is not imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.envs.host.spaces import Choices, Flat, flatten, numbered
from tutelage.envs.host.world import UNKNOWN_LENGTH, Facts, Moment, Settings
from tutelage.errors import BadInput


def split_mask(space: Any) -> tuple[Any, bool]:
    """The space of what is observed, and whether observations hold `{"observation", "action_mask"}`."""
    if type(space).__name__ == "Dict" and set(space.keys()) == {"observation", "action_mask"}:
        return space["observation"], True
    return space, False


def known_length(env: Any) -> int | None:
    """An episode's most steps, where the environment tells."""
    for name in ("max_cycles", "_max_episode_steps", "max_steps", "episode_limit"):
        value = getattr(getattr(env, "unwrapped", env), name, None)
        if isinstance(value, int | np.integer) and value > 0:
            return int(value)
    return None


class ParallelWorld:
    """A ParallelEnv of PettingZoo: agents by name, which may die, leave and come back."""

    def __init__(self, env: Any, label: str, version: str, settings: Settings) -> None:
        self._env, self._settings, self._judge = env, settings, settings.judge()
        agents = list(env.possible_agents)
        if not agents:
            raise BadInput(f"{label}: has no possible_agents")
        if settings.reward not in ("mean", "sum", *agents):
            raise BadInput(f"reward = {settings.reward!r}: must be mean, sum, or one of {', '.join(map(str, agents))}")
        split = [split_mask(env.observation_space(agent)) for agent in agents]
        self._flats: list[Flat] = [
            flatten(space, "", f"{label}: observation space of {agent}")
            for (space, _), agent in zip(split, agents, strict=True)
        ]
        self._masked = [masked for _, masked in split]
        self._choices: list[Choices] = [
            numbered(env.action_space(agent), f"{label}: action space of {agent}") for agent in agents
        ]
        self._agents, self._index = agents, {agent: i for i, agent in enumerate(agents)}
        widths, counts = tuple(flat.width for flat in self._flats), tuple(c.count for c in self._choices)
        self._shape = max(widths), max(counts)
        self._state_flat = self._find_state(label)
        self._total = 0.0
        self.facts = Facts(
            tuple(map(str, agents)),
            widths,
            counts,
            self._state_flat.width if self._state_flat else sum(widths),
            tuple(flat.names for flat in self._flats),
            settings.max_steps or known_length(env) or UNKNOWN_LENGTH,
            version,
            "success" if settings.success else "return",
        )

    def _find_state(self, label: str) -> Flat | None:
        """The row of `env.state()`, where the environment has one."""
        space = getattr(self._env, "state_space", None)
        if space is not None:
            try:
                self._env.reset(seed=0)
                self._env.state()
            except (NotImplementedError, AttributeError):
                return None
            return flatten(space, "state", f"{label}: state space")
        return None

    def reset(self, seed: int) -> Moment:
        observations, infos = self._env.reset(seed=seed)
        self._total, self._age = 0.0, 0
        return self._moment(observations, infos, 0.0, False, False)

    def step(self, actions: np.ndarray) -> Moment:
        chosen = {a: self._choices[i].action(int(actions[i])) for a in self._env.agents for i in (self._index[a],)}
        observations, rewards, terminated, truncated, infos = self._env.step(chosen)
        reward = self._settings.team_reward(rewards)
        self._total, self._age = self._total + reward, self._age + 1
        over = not self._env.agents or all(terminated.get(a, False) or truncated.get(a, False) for a in chosen)
        # An episode that ends for some by a time limit was cut off: what came after would have counted.
        cut = over and any(truncated.get(a, False) and not terminated.get(a, False) for a in chosen)
        if not over and self._age >= self.facts.max_steps:
            over = cut = True
        return self._moment(observations, infos, reward, over and not cut, cut)

    def _moment(self, observations: Any, infos: Any, reward: float, terminated: bool, truncated: bool) -> Moment:
        n, (width, count) = len(self._agents), self._shape
        obs, avail, alive = np.zeros((n, width), np.float32), np.zeros((n, count), bool), np.zeros(n, bool)
        present = set(self._env.agents)
        for agent, seen in observations.items():
            i = self._index[agent]
            mask = infos.get(agent, {}).get("action_mask") if isinstance(infos, dict) else None
            if self._masked[i]:
                seen, mask = seen["observation"], seen["action_mask"]
            self._flats[i].write(seen, obs[i, : self._flats[i].width])
            alive[i] = agent in present
            avail[i, : self._choices[i].count] = alive[i] if mask is None else np.asarray(mask, bool) & alive[i]
        state = self._state(obs)
        success = (terminated or truncated) and self._judge(self._total, [infos.get(a, {}) for a in observations])
        return Moment(obs, state, avail, alive, reward, terminated, truncated, success)

    def _state(self, obs: np.ndarray) -> np.ndarray:
        """The world state: the environment's own, else all observations."""
        if self._state_flat is None:
            return np.concatenate([row[: flat.width] for row, flat in zip(obs, self._flats, strict=True)])
        row = np.zeros(self._state_flat.width, np.float32)
        self._state_flat.write(self._env.state(), row)
        return row

    def draw(self) -> np.ndarray:
        picture = self._env.render()
        if not isinstance(picture, np.ndarray):
            raise BadInput("this environment draws no pictures: make it with --env.render-mode rgb_array")
        return picture

    def close(self) -> None:
        self._env.close()

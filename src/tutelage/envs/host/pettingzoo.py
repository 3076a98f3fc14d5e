"""Parallel environments of PettingZoo as a World. jax is not imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from tutelage.envs.host.returned import (
    RESET_PARTS,
    STEP_PARTS,
    check_known,
    check_mask,
    check_observed,
    check_parts,
    check_rewards,
    scalars,
)
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
    """A ParallelEnv of PettingZoo, or a class of the same form: agents by name, which may die, leave and come back.

    Raises:
        BadInput: when it is made or played, one line on what is wrong with it.
    """

    def __init__(self, env: Any, label: str, version: str, settings: Settings) -> None:
        self._env, self._label, self._settings, self._judge = env, label, settings, settings.judge()
        agents = list(env.possible_agents)
        if not agents or len(set(agents)) < len(agents):
            raise BadInput(f"{label}: possible_agents = {agents!r}, must be names, each once, and at least one")
        if settings.reward not in ("mean", "sum", *agents):
            raise BadInput(f"reward = {settings.reward!r}: must be mean, sum, or one of {', '.join(map(str, agents))}")
        split = [split_mask(env.observation_space(agent)) for agent in agents]
        self._flats: list[Flat] = [
            flatten(space, "", f"{label}: observation of {agent!r}")
            for (space, _), agent in zip(split, agents, strict=True)
        ]
        self._masked = [masked for _, masked in split]
        self._choices: list[Choices] = [
            numbered(env.action_space(agent), f"{label}: action space of {agent!r}") for agent in agents
        ]
        self._agents, self._index = agents, {agent: i for i, agent in enumerate(agents)}
        widths, counts = tuple(flat.width for flat in self._flats), tuple(c.count for c in self._choices)
        self._shape = max(widths), max(counts)
        self._state_flat = self._find_state()
        self.shown: dict[str, float] = {}
        self._total, self._age = 0.0, 0
        self.facts = Facts(
            tuple(map(str, agents)),
            widths,
            counts,
            self._state_flat.width if self._state_flat else sum(widths),
            tuple(flat.names for flat in self._flats),
            settings.max_steps or known_length(env) or UNKNOWN_LENGTH,
            version,
            "success" if settings.success else "return",
            settings.info_keys,
        )

    def _find_state(self) -> Flat | None:
        """The row of `env.state()`, where the environment has one."""
        space = getattr(self._env, "state_space", None)
        if space is not None:
            try:
                self._env.reset(seed=0)
                self._env.state()
            except (NotImplementedError, AttributeError):
                return None
            return flatten(space, "state", f"{self._label}: state")
        return None

    def reset(self, seed: int) -> Moment:
        part = f"{self._label}: reset"
        observations, infos = check_parts(part, self._env.reset(seed=seed), RESET_PARTS, self._index)
        if not self._env.agents:
            raise BadInput(f"{part} leaves `agents` empty, must name those that live")
        self._total, self._age = 0.0, 0
        return self._moment(part, observations, infos, 0.0, False, False)

    def step(self, actions: np.ndarray) -> Moment:
        part = f"{self._label}: step"
        chosen = {a: self._choices[i].action(int(actions[i])) for a in self._env.agents for i in (self._index[a],)}
        returned = check_parts(part, self._env.step(chosen), STEP_PARTS, self._index)
        observations, rewards, terminated, truncated, infos = returned
        check_rewards(part, rewards)
        reward = self._settings.team_reward(rewards)
        self._total, self._age = self._total + reward, self._age + 1
        over = not self._env.agents or all(terminated.get(a, False) or truncated.get(a, False) for a in chosen)
        # An episode that ends for some by a time limit was cut off: what came after would have counted.
        cut = over and any(truncated.get(a, False) and not terminated.get(a, False) for a in chosen)
        if not over and self._age >= self.facts.max_steps:
            over = cut = True
        return self._moment(part, observations, infos, reward, over and not cut, cut)

    def _moment(
        self, part: str, observations: Any, infos: Any, reward: float, terminated: bool, truncated: bool
    ) -> Moment:
        n, (width, count) = len(self._agents), self._shape
        obs, avail, alive = np.zeros((n, width), np.float32), np.zeros((n, count), bool), np.zeros(n, bool)
        present = set(self._env.agents)
        check_known(f"{part}: agents", present, self._index)
        check_observed(part, present, observations)
        for agent, seen in observations.items():
            i = self._index[agent]
            mask = infos.get(agent, {}).get("action_mask")
            if self._masked[i]:
                seen, mask = seen["observation"], seen["action_mask"]
            self._flats[i].write(seen, obs[i, : self._flats[i].width])
            alive[i] = agent in present
            allowed = self._choices[i].count
            avail[i, :allowed] = alive[i] if mask is None else check_mask(agent, mask, allowed) & alive[i]
        own = [infos.get(agent, {}) for agent in observations]
        success = (terminated or truncated) and self._judge(self._total, own)
        self.shown = scalars(own)
        info = np.array([self.shown.get(key, 0.0) for key in self.facts.info], np.float32)
        return Moment(obs, self._state(obs), avail, alive, reward, terminated, truncated, success, info)

    def _state(self, obs: np.ndarray) -> np.ndarray:
        """The world state: the environment's own, else all observations."""
        if self._state_flat is None:
            return np.concatenate([row[: flat.width] for row, flat in zip(obs, self._flats, strict=True)])
        row = np.zeros(self._state_flat.width, np.float32)
        self._state_flat.write(self._env.state(), row)
        return row

    def draw(self) -> np.ndarray:
        if not hasattr(self._env, "render"):
            raise BadInput(f"{self._label}: has no render, so it draws no pictures")
        picture = self._env.render()
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.shape[2] < 3:
            found = f"an array {picture.shape}" if isinstance(picture, np.ndarray) else f"a {type(picture).__name__}"
            raise BadInput(f"{self._label}: render gives {found}, must give a picture (render_mode rgb_array)")
        return np.ascontiguousarray(picture[..., :3], np.uint8)

    def close(self) -> None:
        if hasattr(self._env, "close"):
            self._env.close()

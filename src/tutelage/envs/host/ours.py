"""Our environments for other packages: `to_pettingzoo` and `to_gymnasium`. One instance each, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from tutelage.errors import BadInput
from tutelage.types import Environment, TimeStep


class Played(NamedTuple):
    """A step in NumPy: observations (N, D), masks (N, A) with an action for everybody, and how it stands."""

    obs: np.ndarray
    masks: np.ndarray
    state: np.ndarray
    alive: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    success: bool


class OneInstance:
    """One instance of an environment, stepped from Python. Seeds of further episodes follow from the first."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        # Keys are split inside the compiled step: outside of it each split costs as much as many a step.
        self._reset, self._step = jax.jit(with_key(env.reset)), jax.jit(with_key(env.step))
        self._key: Any = None
        self.state: Any = None

    def reset(self, seed: int | None) -> Played:
        """A new episode."""
        if seed is not None or self._key is None:
            self._key = jax.random.key(np.random.default_rng(seed).integers(2**31))
        self._key, (self.state, timestep) = self._reset(self._key)
        return played(timestep)

    def step(self, actions: np.ndarray) -> Played:
        """One step."""
        self._key, (self.state, timestep) = self._step(self._key, self.state, actions.astype(np.int32))
        return played(timestep)


def with_key(function: Callable[..., Any]) -> Callable[..., tuple[PRNGKeyArray, Any]]:
    """A function of a key as one that also gives the key of the next call."""

    def keyed(key: PRNGKeyArray, *args: Any) -> tuple[PRNGKeyArray, Any]:
        following, own = jax.random.split(key)
        return following, function(own, *args)

    return keyed


def played(timestep: TimeStep) -> Played:
    """A timestep in NumPy. Who has no action may take action 0, which the environment ignores: masks of others must
    not be empty."""
    step: Any = jax.device_get(timestep)
    masks = step.avail.astype(np.int8)
    masks[~step.avail.any(-1), 0] = 1
    last, ended, success = bool(step.last), float(step.discount) == 0, bool(step.success)
    over, cut = last and ended, last and not ended
    return Played(step.obs, masks, step.state, step.alive, float(step.reward), over, cut, success)


def spaces_module(label: str) -> Any:
    """`gymnasium.spaces`; raises BadInput with the way to get it."""
    try:
        from gymnasium import spaces
    except ImportError:
        raise BadInput(f"{label}: needs gymnasium: pip install 'tutelage[gymnasium]'") from None
    return spaces


def to_pettingzoo(env: Environment) -> Any:
    """An environment as a ParallelEnv of PettingZoo.

    Agents are `TYPE_i`. Observations are `{"observation", "action_mask"}`, narrower agents' rows without padding; all
    agents are paid the team's reward and stay until the episode ends; infos hold `alive` and `success`.

    Args:
        env: from `make`.

    Raises:
        BadInput: PettingZoo is missing, or the environment runs on the host and so is one of theirs.
    """
    try:
        from pettingzoo import ParallelEnv
    except ImportError:
        raise BadInput("to_pettingzoo: needs pettingzoo: pip install 'tutelage[pettingzoo]'") from None
    if env.on_host:
        raise BadInput("to_pettingzoo: this environment runs on the host; use it as it comes")
    spaces, spec = spaces_module("to_pettingzoo"), env.spec
    names = [f"{kind or 'agent'}_{i}" for i, kind in enumerate(spec.agent_types)]

    class TeamEnv(ParallelEnv):  # type: ignore[misc, type-arg]
        metadata = {"name": f"tutelage {spec.version}", "render_modes": ["rgb_array"]}  # noqa: RUF012
        render_mode = "rgb_array"

        def __init__(self) -> None:
            self.possible_agents, self.agents = list(names), list[str]()
            self._one, self._now = OneInstance(env), cast("Played", None)
            self.state_space = spaces.Box(-np.inf, np.inf, (spec.state_width,), np.float32)
            sees = [spaces.Box(-np.inf, np.inf, (width,), np.float32) for width in spec.obs_widths]
            masks = [spaces.Box(0, 1, (count,), np.int8) for count in spec.action_counts]
            both = (spaces.Dict({"observation": x, "action_mask": m}) for x, m in zip(sees, masks, strict=True))
            self.observation_spaces = dict(zip(names, both, strict=True))
            self.action_spaces = {n: spaces.Discrete(c) for n, c in zip(names, spec.action_counts, strict=True)}

        def observation_space(self, agent: str) -> Any:
            return self.observation_spaces[agent]

        def action_space(self, agent: str) -> Any:
            return self.action_spaces[agent]

        def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
            self.agents = list(names)
            self._now = self._one.reset(seed)
            return self._seen(), self._infos()

        def step(self, actions: dict[str, int]) -> tuple[dict[str, Any], ...]:
            if not self.agents:
                return {}, {}, {}, {}, {}
            self._now = now = self._one.step(np.array([actions[name] for name in names]))
            each = lambda value: dict.fromkeys(names, value)
            if now.terminated or now.truncated:
                self.agents = []
            return self._seen(), each(now.reward), each(now.terminated), each(now.truncated), self._infos()

        def state(self) -> np.ndarray:
            return self._now.state

        def render(self) -> np.ndarray:
            return env.draw(self._one.state)

        def close(self) -> None:
            pass

        def _seen(self) -> dict[str, Any]:
            parts = zip(self._now.obs, self._now.masks, spec.obs_widths, spec.action_counts, strict=True)
            cut = [{"observation": row[:width], "action_mask": mask[:count]} for row, mask, width, count in parts]
            return dict(zip(names, cut, strict=True))

        def _infos(self) -> dict[str, Any]:
            alive = zip(names, self._now.alive.tolist(), strict=True)
            return {name: {"alive": lives, "success": self._now.success} for name, lives in alive}

    return TeamEnv()


def to_gymnasium(env: Environment) -> Any:
    """An environment as EPyMARL takes them: a Gymnasium environment with tuples of spaces and a list of rewards.

    `info` holds `action_mask`, a list of masks, and `success`.

    Args:
        env: from `make`.

    Raises:
        BadInput: gymnasium is missing, or the environment runs on the host and so is one of theirs.
    """
    spaces, spec = spaces_module("to_gymnasium"), env.spec
    if env.on_host:
        raise BadInput("to_gymnasium: this environment runs on the host; use it as it comes")
    import gymnasium

    class TupleEnv(gymnasium.Env):  # type: ignore[misc, type-arg]
        metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
        render_mode = "rgb_array"

        def __init__(self) -> None:
            self.n_agents, self._one = spec.n_agents, OneInstance(env)
            sees = [spaces.Box(-np.inf, np.inf, (width,), np.float32) for width in spec.obs_widths]
            self.observation_space = spaces.Tuple(sees)
            self.action_space = spaces.Tuple([spaces.Discrete(count) for count in spec.action_counts])

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            super().reset(seed=seed)
            now = self._one.reset(seed)
            return self._seen(now), self._info(now)

        def step(self, action: Any) -> tuple[Any, ...]:
            now = self._one.step(np.asarray(action))
            return self._seen(now), [now.reward] * spec.n_agents, now.terminated, now.truncated, self._info(now)

        def render(self) -> np.ndarray:  # type: ignore[override]
            return env.draw(self._one.state)

        def _seen(self, now: Played) -> tuple[np.ndarray, ...]:
            return tuple(row[:width] for row, width in zip(now.obs, spec.obs_widths, strict=True))

        def _info(self, now: Played) -> dict[str, Any]:
            masks = [mask[:count] for mask, count in zip(now.masks, spec.action_counts, strict=True)]
            return {"action_mask": masks, "success": now.success}

    return TupleEnv()

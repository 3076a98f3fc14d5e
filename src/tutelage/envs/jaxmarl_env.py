"""Any environment of the `jaxmarl` package whose agents choose from finitely many actions: `jaxmarl:NAME`, compiled.

What this adds: agents as one array axis, one team reward, episodes that end by a time limit told from those that end,
success by the user's own measure, and the package's infos as quantities that are logged.
"""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from tutelage.configs.checks import build, check_not_negative, check_positive
from tutelage.envs.host.world import UNKNOWN_LENGTH, agent_type, threshold_of
from tutelage.envs.parts import first_timestep, next_timestep
from tutelage.errors import BadInput, reports_user_error, unknown
from tutelage.types import Block, Environment, Policy, Sensed, Spec, TimeStep

SHAPED, AS_GIVEN = "shaped_reward", "reward without shaping"
"""The key of infos under which environments pay for progress, and what the team earned without that."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop `print` while jaxmarl is imported. Redirecting sys.stdout does not help: jaxmarl restores it."""
    before = builtins.print
    builtins.print = lambda *args, **kwargs: None  # type: ignore[assignment]
    try:
        yield
    finally:
        builtins.print = before


@dataclass(frozen=True)
class JaxmarlSettings:
    """How a team is judged in an environment that says nothing about teams.

    Attributes:
        reward: `mean`, `sum`, or an agent's name.
        success: a key of its infos, read in the last step, `return>=X`, or "" for none.
        max_steps: where the environment's own limit is unknown or too long; None: its own.
        shaped: weight of the `shaped_reward` of its infos within the reward.
    """

    reward: str = "mean"
    success: str = ""
    max_steps: int | None = None
    shaped: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative(self, "shaped")
        if self.max_steps is not None:
            check_positive(self, "max_steps")
        threshold_of(self.success)

    @property
    def threshold(self) -> float | None:
        """Return from which on an episode succeeds; None where an info says so, or nothing does."""
        return threshold_of(self.success)


class JaxmarlState(NamedTuple):
    """The package's own state, what is observed of it, and the return and the steps so far."""

    own: Any
    sensed: Sensed
    total: Float[Array, ""]
    age: Int[Array, ""]


def make_jaxmarl(name: str, options: Mapping[str, Any]) -> JaxmarlEnv:
    """The environment `jaxmarl:NAME`.

    Args:
        options: those of JaxmarlSettings, and what its constructor takes; overcooked's `layout` by its name.

    Raises:
        BadInput: the package is missing, there is no such environment, or it is not of a form that is offered.
    """
    label = f"jaxmarl:{name}"
    try:
        with quiet():
            import jaxmarl
            from jaxmarl.registration import registered_envs
    except ImportError:
        raise BadInput(f"{label} needs the package jaxmarl: pip install 'tutelage[jaxmarl]'") from None
    if name not in registered_envs:
        raise unknown("environment of jaxmarl", name, registered_envs)
    own, settings = split(options)
    if isinstance(own.get("layout"), str) and name.startswith("overcooked"):
        own["layout"] = layout_named(name, own["layout"])
    with reports_user_error(label):
        game = jaxmarl.make(name, **own)
    return of_game(label, game, f"jaxmarl/{getattr(jaxmarl, '__version__', 'unknown')}", settings)


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of a constructor, and those of JaxmarlSettings."""
    names = JaxmarlSettings.__dataclass_fields__
    settings = {key: value for key, value in options.items() if key in names}
    return {key: value for key, value in options.items() if key not in names}, settings


def of_game(label: str, game: Any, version: str, settings: Mapping[str, Any]) -> JaxmarlEnv:
    """An environment of an object of the package's form."""
    built = build(JaxmarlSettings, dict(settings), f"option of {label}")
    with reports_user_error(label):
        return JaxmarlEnv(label, game, version, built)


def layout_named(name: str, layout: str) -> Any:
    """A layout of overcooked; raises BadInput for an unknown one."""
    from jaxmarl.environments import overcooked, overcooked_v2

    module: Any = overcooked_v2 if name.endswith("v2") else overcooked
    known = getattr(module, "overcooked_v2_layouts" if name.endswith("v2") else "overcooked_layouts")
    if layout not in known:
        raise unknown(f"layout of jaxmarl:{name}", layout, known)
    return known[layout]


class JaxmarlEnv(Environment):
    """One instance of an environment of jaxmarl."""

    def __init__(self, label: str, game: Any, version: str, settings: JaxmarlSettings) -> None:
        self.label, self.game, self.settings, self.agents = label, game, settings, list(game.agents)
        self._reward_of = self._team_reward()
        n, key = len(self.agents), jax.random.key(0)
        obs, state = jax.eval_shape(game.reset, key)
        if not isinstance(obs, dict) or any(agent not in obs for agent in self.agents):
            raise BadInput(f"{label}: observations are no dict of {self.agents}; such environments are not offered")
        self._counts = tuple(self._actions_of(agent) for agent in self.agents)
        self._masks = self._offers_masks(state)
        self._widths = tuple(int(np.prod(obs[agent].shape)) for agent in self.agents)
        self._world = obs.get("world_state")
        infos = jax.eval_shape(game.step_env, key, state, self._joint(jnp.zeros(n, jnp.int32)))[4]
        shown = jax.eval_shape(self._scalars, infos)
        if settings.shaped and SHAPED not in shown:
            raise BadInput(f"shaped = {settings.shaped}: {label} has no {SHAPED} in its infos")
        if settings.success and settings.threshold is None and settings.success not in shown:
            raise BadInput(f"success = {settings.success!r}: must be return>=X, or one of {', '.join(shown) or 'none'}")
        limit = next((v for k in ("max_steps", "max_cycles") if isinstance(v := getattr(game, k, None), int)), None)
        columns = [observed(obs[agent].shape) for agent in self.agents]
        layouts = tuple((Block("own", 0, len(names), None, names),) for names in columns)
        self.spec = Spec(
            n_agents=n,
            n_actions=max(self._counts),
            obs_width=max(self._widths),
            state_width=int(np.prod(self._world.shape)) if self._world is not None else sum(self._widths),
            max_steps=settings.max_steps or limit or UNKNOWN_LENGTH,
            time_limit="truncation",
            agent_types=tuple(agent_type(str(agent)) for agent in self.agents),
            action_counts=self._counts,
            obs_widths=self._widths,
            layout=layouts[0] if len(set(layouts)) == 1 else (),
            version=version,
            measure="success" if settings.success else "return",
            own_layouts=() if len(set(layouts)) == 1 else layouts,
            info=(*shown, *((AS_GIVEN,) if settings.shaped else ())),
        )

    def _actions_of(self, agent: str) -> int:
        """How many actions an agent has; raises BadInput where these cannot be numbered."""
        space = self.game.action_space(agent)
        if type(space).__name__ != "Discrete":
            found = type(space).__name__
            raise BadInput(f"{self.label}: action space of {agent!r} is {found}; actions must be Discrete")
        return int(space.n)

    def _offers_masks(self, state: Any) -> bool:
        try:
            jax.eval_shape(self.game.get_avail_actions, state)
        except (NotImplementedError, AttributeError):
            return False
        return True

    def _team_reward(self) -> Callable[[Float[Array, " N"]], Float[Array, ""]]:
        """From the agents' rewards to the team's."""
        by = self.settings.reward
        if by in ("mean", "sum"):
            return jnp.mean if by == "mean" else jnp.sum
        if by not in self.agents:
            raise BadInput(f"reward = {by!r}: must be mean, sum, or one of {', '.join(map(str, self.agents))}")
        index = self.agents.index(by)
        return lambda rewards: rewards[index]

    def _joint(self, action: Int[Array, " N"]) -> dict[str, Array]:
        """The joint action as the package takes it; an agent's number beyond its own actions is its last."""
        return {agent: action[i].clip(0, self._counts[i] - 1) for i, agent in enumerate(self.agents)}

    def _rows(self, values: Mapping[str, Array]) -> Array:
        """Values of all agents as one array."""
        return jnp.stack([jnp.asarray(values[agent], jnp.float32) for agent in self.agents])

    def _scalars(self, infos: Mapping[str, Any]) -> dict[str, Array]:
        """The numbers in infos by key; of what is told for each agent the mean."""
        found = {}
        for key, value in infos.items():
            if isinstance(value, dict) and all(a in value and jnp.shape(value[a]) == () for a in self.agents):
                found[str(key)] = self._rows(value).mean()
            elif not isinstance(value, dict) and jnp.shape(value) == ():
                found[str(key)] = jnp.asarray(value, jnp.float32)
        return found

    def _sense(self, obs: Mapping[str, Array], state: Any, alive: Array) -> Sensed:
        rows = [jnp.asarray(obs[agent], jnp.float32).reshape(-1) for agent in self.agents]
        pad = lambda row, width: jnp.pad(row, (0, width - row.shape[0]))
        if self._masks:
            given = self.game.get_avail_actions(state)
            masks = [jnp.asarray(given[agent]).astype(bool) for agent in self.agents]
        else:
            masks = [jnp.ones(count, bool) for count in self._counts]
        avail = jnp.stack([pad(mask, max(self._counts)) for mask in masks])
        seen = jnp.stack([pad(row, max(self._widths)) for row in rows])
        world = jnp.concatenate(rows) if self._world is None else obs["world_state"].astype(jnp.float32).reshape(-1)
        return Sensed(jnp.where(alive[:, None], seen, 0.0), world, avail & alive[:, None], alive)

    def reset(self, key: PRNGKeyArray) -> tuple[JaxmarlState, TimeStep]:
        obs, state = self.game.reset(key)
        sensed = self._sense(obs, state, jnp.ones(len(self.agents), bool))
        none = {name: jnp.zeros(()) for name in self.spec.info} or ()
        start = JaxmarlState(state, sensed, jnp.zeros(()), jnp.zeros((), jnp.int32))
        return start, first_timestep(sensed)._replace(info=none)

    def step(self, key: PRNGKeyArray, state: JaxmarlState, action: Int[Array, " N"]) -> tuple[JaxmarlState, TimeStep]:
        obs, own, rewards, dones, infos = self.game.step_env(key, state.own, self._joint(action))
        given, shown = self._reward_of(self._rows(rewards)), self._scalars(infos)
        reward, age = given, state.age + 1
        if self.settings.shaped:
            reward = given + self.settings.shaped * self._reward_of(self._rows(infos[SHAPED]))
            shown[AS_GIVEN] = given
        total, ended, at_limit = state.total + given, jnp.asarray(dones["__all__"], bool), age >= self.spec.max_steps
        alive = ~jnp.stack([jnp.asarray(dones.get(agent, False), bool) for agent in self.agents])
        sensed = self._sense(obs, own, alive | ended)
        timestep = next_timestep(
            sensed, action, reward, ended | at_limit, self._success(total, shown), terminal=ended & ~at_limit
        )
        return JaxmarlState(own, sensed, total, age), timestep._replace(info=shown or ())

    def _success(self, total: Array, shown: Mapping[str, Array]) -> Array:
        """Whether an episode that ends now succeeded."""
        if not self.settings.success:
            return jnp.zeros((), bool)
        threshold = self.settings.threshold
        return total >= threshold if threshold is not None else shown[self.settings.success] > 0

    def sense(self, state: JaxmarlState) -> Sensed:
        return state.sensed

    def draw(self, state: JaxmarlState) -> np.ndarray:
        raise BadInput(f"{self.label}: environments of jaxmarl draw no pictures here")

    def scripted(self, name: str = "local") -> Policy:
        raise unknown(f"scripted controller of {self.label}", name, ())


def observed(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the columns of a flattened observation: its indices."""
    if not shape:
        return ("observation [as the environment gives it]",)
    places = (" ".join(map(str, index)) for index in np.ndindex(*shape))
    return tuple(f"observation {place} [as the environment gives it]" for place in places)

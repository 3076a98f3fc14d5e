"""A user's own environment: what it must keep, checked on shapes alone before anything runs, and how it is read."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.checks import MAX_COUNT
from tutelage.errors import BadInput, reports_user_error
from tutelage.types import Block, Environment, EnvState, Goals, Policy, Sensed, Spec, TimeStep, VectorEnv

Shape = tuple[int, ...]
KINDS: dict[str, tuple[str, Any, tuple[Any, ...]]] = {
    "f": ("float", jnp.float32, (jnp.floating, jnp.integer, jnp.bool_)),
    "b": ("bool", jnp.bool_, (jnp.bool_, jnp.integer)),
    "i": ("int", jnp.int32, (jnp.integer,)),
}
"""Kinds of numbers: what they are called, as what they are read, and what is understood."""
TIMESTEP = {
    "obs": "f", "state": "f", "avail": "b", "alive": "b", "action": "i", "reward": "f", "discount": "f",
    "first": "b", "last": "b", "success": "b", "links": "b",
}  # fmt: skip
GOALS = {"features": "f", "valid": "b", "potential": "f", "reached": "b", "thing": "i"}

Told = TypeVar("Told", TimeStep, Sensed)


class Own:
    """A user's environment as the package reads it.

    Numbers are of one kind, what a dead agent senses is zero (so nothing reads it), and what his code raises is told
    in a line that names it. Everything else is the environment's own.
    """

    def __init__(self, name: str, inner: Environment) -> None:
        self.name, self.inner, self.spec = name, inner, checked_spec(name, inner)
        self.watched = name  # its values are looked at, see `data/watch.py`

    def call(self, part: str, *args: Any) -> Any:
        """What a function of the environment gives."""
        with reports_user_error(f"{self.name}: {part}"):
            return getattr(self.inner, part)(*args)

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        state, timestep = self.call("reset", key)
        return state, clean(timestep)._replace(first=jnp.ones((), bool))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        state, timestep = self.call("step", key, state, action)
        return state, clean(timestep)._replace(first=jnp.zeros((), bool))

    def sense(self, state: EnvState) -> Sensed:
        return clean(self.call("sense", state))

    def draw(self, state: EnvState) -> np.ndarray:
        picture = np.asarray(self.call("draw", state))
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            is_ = f"{picture.dtype.name} {picture.shape}"
            raise BadInput(f"{self.name}: draw gives {is_}, must be uint8 (height, width, 3)")
        return picture

    def scripted(self, name: str = "local") -> Policy:
        policy = self.call("scripted", name)
        if not isinstance(policy, Policy):
            is_ = type(policy).__name__
            raise BadInput(f"{self.name}: scripted gives a {is_} for {name!r}, must be a tutelage.types.Policy")
        return policy

    def __getattr__(self, part: str) -> Any:
        """What only some environments have: `goals`, `places`, `vector`."""
        if part.startswith("__") or part == "inner":
            raise AttributeError(part)
        value = getattr(self.inner, part)
        if part == "vector":
            return self._side_by_side
        if not callable(value):
            return value
        if part == "goals":
            return lambda state: cast(self.call("goals", state), GOALS)
        return lambda *args: self.call(part, *args)

    def _side_by_side(self, n: int) -> VectorEnv:
        """Many instances as the environment itself plays them."""
        made: VectorEnv = self.call("vector", n)
        told = lambda part, function: reports_user_error(f"{self.name}: {part} of vector")(function)
        reset, step, sense = (told(part, getattr(made, part)) for part in ("reset", "step", "sense"))
        goals = told("goals", made.goals) if made.goals else None

        def cleaned(both: tuple[EnvState, TimeStep]) -> tuple[EnvState, TimeStep]:
            return both[0], clean(both[1])

        return made._replace(
            reset=lambda key: cleaned(reset(key)),
            step=lambda *args: cleaned(step(*args)),
            sense=lambda packed: clean(sense(packed)),
            goals=(lambda state: cast(goals(state), GOALS)) if goals else None,
        )


def cast(told: Any, kinds: dict[str, str]) -> Any:
    """A named tuple with its fields as the kinds of numbers that the package reads."""
    fields = {name: value for name, value in told._asdict().items() if name in kinds and not isinstance(value, tuple)}
    return told._replace(**{name: jnp.asarray(x).astype(KINDS[kinds[name]][1]) for name, x in fields.items()})


def clean(told: Told) -> Told:
    """What is sensed in numbers of one kind; a dead agent senses zeros, whatever the environment says."""
    told = cast(told, TIMESTEP)
    return told._replace(obs=jnp.where(told.alive[..., None], told.obs, 0.0))


def checked_spec(name: str, env: Any) -> Spec:
    """The facts of an environment, its counts held against each other; raises BadInput naming the one that is wrong."""
    spec = getattr(env, "spec", None)
    if not isinstance(spec, Spec):
        raise BadInput(f"{name}: gives a {type(env).__name__}, must be an environment with a `spec` of tutelage.Spec")
    wrong = lambda field, must: BadInput(f"{name}: spec.{field} is {getattr(spec, field)!r}, must be {must}")
    counts = ("n_agents", "n_actions", "obs_width", "state_width", "max_steps")
    for field in counts:
        value = getattr(spec, field)
        if not isinstance(value, Integral) or not 1 <= int(value) < MAX_COUNT:
            raise wrong(field, f"a whole number from 1 to {MAX_COUNT - 1}")
    if spec.time_limit not in ("terminal", "truncation"):
        raise wrong("time_limit", "'terminal' or 'truncation'")
    if spec.measure not in ("success", "return"):
        raise wrong("measure", "'success' or 'return'")
    if not isinstance(spec.version, str):
        raise wrong("version", "a string")
    if not isinstance(spec.reward_scale, Real) or not (isfinite(spec.reward_scale) and spec.reward_scale > 0):
        raise wrong("reward_scale", "greater than 0")
    most = {"agent_types": None, "action_counts": spec.n_actions, "obs_widths": spec.obs_width}
    for field, widest in most.items():
        value, kind = getattr(spec, field), str if widest is None else Integral
        each = f"whole numbers from 1 to {widest}" if widest else "names"
        must = f"n_agents = {spec.n_agents} {each}"
        if not isinstance(value, tuple | list) or len(value) != spec.n_agents:
            raise wrong(field, must)
        if not all(isinstance(x, kind) and (widest is None or 1 <= x <= widest) for x in value):
            raise wrong(field, must)
    for block in spec.layout:
        if not isinstance(block, Block) or not 0 <= block.start < block.stop <= spec.obs_width:
            raise BadInput(f"{name}: spec.layout has {block!r}, must be a Block within obs_width = {spec.obs_width}")
        if block.place is not None and not block.start <= block.place <= block.stop - 2:
            raise BadInput(f"{name}: spec.layout has {block!r}, its place must be two columns of the block")
    return replace(
        spec,
        **{field: int(getattr(spec, field)) for field in counts},
        **{field: tuple(getattr(spec, field)) for field in (*most, "layout")},
    )


def check_own(env: Own) -> None:
    """Hold what an environment gives against its `spec`.

    Raises:
        BadInput: a field of a timestep or of its goals has another shape or type, `step` changes the state's, or his
            code raises.
    """
    name, spec, inner, key = env.name, env.spec, env.inner, jax.random.key(0)
    action = jax.ShapeDtypeStruct((spec.n_agents,), jnp.int32)
    state, first = pair(name, "reset", shaped(env, "reset", key))
    after, then = pair(name, "step", shaped(env, "step", key, state, action))
    for made, timestep in (("reset", first), ("step", then)):
        for field, (shape, kind) in timestep_fields(spec).items():
            check(f"{name}: {field} of {made}", getattr(timestep, field), shape, kind)
    if described(state) != described(after):
        raise BadInput(f"{name}: step gives a state of {described(after)}, reset one of {described(state)}")
    seen = shaped(env, "sense", state)
    if not isinstance(seen, Sensed):
        raise BadInput(f"{name}: sense gives a {type(seen).__name__}, must be tutelage.Sensed")
    for field in seen._fields:
        if field in timestep_fields(spec):
            check(f"{name}: {field} of sense", getattr(seen, field), *timestep_fields(spec)[field])
    if hasattr(inner, "goals"):
        told = f"{name}: goals"
        if not callable(inner.goals):
            raise BadInput(f"{told} is {inner.goals!r}, must be a method of a state")
        check_goals(told, spec, shaped(env, "goals", state))


def shaped(env: Own, part: str, *args: Any) -> Any:
    """Shapes of what a function of the environment gives."""
    with reports_user_error(f"{env.name}: {part}"):
        return jax.eval_shape(lambda *given: env.call(part, *given), *args)


def pair(name: str, part: str, given: Any) -> tuple[Any, TimeStep]:
    """A state and a timestep; raises BadInput where it is something else."""
    if not isinstance(given, tuple) or len(given) != 2 or not isinstance(given[1], TimeStep):
        kind = ", ".join(type(x).__name__ for x in given) if type(given) is tuple else type(given).__name__
        raise BadInput(f"{name}: {part} gives ({kind}), must be (state, tutelage.TimeStep)")
    return given[0], given[1]


def timestep_fields(spec: Spec) -> dict[str, tuple[Shape, str]]:
    """Shape and kind of every field of one instance's timestep."""
    n = spec.n_agents
    shapes: dict[str, Shape] = {
        "obs": (n, spec.obs_width),
        "state": (spec.state_width,),
        "avail": (n, spec.n_actions),
        "alive": (n,),
        "action": (n,),
        **({"links": (n, n)} if spec.links else {}),
    }
    return {name: (shapes.get(name, ()), kind) for name, kind in TIMESTEP.items() if name != "links" or spec.links}


def check_goals(told: str, spec: Spec, goals: Any) -> None:
    """The same for goals, of which there must be one at least."""
    if not isinstance(goals, Goals):
        raise BadInput(f"{told} gives a {type(goals).__name__}, must be tutelage.Goals")
    shape = goals.features.shape
    if len(shape) != 3 or shape[0] != spec.n_agents or 0 in shape:
        raise BadInput(f"{told}: features are {shape}, must be (n_agents = {spec.n_agents}, goals, features)")
    for field, kind in GOALS.items():
        check(f"{told}: {field}", getattr(goals, field), shape if field == "features" else shape[:2], kind)


def check(told: str, value: Any, shape: Shape, kind: str) -> None:
    """Refuse an array of another shape, or of numbers that cannot be read as that kind."""
    name, _, understood = KINDS[kind]
    if getattr(value, "shape", None) != shape or not any(jnp.issubdtype(value.dtype, one) for one in understood):
        is_ = f"{value.dtype.name} {value.shape}" if hasattr(value, "dtype") else repr(value)
        raise BadInput(f"{told} is {is_}, must be {name} {shape}")


def described(state: Any) -> str:
    """Names, types and shapes of a state's leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return ", ".join(f"{jax.tree_util.keystr(path)} {x.dtype.name} {x.shape}".strip() for path, x in leaves)

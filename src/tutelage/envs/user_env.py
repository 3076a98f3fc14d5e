"""Wrapping a user's own environment, with checks of its shapes and types before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from tutelage.configs.checks import MAX_COUNT
from tutelage.errors import BadInput, reports_user_error, short
from tutelage.types import (
    Block,
    Environment,
    EnvState,
    Goals,
    Policy,
    Sensed,
    Spec,
    TimeStep,
    VectorEnv,
    wrong_action_names,
    wrong_names,
)

Shape = tuple[int, ...]
NUMBER_KINDS: dict[str, tuple[str, Any, tuple[Any, ...]]] = {
    "f": ("float", jnp.float32, (jnp.floating, jnp.integer, jnp.bool_)),
    "b": ("bool", jnp.bool_, (jnp.bool_, jnp.integer)),
    "i": ("int", jnp.int32, (jnp.integer,)),
}
"""Kinds of numbers: name in messages, type that they are converted to, and types that are accepted."""
TIMESTEP = {
    "obs": "f", "state": "f", "avail": "b", "alive": "b", "action": "i", "reward": "f", "discount": "f",
    "first": "b", "last": "b", "success": "b", "links": "b",
}  # fmt: skip
GOALS = {"features": "f", "valid": "b", "potential": "f", "reached": "b", "thing": "i"}

Sensing = TypeVar("Sensing", TimeStep, Sensed)


class UserEnv(Environment):
    """A user's environment with converted types and errors that name the part that raised.

    Observations of dead agents are replaced by zeros. Everything else is passed through.
    """

    def __init__(self, name: str, inner: Environment) -> None:
        self.name, self.inner, self.spec = name, inner, check_spec(name, inner)
        self.watched = name  # its values are checked while it is played, see `data/watch.py`
        # What a user's object offers beyond the required functions is looked up here and nowhere else.
        offered = {part for part in ("goals", "places", "vector") if getattr(inner, part, None) is not None}
        self.goals = self._goals if "goals" in offered else None
        self.places = partial(self.call, "places") if "places" in offered else None
        self.vector = self._side_by_side if "vector" in offered else None
        self.idle = check_idle(name, self.spec, getattr(inner, "idle", 0))

    def call(self, part: str, *args: Any) -> Any:
        """Call a function of the environment; an exception names the function."""
        with reports_user_error(f"{self.name}: {part}"):
            return getattr(self.inner, part)(*args)

    def reset(self, key: PRNGKeyArray) -> tuple[EnvState, TimeStep]:
        state, timestep = self.call("reset", key)
        return state, clean_timestep(timestep)._replace(first=jnp.ones((), bool))

    def step(self, key: PRNGKeyArray, state: EnvState, action: Array) -> tuple[EnvState, TimeStep]:
        state, timestep = self.call("step", key, state, action)
        return state, clean_timestep(timestep)._replace(first=jnp.zeros((), bool))

    def sense(self, state: EnvState) -> Sensed:
        return clean_timestep(self.call("sense", state))

    def draw(self, state: EnvState) -> np.ndarray:
        picture = np.asarray(self.call("draw", state))
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            found = f"{picture.dtype.name} {picture.shape}"
            raise BadInput(f"{self.name}: draw gives {found}, must be uint8 (height, width, 3)")
        return picture

    def scripted(self, name: str = "local") -> Policy:
        policy = self.call("scripted", name)
        if not isinstance(policy, Policy):
            found = type(policy).__name__
            raise BadInput(f"{self.name}: scripted gives a {found} for {name!r}, must be a tutelage.types.Policy")
        return policy

    def __getattr__(self, part: str) -> Any:
        """What the package does not know, for a user's own method."""
        if part.startswith("__") or part == "inner":
            raise AttributeError(part)
        value = getattr(self.inner, part)
        return partial(self.call, part) if callable(value) else value

    def _goals(self, state: EnvState) -> Goals:
        return cast_fields(self.call("goals", state), GOALS)

    def _side_by_side(self, n: int) -> VectorEnv:
        """The environment's own VectorEnv of `n` instances."""
        vector: VectorEnv = self.call("vector", n)
        wrapped = lambda part, function: reports_user_error(f"{self.name}: {part} of vector")(function)
        reset, step, sense = (wrapped(part, getattr(vector, part)) for part in ("reset", "step", "sense"))
        goals = wrapped("goals", vector.goals) if vector.goals else None

        def cleaned(pair: tuple[EnvState, TimeStep]) -> tuple[EnvState, TimeStep]:
            return pair[0], clean_timestep(pair[1])

        return vector._replace(
            reset=lambda key: cleaned(reset(key)),
            step=lambda *args: cleaned(step(*args)),
            sense=lambda packed: clean_timestep(sense(packed)),
            goals=(lambda state: cast_fields(goals(state), GOALS)) if goals else None,
        )


def cast_fields(values: Any, kinds: dict[str, str]) -> Any:
    """A named tuple with its fields converted to the types that the package uses."""
    fields = {name: value for name, value in values._asdict().items() if name in kinds and not isinstance(value, tuple)}
    return values._replace(**{name: jnp.asarray(x).astype(NUMBER_KINDS[kinds[name]][1]) for name, x in fields.items()})


def clean_timestep(sensed: Sensing) -> Sensing:
    """A timestep with converted types, in which dead agents observe zeros."""
    sensed = cast_fields(sensed, TIMESTEP)
    if isinstance(sensed, TimeStep) and sensed.info != ():
        sensed = sensed._replace(info={name: jnp.asarray(x, jnp.float32) for name, x in sensed.info.items()})
    return sensed._replace(obs=jnp.where(sensed.alive[..., None], sensed.obs, 0.0))


def check_spec(name: str, env: Any) -> Spec:
    """The spec of an environment, checked for consistency; raises BadInput naming the field that is wrong."""
    spec = getattr(env, "spec", None)
    if not isinstance(spec, Spec):
        raise BadInput(f"{name}: gives a {type(env).__name__}, must be an environment with a `spec` of tutelage.Spec")
    error = lambda field, expected: BadInput(f"{name}: spec.{field} is {getattr(spec, field)!r}, must be {expected}")
    counts = ("n_agents", "n_actions", "obs_width", "state_width", "max_steps")
    for field in counts:
        value = getattr(spec, field)
        if not isinstance(value, Integral) or not 1 <= int(value) < MAX_COUNT:
            raise error(field, f"a whole number from 1 to {MAX_COUNT - 1}")
    if spec.time_limit not in ("terminal", "truncation"):
        raise error("time_limit", "'terminal' or 'truncation'")
    if spec.measure not in ("success", "return"):
        raise error("measure", "'success' or 'return'")
    if not isinstance(spec.version, str):
        raise error("version", "a string")
    if not isinstance(spec.reward_scale, Real) or not (isfinite(spec.reward_scale) and spec.reward_scale > 0):
        raise error("reward_scale", "greater than 0")
    limits = {"agent_types": None, "action_counts": spec.n_actions, "obs_widths": spec.obs_width}
    for field, limit in limits.items():
        value, kind = getattr(spec, field), str if limit is None else Integral
        entries = f"whole numbers from 1 to {limit}" if limit else "names"
        expected = f"n_agents = {spec.n_agents} {entries}"
        if not isinstance(value, tuple | list) or len(value) != spec.n_agents:
            raise error(field, expected)
        if not all(isinstance(x, kind) and (limit is None or 1 <= x <= limit) for x in value):
            raise error(field, expected)
    if len(spec.own_layouts) not in (0, spec.n_agents):
        raise error("own_layouts", f"n_agents = {spec.n_agents} layouts, or ()")
    texts = {"action_names": f"n_actions = {spec.n_actions} texts, or ()", "notes": "texts", "info": "texts"}
    for field, expected in texts.items():
        value = getattr(spec, field)
        if not isinstance(value, tuple | list) or not all(isinstance(text, str) for text in value):
            raise error(field, expected)
    if wrong_action_names(spec):
        raise error("action_names", texts["action_names"])
    return replace(
        spec,
        **{field: int(getattr(spec, field)) for field in counts},
        **{field: tuple(getattr(spec, field)) for field in (*limits, *texts)},
        layout=check_layout(f"{name}: spec.layout", spec.layout, spec.obs_width),
        own_layouts=tuple(check_layout(f"{name}: spec.own_layouts", x, spec.obs_width) for x in spec.own_layouts),
    )


def check_layout(label: str, layout: Iterable[Any], width: int) -> tuple[Block, ...]:
    """The blocks of a layout; raises BadInput for one that is none, or lies or is named wrongly."""
    for block in layout:
        if not isinstance(block, Block) or not 0 <= block.start < block.stop <= width:
            raise BadInput(f"{label} has {block!r}, must be a Block within obs_width = {width}")
        if block.place is not None and not block.start <= block.place <= block.stop - 2:
            raise BadInput(f"{label} has {block!r}, its place must be two columns of the block")
        if not isinstance(block.columns, tuple | list) or not all(isinstance(text, str) for text in block.columns):
            raise BadInput(f"{label}: columns of block {block.name!r} are {short(block.columns)}, must be texts")
        if wrong := wrong_names(block):
            raise BadInput(f"{label}: {wrong}")
    return tuple(block._replace(columns=tuple(block.columns)) for block in layout)


def check_idle(name: str, spec: Spec, idle: Any) -> int:
    """The idle action of an environment; raises BadInput where it has no such action."""
    if not isinstance(idle, Integral) or not 0 <= int(idle) < spec.n_actions:
        raise BadInput(f"{name}: idle = {idle!r}, must be a whole number from 0 to {spec.n_actions - 1}")
    return int(idle)


def check_user_env(env: UserEnv) -> None:
    """Check the outputs of an environment against its `spec`, from shapes alone.

    Raises:
        BadInput: a field of a timestep or of goals has another shape or type, `step` changes that of the state, or
            the code raises.
    """
    name, spec, inner, key = env.name, env.spec, env.inner, jax.random.key(0)
    action = jax.ShapeDtypeStruct((spec.n_agents,), jnp.int32)
    state, first = state_and_timestep(name, "reset", output_shapes(env, "reset", key))
    next_state, second = state_and_timestep(name, "step", output_shapes(env, "step", key, state, action))
    for part, timestep in (("reset", first), ("step", second)):
        for field, (shape, kind) in timestep_fields(spec).items():
            check_array(f"{name}: {field} of {part}", getattr(timestep, field), shape, kind)
        check_info(f"{name}: info of {part}", spec, timestep.info)
    if describe_leaves(state) != describe_leaves(next_state):
        raise BadInput(
            f"{name}: step gives a state of {describe_leaves(next_state)}, reset one of {describe_leaves(state)}"
        )
    sensed = output_shapes(env, "sense", state)
    if not isinstance(sensed, Sensed):
        raise BadInput(f"{name}: sense gives a {type(sensed).__name__}, must be tutelage.Sensed")
    for field in sensed._fields:
        if field in timestep_fields(spec):
            check_array(f"{name}: {field} of sense", getattr(sensed, field), *timestep_fields(spec)[field])
    if env.goals is not None:
        label = f"{name}: goals"
        if not callable(inner.goals):
            raise BadInput(f"{label} is {inner.goals!r}, must be a method of a state")
        check_goals(label, spec, output_shapes(env, "goals", state))


def output_shapes(env: UserEnv, part: str, *args: Any) -> Any:
    """Shapes of the output of a function of the environment."""
    with reports_user_error(f"{env.name}: {part}"):
        return jax.eval_shape(lambda *arguments: env.call(part, *arguments), *args)


def state_and_timestep(name: str, part: str, returned: Any) -> tuple[Any, TimeStep]:
    """Split an output into state and timestep; raises BadInput where it is something else."""
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], TimeStep):
        kind = ", ".join(type(x).__name__ for x in returned) if type(returned) is tuple else type(returned).__name__
        raise BadInput(f"{name}: {part} gives ({kind}), must be (state, tutelage.TimeStep)")
    return returned[0], returned[1]


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


def check_info(label: str, spec: Spec, info: Any) -> None:
    """Raise BadInput where the environment's own quantities are not those that its spec names."""
    if (tuple(sorted(info)) if isinstance(info, dict) else info) != tuple(sorted(spec.info)):
        found = short(", ".join(info), str) if isinstance(info, dict) else short(info)
        raise BadInput(f"{label} is {found or '()'}, must be a dict of spec.info = {spec.info}; () without any")
    for name in spec.info:
        check_array(f"{label}[{name!r}]", info[name], (), "f")


def check_goals(label: str, spec: Spec, goals: Any) -> None:
    """Raise BadInput where goals are none or have other shapes or types."""
    if not isinstance(goals, Goals):
        raise BadInput(f"{label} gives a {type(goals).__name__}, must be tutelage.Goals")
    shape = goals.features.shape
    if len(shape) != 3 or shape[0] != spec.n_agents or 0 in shape:
        raise BadInput(f"{label}: features are {shape}, must be (n_agents = {spec.n_agents}, goals, features)")
    for field, kind in GOALS.items():
        check_array(f"{label}: {field}", getattr(goals, field), shape if field == "features" else shape[:2], kind)


def check_array(label: str, value: Any, shape: Shape, kind: str) -> None:
    """Raise BadInput for an array of another shape, or of a type that cannot be converted."""
    name, _, accepted = NUMBER_KINDS[kind]
    if getattr(value, "shape", None) != shape or not any(jnp.issubdtype(value.dtype, dtype) for dtype in accepted):
        found = f"{value.dtype.name} {value.shape}" if hasattr(value, "dtype") else repr(value)
        raise BadInput(f"{label} is {found}, must be {name} {shape}")


def describe_leaves(state: Any) -> str:
    """Names, types and shapes of a state's leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return ", ".join(f"{jax.tree_util.keystr(path)} {x.dtype.name} {x.shape}".strip() for path, x in leaves)

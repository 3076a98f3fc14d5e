"""What a user's own environment must keep, checked on shapes alone before anything runs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from tutelage.errors import BadInput
from tutelage.types import Environment, Goals, Spec

Shape = tuple[int, ...]
KINDS = {"f": "float", "b": "bool", "i": "int"}


def check_own(name: str, env: Environment) -> None:
    """Hold what an environment gives against its `spec`.

    Raises:
        BadInput: a field of a timestep or of its goals has another shape or type, or `step` changes the state's.
    """
    if not isinstance(getattr(env, "spec", None), Spec):
        raise BadInput(f"{name}: gives a {type(env).__name__}, must be an environment with a `spec` of tutelage.Spec")
    spec, key = env.spec, jax.random.key(0)
    state, first = jax.eval_shape(env.reset, key)
    after, then = jax.eval_shape(env.step, key, state, jax.ShapeDtypeStruct((spec.n_agents,), jnp.int32))
    for made, timestep in (("reset", first), ("step", then)):
        for field, (shape, kind) in timestep_fields(spec).items():
            check(f"{name}: {field} of {made}", getattr(timestep, field), shape, kind)
    if described(state) != described(after):
        raise BadInput(f"{name}: step gives a state of {described(after)}, reset one of {described(state)}")
    if hasattr(env, "goals"):
        told = f"{name}: goals"
        if not callable(env.goals):
            raise BadInput(f"{told} is {env.goals!r}, must be a method of a state")
        check_goals(told, spec, jax.eval_shape(env.goals, state))


def timestep_fields(spec: Spec) -> dict[str, tuple[Shape, str]]:
    """Shape and kind of every field of one instance's timestep."""
    n = spec.n_agents
    scalars = dict.fromkeys(("reward", "discount"), ((), "f")) | dict.fromkeys(("first", "last", "success"), ((), "b"))
    return scalars | {
        "obs": ((n, spec.obs_width), "f"),
        "state": ((spec.state_width,), "f"),
        "avail": ((n, spec.n_actions), "b"),
        "alive": ((n,), "b"),
        "action": ((n,), "i"),
        **({"links": ((n, n), "b")} if spec.links else {}),
    }


def check_goals(told: str, spec: Spec, goals: Any) -> None:
    """The same for goals, of which there must be one at least."""
    if not isinstance(goals, Goals):
        raise BadInput(f"{told} gives a {type(goals).__name__}, must be tutelage.Goals")
    shape = goals.features.shape
    if len(shape) != 3 or shape[0] != spec.n_agents or 0 in shape:
        raise BadInput(f"{told}: features are {shape}, must be (n_agents = {spec.n_agents}, goals, features)")
    for field, kind in {"features": "f", "valid": "b", "potential": "f", "reached": "b", "thing": "i"}.items():
        check(f"{told}: {field}", getattr(goals, field), shape if field == "features" else shape[:2], kind)


def check(told: str, value: Any, shape: Shape, kind: str) -> None:
    """Refuse an array of another shape or kind of number."""
    if getattr(value, "shape", None) != shape or value.dtype.kind != kind:
        is_ = f"{value.dtype.name} {value.shape}" if hasattr(value, "dtype") else repr(value)
        raise BadInput(f"{told} is {is_}, must be {KINDS[kind]} {shape}")


def described(state: Any) -> str:
    """Types and shapes of a state's leaves."""
    return ", ".join(f"{x.dtype.name} {x.shape}" for x in jax.tree.leaves(state))

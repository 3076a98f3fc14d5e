"""Checks of the values that a user's environment or policy returns: nan and infinity, actions that do not exist,
episodes without an end.

The checks run inside compiled functions, next to the values. A fault becomes a number, which is carried to the host and
raised there, see `raise_first_fault`. Nothing is computed for environments and policies of the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tutelage.errors import NonFinite
from tutelage.types import Spec, TimeStep

FINE, NAN, INFINITE, OUTSIDE, ENDLESS, OVER = range(6)
MESSAGES = {
    NAN: "is nan",
    INFINITE: "is infinite",
    OUTSIDE: "is out of range",
    ENDLESS: "is still false at spec.max_steps",
    OVER: "is true at once",
}
OLDEST = 2_000_000
"""Steps of an episode are counted up to this number: the code of a fault has 24 bits."""
MARK = "?"
"""First character of a fault's name among metrics; the rest is `FIELD of NAME`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Watch:
    """Result of the checks of one step, leaves (B,).

    Attributes:
        age: steps since the episode began; -1 where that is not known.
        wrong: kind of fault by `FIELD of NAME`; FINE where there is none.
    """

    age: Any
    wrong: dict[str, Any]


def fault_of(x: Float[Array, "*b ..."], lead: int) -> Array:
    """Whether any number behind the first `lead` axes of x is NAN or INFINITE, else FINE; shape of these axes."""
    most = jnp.abs(x).max(tuple(range(lead, x.ndim)), initial=0.0)
    return jnp.where(jnp.isnan(most), NAN, jnp.where(jnp.isinf(most), INFINITE, FINE)).astype(jnp.int8)


def out_of_range(x: Array, low: float, high: float, lead: int) -> Array:
    """OUTSIDE where any number lies beyond the limits, else FINE. A nan does not count as outside."""
    bad = ((x < low) | (x > high)).any(tuple(range(lead, x.ndim)))
    return jnp.where(bad, OUTSIDE, FINE).astype(jnp.int8)


def watch_timestep(name: str, spec: Spec, timestep: TimeStep, age: Any) -> Watch:
    """Check timesteps with any leading axes (...). `age`: steps since the episode began, (...)."""
    lead = timestep.reward.ndim
    wrong = {field: fault_of(getattr(timestep, field), lead) for field in ("reward", "discount", "obs", "state")}
    wrong["discount"] = jnp.maximum(wrong["discount"], out_of_range(timestep.discount, 0.0, 1.0, lead))
    wrong["action"] = out_of_range(timestep.action, 0, spec.n_actions - 1, lead)
    wrong["last"] = jnp.where(~timestep.last & (age >= spec.max_steps), ENDLESS, FINE).astype(jnp.int8)
    wrong["last"] = jnp.where(timestep.last & timestep.first, OVER, wrong["last"]).astype(jnp.int8)
    if timestep.goals != ():
        both = (fault_of(x, lead) for x in (timestep.goals.features, timestep.goals.potential))
        wrong["goals"] = jnp.maximum(*both)
    return Watch(age, {f"{field} of {name}": x for field, x in wrong.items()})


def fault_codes(watch: Any) -> dict[str, Any]:
    """Every fault as one number, 8 (age + 1) + kind, of the watch's leading axes; 0 where there is none."""
    if watch == ():
        return {}
    age = jnp.minimum(watch.age, OLDEST)
    return {k: jnp.where(x > FINE, 8.0 * (age + 1) + x, 0.0) for k, x in watch.wrong.items()}


def first_faults(watches: Iterable[Any]) -> dict[str, Any]:
    """For every name the code of the first fault in watches with leaves (T, B); the largest code of several watches.

    Names begin with MARK, so that they are told from metrics.
    """
    faults: dict[str, Any] = {}
    for watch in watches:
        for name, each in fault_codes(watch).items():
            flat = each.reshape(-1)
            faults[MARK + name] = jnp.maximum(faults.get(MARK + name, 0.0), flat[(flat > 0).argmax()])
    return faults


def describe_fault(name: str, code: float) -> str:
    """A fault in words, from its name and code."""
    age, kind = divmod(int(code), 8)
    moment = f" {'in' if age <= OLDEST else 'after'} step {age - 1} of an episode" if age else ""
    return f"{name.removeprefix(MARK)} {MESSAGES[kind]}{moment}"


def raise_first_fault(faults: Mapping[str, Any] | tuple[()]) -> None:
    """Raise NonFinite for the first code that is not 0, of codes by name."""
    for name, each in dict(faults).items():
        bad = np.asarray(each)[np.asarray(each) > 0]
        if bad.size:
            raise NonFinite(describe_fault(name, bad[0]))

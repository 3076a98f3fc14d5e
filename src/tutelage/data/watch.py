"""What is looked at in every value that comes from a user: numbers that are none, actions that do not exist, episodes
without an end. It is computed beside the values and told by whoever comes back to the host: see `first_fault`.

Environments, controllers and networks of the package are not watched; of these nothing is computed.
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
SAYS = {
    NAN: "is nan",
    INFINITE: "is infinite",
    OUTSIDE: "is out of range",
    ENDLESS: "is still false at spec.max_steps",
    OVER: "is true at once",
}
OLDEST = 2_000_000
"""Steps of an episode up to which they are counted: a fault is kept as one number of 24 bits."""
MARK = "?"
"""How the names of faults begin among metrics; the rest is `FIELD of NAME`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Watch:
    """What was found in one step, leaves (B,).

    Attributes:
        age: steps since the episode began; -1 where that is not known.
        wrong: what is wrong by `FIELD of NAME`; FINE where nothing is.
    """

    age: Any
    wrong: dict[str, Any]


def fault_of(x: Float[Array, "*b ..."], lead: int) -> Array:
    """NAN, INFINITE or FINE, of everything behind the first `lead` axes."""
    most = jnp.abs(x).max(tuple(range(lead, x.ndim)), initial=0.0)
    return jnp.where(jnp.isnan(most), NAN, jnp.where(jnp.isinf(most), INFINITE, FINE)).astype(jnp.int8)


def outside(x: Array, low: float, high: float, lead: int) -> Array:
    """OUTSIDE where any number lies beyond the limits, else FINE. Not a number lies beyond none."""
    bad = ((x < low) | (x > high)).any(tuple(range(lead, x.ndim)))
    return jnp.where(bad, OUTSIDE, FINE).astype(jnp.int8)


def of_timestep(name: str, spec: Spec, told: TimeStep, age: Any) -> Watch:
    """What is wrong with timesteps of any leading axes; those of dead agents' senses are zero already."""
    lead = told.reward.ndim
    wrong = {field: fault_of(getattr(told, field), lead) for field in ("reward", "discount", "obs", "state")}
    wrong["discount"] = jnp.maximum(wrong["discount"], outside(told.discount, 0.0, 1.0, lead))
    wrong["action"] = outside(told.action, 0, spec.n_actions - 1, lead)
    wrong["last"] = jnp.where(~told.last & (age >= spec.max_steps), ENDLESS, FINE).astype(jnp.int8)
    wrong["last"] = jnp.where(told.last & told.first, OVER, wrong["last"]).astype(jnp.int8)
    if told.goals != ():
        both = (fault_of(x, lead) for x in (told.goals.features, told.goals.potential))
        wrong["goals"] = jnp.maximum(*both)
    return Watch(age, {f"{field} of {name}": x for field, x in wrong.items()})


def codes(watch: Any) -> dict[str, Any]:
    """Every fault as one number, 8 (age + 1) + what it is, of the watch's leading axes; 0 where there is none."""
    if watch == ():
        return {}
    age = jnp.minimum(watch.age, OLDEST)
    return {k: jnp.where(x > FINE, 8.0 * (age + 1) + x, 0.0) for k, x in watch.wrong.items()}


def found(watches: Iterable[Any]) -> dict[str, Any]:
    """The first of each kind of faults in leaves (T, B), as one number; of several watches the latest counts.

    A name begins with MARK, by which it is known among metrics.
    """
    told: dict[str, Any] = {}
    for watch in watches:
        for name, each in codes(watch).items():
            flat = each.reshape(-1)
            told[MARK + name] = jnp.maximum(told.get(MARK + name, 0.0), flat[(flat > 0).argmax()])
    return told


def said(name: str, code: float) -> str:
    """A fault in words."""
    age, kind = divmod(int(code), 8)
    when = f" {'in' if age <= OLDEST else 'after'} step {age - 1} of an episode" if age else ""
    return f"{name.removeprefix(MARK)} {SAYS[kind]}{when}"


def refuse(told: Mapping[str, Any] | tuple[()]) -> None:
    """Raise NonFinite where one of these faults, by name, is none of 0."""
    for name, each in dict(told).items():
        bad = np.asarray(each)[np.asarray(each) > 0]
        if bad.size:
            raise NonFinite(said(name, bad[0]))

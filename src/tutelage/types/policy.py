"""Policies, and what they give."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from tutelage.types.timestep import TimeStep

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Params = Any
Carry = Any


class Out(NamedTuple):
    """Output of a policy for one step.

    Attributes:
        scores: masked logits or action values.
        features: penultimate features, one array (B, n_g, H_g) per group of agents (widths may differ).
        extra: other decisions of a composed policy (goals, messages), which a behaviour may record.
        watch: what is wrong with it, where the policy is a user's (`data/watch.py`); else ().
    """

    scores: Float[Array, "B N A"] | None
    features: tuple[Float[Array, "B n H"], ...] = ()
    extra: Any = ()
    watch: Any = ()


class Policy(NamedTuple):
    """A team's policy as pure functions over a batch. `step` never resets the memory: `collect` and `unroll` do."""

    init: Callable[[PRNGKeyArray], Params]
    carry: Callable[[int], Carry]
    step: Callable[[Params, Carry, TimeStep, PRNGKeyArray], tuple[Carry, Out]]
    groups: tuple[Any, ...] = ()  # of policies.agent.Group; non-empty: decentralised by construction
    goals: bool = False  # whether it reads `timestep.goals`
    # (params, carry, inputs (T, B, ...), first) -> outputs of all steps at once, with resets; None where a policy can
    # only go step by step. A policy made from another by replacing `step` must replace this too.
    replay: Callable[[Params, Carry, TimeStep, Bool[Array, "T B"]], Out] | None = None
    watched: tuple[str, ...] = ()  # names of the faults in its `Out.watch`, where the policy is a user's
    blueprint: Any = None  # what it is made of as data (`policies/blueprint.py`); None for a user's own policy


class Critic(NamedTuple):
    """Values of timesteps. Parameters include the value normaliser.

    Attributes:
        value: (parameters, timestep (B, ...)) -> a team's value (B,) or values per agent (B, N), in raw reward units.
        blueprint: what it is made of as data; None for a user's own.
        watched: name of the faults in its values, where it is a user's.
        goals: whether it reads `timestep.goals`.
    """

    init: Callable[[PRNGKeyArray], Params]
    value: Callable[[Params, TimeStep], Float[Array, "B *N"]]
    blueprint: Any = None
    watched: tuple[str, ...] = ()
    goals: bool = False


ActRule = Callable[["PRNGKeyArray", Out, TimeStep], tuple["Int[Array, 'B N']", "Float[Array, 'B N']"]]

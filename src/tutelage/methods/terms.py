"""Loss terms of the user's own: `--term module:function --term-weight W`.

The function is given a TermInput and returns one number. Its weighted value is added to the loss of the agents that
act, and is among the metrics as `term`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tutelage.configs.term import TermSettings
from tutelage.dotted import import_user_code
from tutelage.errors import BadInput, reports_user_error
from tutelage.types import Metrics, Out, TimeStep


class TermInput(NamedTuple):
    """What a loss term is made of: L steps of C sequences.

    Attributes:
        steps: the timesteps (L, C, ...) at which the agents decide. KD-MARL's have no world state.
        action: what was played.
        acts: the decisions that count: of agents that live and have a choice, in real steps.
        out: what the agents that learn give: scores (logits or action values) and features by group.
        teacher_scores: what their teacher gives; None without one.
        teacher_features: the features of its agents, (L, C, N, H), or what its method keeps of them; () without.
    """

    steps: TimeStep
    action: Int[Array, "L C N"]
    acts: Bool[Array, "L C N"]
    out: Out
    teacher_scores: Float[Array, "L C N A"] | None = None
    teacher_features: Any = ()


class Term(NamedTuple):
    """A function that computes a term, and its weight."""

    value: Callable[[TermInput], Array]
    weight: float


def own_term(config: TermSettings) -> Term | None:
    """The term that the settings name, checked wherever it is computed; None without one.

    Raises:
        BadInput: it cannot be imported. From its calls: it raises, or returns something else than a number.
    """
    if not config.term:
        return None
    function, label = import_user_code(config.term), f"term {config.term}"

    def checked(data: TermInput) -> Array:
        with reports_user_error(label):
            value = function(data)
        if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
            found = f"{value.dtype.name} {value.shape}" if hasattr(value, "dtype") else f"a {type(value).__name__}"
            raise BadInput(f"{label}: gives {found}, must give one float")
        return value

    return Term(checked, config.term_weight)


def with_term(term: Term | None, loss: Array, metrics: Metrics, data: Callable[[], TermInput]) -> tuple[Array, Metrics]:
    """A loss with the user's term; as it is without one."""
    if term is None:
        return loss, metrics
    value = term.value(data())
    return loss + term.weight * value, {**metrics, "term": value}

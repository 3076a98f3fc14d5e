"""Curiosity: what a predictor does not know yet is new.

Reference: Burda et al. 2019 (random network distillation).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from tutelage.learning.losses import masked_mean
from tutelage.learning.normaliser import Normaliser, update_normaliser
from tutelage.learning.optim import Learner, descend
from tutelage.networks.cores import Net
from tutelage.types import Metrics, Params

USUAL_SHARE = (0.02, 0.3)
"""Of `share_of_reward`: below this range curiosity has no effect, above it the bonus dominates."""


class Predictor(NamedTuple):
    """The network that predicts a frozen one's output, with its optimiser, and the moments of its errors."""

    net: Learner
    errors: Normaliser


def prediction_error(net: Net, predictor: Params, frozen: Params, state: Float[Array, "... S"]) -> Float[Array, "..."]:
    """Mean squared error of the predictor's output against the frozen network's."""
    return jnp.square(net.apply(predictor, state) - net.apply(frozen, state)).mean(-1)


def share_of_reward(
    bonus: Float[Array, "T C"], reward: Float[Array, "T C"], counts: Bool[Array, "T C"]
) -> Float[Array, ""]:
    """Mean bonus over mean absolute reward, of transitions that count."""
    return masked_mean(bonus, counts) / jnp.maximum(masked_mean(jnp.abs(reward), counts), 1e-6)


def novelty(
    net: Net,
    tx: optax.GradientTransformation,
    predictor: Predictor,
    frozen: Params,
    following: Float[Array, "T C S"],
    counts: Bool[Array, "T C"],
    fitted: Bool[Array, "T C"],
    lr: Any,
) -> tuple[Float[Array, "T C"], Float[Array, ""], Predictor, Metrics]:
    """How badly states are predicted, and one gradient step of the predictor.

    Args:
        following: states that were reached. counts: which of them enter the moments. fitted: which are learned.

    Returns:
        The errors, their standard deviation (which is novelty's unit), the predictor after its step, and metrics.
    """
    error = prediction_error(net, predictor.net.params, frozen, following)
    errors = update_normaliser(predictor.errors, error, counts)

    def loss(params: Params) -> tuple[Array, Metrics]:
        value = masked_mean(prediction_error(net, params, frozen, following), fitted)
        return value, {"novelty": value}

    learner, metrics = descend(tx, predictor.net, loss, lr)
    # At least a tenth of the mean error: errors fall by orders of magnitude, and the deviation may be 0.
    return error, errors.deviation_above(0.1 * errors.mean + 1e-9), Predictor(learner, errors), metrics

"""Parameters with their optimiser, and the one gradient step every method uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import optax

from tutelage.types import Params

Aux = TypeVar("Aux")


class Learner(NamedTuple):
    """Parameters and the optimiser's state."""

    params: Params
    opt: Any


def clipped_rmsprop(grad_clip: float) -> optax.GradientTransformation:
    """Global-norm clip, then RMSprop's direction g / (sqrt(v) + 1e-5), v with decay 0.99.

    Reference:
        The value-based reference code, whose library adds eps outside of the root; inside, small gradients would
        hardly move anything.
    """
    return optax.chain(
        optax.clip_by_global_norm(grad_clip), optax.scale_by_rms(decay=0.99, eps=1e-5, eps_in_sqrt=False)
    )


def clipped_adam(grad_clip: float) -> optax.GradientTransformation:
    """Global-norm clip, then Adam's direction (eps 1e-5). The learning rate is applied by `descend`."""
    return optax.chain(optax.clip_by_global_norm(grad_clip), optax.scale_by_adam(eps=1e-5))


def annealed(config: Any, progress: Any) -> Any:
    """The learning rate at a point of training, from `lr` and `anneal`."""
    return config.lr * (1 - progress) if config.anneal else config.lr


def init_learner(tx: optax.GradientTransformation, params: Params) -> Learner:
    """Parameters with the optimiser's initial state."""
    return Learner(params, tx.init(params))


def descend(
    tx: optax.GradientTransformation,
    state: Learner,
    loss: Callable[[Params], tuple[jax.Array, Aux]],
    lr: Any,
) -> tuple[Learner, Aux]:
    """One gradient step on `loss`, which returns (value, auxiliary output); returns the learner and the latter."""
    grads, metrics = jax.grad(loss, has_aux=True)(state.params)
    updates, opt = tx.update(grads, state.opt, state.params)
    params = jax.tree.map(lambda p, u: p - lr * u, state.params, updates)
    return Learner(params, opt), metrics

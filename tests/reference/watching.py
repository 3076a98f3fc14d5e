"""The one place that knows how a method keeps what learns. Found by type, so that renames change nothing here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np

from helpers import build
from tutelage.learning.normaliser import Normaliser
from tutelage.learning.optim import Learner
from tutelage.types import Method

SEEN = Normaliser(jnp.asarray(0.3), jnp.asarray(1.7), jnp.asarray(3.0))
"""What a running average has seen before: neither 0 and 1, nor nothing."""


def some(like: Any, rng: Any) -> Any:
    """Random numbers of these shapes."""
    return jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.7, x.shape), jnp.float32), like)


def begun(name: str, env: Any, teacher: Any = None, seed: int = 0, **given: Any) -> tuple[Method, Any]:
    """A method and a train state with random networks, each target or frozen one different from what it copies.

    Only shapes are asked of `init`: initial weights that are quick to trace do.
    """
    with mock.patch.object(flax.linen.initializers, "orthogonal", lambda gain: flax.linen.initializers.zeros):
        method = build(name, env, teacher, **given)
        shapes = jax.eval_shape(method.init, jax.random.key(0))
    rng = np.random.default_rng(seed)

    def fill(x: Any, name: str = "") -> Any:
        if isinstance(x, Learner):
            return Learner(some(x.params, rng), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), x.opt))
        if isinstance(x, Normaliser):
            return SEEN
        if name in ("target", "frozen"):
            return some(x, rng)
        if hasattr(x, "_fields"):
            return x._make(fill(y, field) for field, y in zip(x._fields, x, strict=True))
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), x)

    return method, fill(shapes)


def found(x: Any, kind: type) -> list[Any]:
    """Everything of a kind in a train state, in order."""
    is_one = lambda y: isinstance(y, kind)
    return [y for y in jax.tree.leaves(x, is_leaf=is_one) if is_one(y)]


def learners(state: Any) -> list[Any]:
    """Parameters of all that learns, as float64 NumPy arrays, in the train state's order."""
    return [jax.tree.map(lambda x: np.asarray(x, float), learner.params) for learner in found(state, Learner)]


def named(state: Any, field: str) -> Any:
    """The field of this name, wherever in the train state, in float64."""
    if hasattr(state, "_fields"):
        if field in state._fields:
            return jax.tree.map(lambda x: np.asarray(x, float), getattr(state, field))
        for x in state:
            if (there := named(x, field)) is not None:
                return there
    return None


class Updated(NamedTuple):
    """A train state after an update, its metrics, and total losses by the number of parameters."""

    state: Any
    metrics: dict[str, float]
    totals: dict[int, float]

    def total(self, params: Any) -> float:
        """The total loss that these parameters descended, the mean of all steps."""
        return self.totals[size(params)]


def size(params: Any) -> int:
    """How many numbers: what tells a method's learners apart here."""
    return sum(x.size for x in jax.tree.leaves(params))


TOTAL = "total of parameters: "


@contextmanager
def no_luck() -> Iterator[None]:
    """Nothing is left to chance: what is drawn from a ring takes turns, so that everything in it is drawn once."""

    def turns(key: Any, shape: Any, low: Any, high: Any) -> Any:
        return (low + jnp.arange(np.prod(shape)).reshape(shape) % (high - low)).astype(jnp.int32)

    with mock.patch.object(jax.random, "randint", turns):
        yield


@contextmanager
def totals() -> Iterator[None]:
    """Lets every gradient step tell, among its metrics, the value of what it differentiates."""

    def telling(loss: Any, **options: Any) -> Any:
        assert options == dict(has_aux=True), "a gradient step that is not taken by `descend`"

        def both(params: Any) -> Any:
            (value, metrics), slope = jax.value_and_grad(loss, has_aux=True)(params)
            new = {f"{TOTAL}{size(params)}": value}
            return slope, metrics | new if isinstance(metrics, dict) else (metrics[0] | new, *metrics[1:])

        return both

    with mock.patch.object(jax, "grad", telling):
        yield


def update(method: Method, state: Any, rollouts: Any, stage: int = 0, progress: float = 0.5) -> Updated:
    """One update of a stage, played with these rollouts."""
    with totals(), no_luck():
        after, reported = jax.jit(method.stages[stage].update)(
            state, rollouts, jax.random.key(3), jnp.asarray(progress)
        )
    sizes = [size(params) for params in learners(state)]
    assert len(set(sizes)) == len(sizes), "learners that cannot be told apart: let them differ in width"
    metrics = {k: float(v) for k, v in reported.items() if not k.startswith(TOTAL)}
    return Updated(
        after, metrics, {int(k.removeprefix(TOTAL)): float(reported[k]) for k in reported if k not in metrics}
    )


def assert_moved(before: Any, after: Any, expected: Any, lr: float, tolerance: float = 4e-3) -> None:
    """Parameters moved as expected, measured in learning rates: their size is that of Adam's direction."""
    way = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(p)]) for p in (before, after, expected)]
    moved, wanted = ((x - way[0]) / lr for x in way[1:])
    assert np.abs(wanted).max() > 0.05, "steps that change nothing prove nothing"
    np.testing.assert_allclose(moved, wanted, atol=tolerance)

"""Masked means, returns and gradient steps in plain NumPy, float64: written from the definitions, for few numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


# ---- trees of arrays -------------------------------------------------------------------------------------------------
def leaves(tree: Any) -> list[Array]:
    """The arrays of nested dicts, lists and tuples."""
    if isinstance(tree, dict):
        return [x for name in sorted(tree) for x in leaves(tree[name])]
    if isinstance(tree, (list, tuple)):
        return [x for y in tree for x in leaves(y)]
    return [np.asarray(tree, float)]


def rebuilt(tree: Any, arrays: Any) -> Any:
    """The same nesting of other arrays, taken from an iterator."""
    if isinstance(tree, dict):
        return dict(zip(sorted(tree), [rebuilt(tree[name], arrays) for name in sorted(tree)], strict=True))
    if isinstance(tree, (list, tuple)):
        return [rebuilt(x, arrays) for x in tree]
    return next(arrays)


def flat(tree: Any) -> Array:
    return np.concatenate([np.zeros(0), *(x.ravel() for x in leaves(tree))])


def shaped(tree: Any, vector: Array) -> Any:
    """The reverse of `flat`."""
    sizes = np.cumsum([0, *(x.size for x in leaves(tree))])
    return rebuilt(tree, iter([vector[i : i + x.size].reshape(x.shape) for i, x in zip(sizes, leaves(tree))]))  # noqa: B905


# ---- means and distributions -----------------------------------------------------------------------------------------
def mean(x: Array, where: Array) -> float:
    """Over the entries that count."""
    picked = np.broadcast_to(x, np.broadcast_shapes(x.shape, where.shape))[np.broadcast_to(where, x.shape)]
    return float(picked.sum() / max(picked.size, 1))


def normal(x: Array, where: Array) -> Array:
    """Mean 0 and deviation 1 over the entries that count."""
    return (x - x[where].mean()) / (x[where].std() + 1e-8)


def log_softmax(x: Array) -> Array:
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def softmax(x: Array) -> Array:
    return np.exp(log_softmax(x))


def entropy(logits: Array) -> Array:
    """Of every distribution."""
    p = softmax(logits)
    return -(p * np.log(np.maximum(p, 1e-300))).sum(-1)


def at(x: Array, index: Array) -> Array:
    """x[..., index[...]]."""
    return np.take_along_axis(x, index[..., None], -1)[..., 0]


def one_hot(index: Array, n: int) -> Array:
    return np.eye(n)[index]


def cosine(x: Array, y: Array) -> Array:
    return (x * y).sum(-1) / np.sqrt(((x * x).sum(-1) + 1e-6) * ((y * y).sum(-1) + 1e-6))


# ---- returns ---------------------------------------------------------------------------------------------------------
def vtrace(steps: Any, reward: Array, discount: Array, value: Array, ratio: Array, c: Any) -> tuple[Array, Array]:
    """Advantages and targets of steps 0..T-1, environment by environment, backwards; see the definitions below.

    A_t = r + g d (l v' + (1 - l) V') - V,  v_t = V + min(1, ratio) (r + g d V' - V + g d l (v' - V'))
    """
    t = len(reward)
    advantage, target = np.zeros_like(value[:-1]), value[:-1].copy()
    for b in range(reward.shape[1]):
        later = value[t, b]
        for i in reversed(range(t)):
            ahead = c.gamma * discount[i, b]
            if steps["last"][i, b]:  # no step of any episode
                later = value[i, b]
                continue
            mixed = c.lam * later + (1 - c.lam) * value[i + 1, b]
            advantage[i, b] = reward[i, b] + ahead * mixed - value[i, b]
            gap = reward[i, b] + ahead * value[i + 1, b] - value[i, b] + ahead * c.lam * (later - value[i + 1, b])
            later = target[i, b] = value[i, b] + np.minimum(1, ratio[i, b]) * gap
    return advantage, target


def gae(steps: Any, reward: Array, value: Array, c: Any) -> Array:
    """A_t = r + g d V' - V + g l d A', within an episode."""
    advantage = np.zeros_like(value[:-1])
    for b in range(reward.shape[1]):
        after: Any = 0.0
        for i in reversed(range(len(reward))):
            if steps["last"][i, b]:
                after = 0.0
                continue
            ahead = c.gamma * steps["discount"][i + 1, b]
            after = reward[i, b] + ahead * value[i + 1, b] - value[i, b] + ahead * c.lam * after
            advantage[i, b] = after
    return advantage


def td_lambda(steps: Any, reward: Array, discount: Array, value: Array, c: Any) -> Array:
    """G_t = r + g d ((1 - l) V' + l G'), where an episode ends or nothing is known of the next step G' is V'."""
    t = len(reward)
    goal = np.zeros_like(value[:-1])
    for b in range(reward.shape[1]):
        for i in reversed(range(t)):
            later = value[i + 1, b]
            if i + 1 < t and not steps["last"][i + 1, b]:
                later = (1 - c.lam) * value[i + 1, b] + c.lam * goal[i + 1, b]
            goal[i, b] = reward[i, b] + c.gamma * discount[i, b] * later
    return goal


# ---- running averages ------------------------------------------------------------------------------------------------
class Scale:
    """Debiased running moments: the first ten batches count evenly, then a new one a tenth."""

    def __init__(self, mean: float, square: float, batches: float) -> None:
        self.mean, self.square, self.batches = float(mean), float(square), float(batches)

    def deviation(self, floor: float = 0.01) -> float:
        return float(np.sqrt(max(self.square - self.mean**2, floor**2)))

    def after(self, x: Array, where: Array) -> Scale:
        share = max(0.1, 1 / (self.batches + 1))
        seen, squares = mean(x, where), mean(x * x, where)
        mix = lambda old, new: (1 - share) * old + share * new
        return Scale(mix(self.mean, seen), mix(self.square, squares), self.batches + 1)


# ---- gradient steps --------------------------------------------------------------------------------------------------
def slopes(loss: Callable[[Any], float], params: Any, step: float = 1e-6) -> Array:
    """The gradient by central differences, one parameter after another."""
    here = flat(params)
    out = np.zeros_like(here)
    for i in range(here.size):
        up, down = here.copy(), here.copy()
        up[i] += step
        down[i] -= step
        out[i] = (loss(shaped(params, up)) - loss(shaped(params, down))) / (2 * step)
    return out


class Descent:
    """Parameters that go down a loss: the gradient clipped to a length, then Adam's direction or RMSprop's."""

    def __init__(self, params: Any, c: Any, kind: str = "adam") -> None:
        self.params, self.clip, self.kind = params, c.grad_clip, kind
        self.t, self.m, self.v = 0, np.zeros_like(flat(params)), np.zeros_like(flat(params))
        self.totals: list[float] = []

    def step(self, loss: Callable[[Any], float], lr: float, gradient: Array | None = None) -> None:
        """One step; the loss is told of in `totals`."""
        self.totals.append(float(loss(self.params)))
        g = slopes(loss, self.params) if gradient is None else gradient
        g = g * min(1.0, self.clip / max(float(np.sqrt((g**2).sum())), 1e-300))
        self.t += 1
        if self.kind == "adam":
            self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g**2
            way = self.m / (1 - 0.9**self.t) / (np.sqrt(self.v / (1 - 0.999**self.t)) + 1e-5)
        else:
            self.v = 0.99 * self.v + 0.01 * g**2
            way = g / (np.sqrt(self.v) + 1e-5)
        self.params = shaped(self.params, flat(self.params) - lr * way)

"""Intervals and aggregates of evaluations, in plain NumPy.

Reference: Wilson 1927 (interval of a share); Agarwal et al. 2021 (interquartile mean, stratified bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Z = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a success rate."""
    p, z2 = successes / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def mean_interval(x: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean over independent episodes (normal approximation)."""
    half = Z * float(np.std(x, ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else 0.0
    return float(np.mean(x)) - half, float(np.mean(x)) + half


def iqm(x: np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half of all numbers, as `scipy.stats.trim_mean(x, 0.25)`."""
    flat = np.sort(np.asarray(x, float).ravel())
    cut = int(0.25 * flat.size)
    return float(flat[cut : flat.size - cut].mean())


def middle(drawn: Any) -> tuple[float, float]:
    """Where the middle 95 % of resampled statistics lie."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def bootstrap(
    scores: np.ndarray, statistic: Callable[[np.ndarray], float] = iqm, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile interval, runs resampled within each task.

    Args:
        scores: (runs, tasks).
    """
    scores = np.asarray(scores, float)
    scores = scores[:, None] if scores.ndim == 1 else scores
    rng = np.random.default_rng(seed)
    runs, tasks = scores.shape
    drawn = [statistic(scores[rng.integers(0, runs, (runs, tasks)), np.arange(tasks)[None]]) for _ in range(samples)]
    return middle(drawn)


def ratio_of_means(
    a: np.ndarray, b: np.ndarray, samples: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """mean(a) / mean(b) over paired seeds with a 95 % paired bootstrap interval."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(a), (samples, len(a)))
    drawn = a[index].mean(1) / np.maximum(b[index].mean(1), 1e-12)
    return float(a.mean() / b.mean()), middle(drawn)


def difference_of_means(
    a: np.ndarray, b: np.ndarray, samples: int = 2000, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """mean(a) - mean(b) of runs that have nothing in common, with a 95 % bootstrap interval; both are resampled."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    rng = np.random.default_rng(seed)
    drawn = rng.choice(a, (samples, len(a))).mean(1) - rng.choice(b, (samples, len(b))).mean(1)
    return float(a.mean() - b.mean()), middle(drawn)

"""Intervals and aggregates of evaluations.

Reference: Wilson 1927 (interval of a share); Student 1908, Welch 1947 (means and their differences); Fieller 1954
(ratio of means); Agresti and Min 2005 (paired shares); Donner and Zou 2012 (ratio of shares); Agarwal et al. 2021
(interquartile mean).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ndtr, stdtrit

Interval = tuple[float, float]

Z = 1.959963984540054
"""97.5 % quantile of the standard normal distribution."""
MIN_SEEDS = 5
"""Least number of seeds for a statement about which method is better."""


def wilson(successes: int, n: int, z: float = Z) -> Interval:
    """95 % interval of a success rate; of another confidence with another quantile `z`."""
    p, z2 = successes / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def iqm(x: np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half of all numbers, as `scipy.stats.trim_mean(x, 0.25)`."""
    flat = np.sort(np.asarray(x, float).ravel())
    cut = int(0.25 * flat.size)
    return float(flat[cut : flat.size - cut].mean())


def t_quantile(degrees: float, z: float = Z) -> float:
    """97.5 % quantile of Student's t, or the one that belongs to the normal quantile `z`."""
    return float(stdtrit(degrees, ndtr(z)))


def mean_interval(x: np.ndarray) -> Interval:
    """95 % interval of a mean of independent values (Student's t); of a single value the value itself."""
    x = np.asarray(x, float)
    half = t_quantile(len(x) - 1) * float(np.std(x, ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else 0.0
    return float(np.mean(x)) - half, float(np.mean(x)) + half


def paired_shares(a: np.ndarray, b: np.ndarray) -> tuple[float, Interval]:
    """Share of True in a minus that in b, of pairs, with a 95 % interval (Agresti and Min's).

    Half a pair is added to each of the four outcomes: where few pairs differ, Student's t of the differences is too
    narrow, and has no width at all where none does.
    """
    n, only_a, only_b = len(a), int((a & ~b).sum()), int((b & ~a).sum())
    centre = (only_a - only_b) / (n + 2)
    half = Z * math.sqrt((only_a + only_b + 1) / (n + 2) - centre**2) / math.sqrt(n + 2)
    return (only_a - only_b) / n, (max(-1.0, centre - half), min(1.0, centre + half))


def difference_of_means(a: np.ndarray, b: np.ndarray) -> tuple[float, Interval]:
    """mean(a) - mean(b) of independent samples with a 95 % interval (Welch's t); each needs at least two values."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    difference = float(a.mean() - b.mean())
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if not va + vb:
        return difference, (difference, difference)
    degrees = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = t_quantile(degrees) * math.sqrt(va + vb)
    return difference, (difference - half, difference + half)


def ratio_of_means(a: np.ndarray, b: np.ndarray, z: float = Z) -> tuple[float, Interval]:
    """mean(a) / mean(b) over paired seeds or episodes with a 95 % interval (Fieller's); `z` as in `wilson`.

    Infinite bounds where the interval of mean(b) contains 0.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    n, ma, mb = len(a), float(a.mean()), float(b.mean())
    ratio = ma / mb if mb else math.nan
    if n < 2:
        return ratio, (ratio, ratio)
    # All r for which 0 lies within the interval of the mean of a - r b: (ma - r mb)^2 <= t^2 var(a - r b) / n.
    (va, cov), (_, vb) = np.cov(a, b) * t_quantile(n - 1, z) ** 2 / n
    square, middle, rest = mb**2 - vb, ma * mb - cov, ma**2 - va
    if square <= 0:
        return ratio, (-math.inf, math.inf)
    half = math.sqrt(max(0.0, middle**2 - square * rest))
    return ratio, ((middle - half) / square, (middle + half) / square)


def ratio_of_shares(a: tuple[int, int], b: tuple[int, int], z: float = Z) -> tuple[float, Interval]:
    """Ratio of two success rates with a 95 % interval, which has a width also where all episodes succeed.

    The limits are those ratios r at which 0 is a limit of `a - r b`, whose limits are made of the two Wilson intervals.

    Args:
        a, b: successes and number of episodes; b must have a success. z: as in `wilson`.

    Reference:
        Donner and Zou 2012 (MOVER for ratios), without correlation: common seeds only make the interval too wide.
    """
    (p, (low_p, high_p)), (q, (low_q, high_q)) = ((k / n, wilson(k, n, z)) for k, n in (a, b))
    middle = p * q
    roots = lambda end_p, end_q: (end_q * (2 * q - end_q), end_p * (2 * p - end_p))
    (square, rest), (square_high, rest_high) = roots(low_p, high_q), roots(high_p, low_q)
    low = rest / (middle + math.sqrt(max(0.0, middle**2 - square * rest))) if middle else 0.0
    high = (middle + math.sqrt(max(0.0, middle**2 - square_high * rest_high))) / square_high
    return p / q, (max(0.0, low), high)

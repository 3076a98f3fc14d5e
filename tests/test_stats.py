"""Intervals and aggregates against known values."""

from __future__ import annotations

import numpy as np
import pytest

from tutelage.experiment.stats import Z, bootstrap, difference_of_means, iqm, mean_interval, ratio_of_means, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [  # Newcombe 1998, table I, and R's binom.confint(method = "wilson")
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_intervals_are_the_published_ones(successes, n, low, high):
    np.testing.assert_allclose(wilson(successes, n), (low, high), atol=6e-5)
    assert wilson(n - successes, n) == pytest.approx((1 - wilson(successes, n)[1], 1 - wilson(successes, n)[0]))


@pytest.mark.parametrize("n", [1, 32, 64, 320])
def test_wilson_never_leaves_the_unit_interval(n):
    assert wilson(0, n)[0] == pytest.approx(0, abs=1e-12) and wilson(0, n)[0] >= 0
    assert wilson(n, n)[1] == pytest.approx(1) and wilson(n, n)[1] <= 1


def test_the_interval_of_a_mean():
    x = np.array([1.0, 2.0, 3.0, 4.0])
    half = 1.959964 * np.std(x, ddof=1) / 2
    np.testing.assert_allclose(mean_interval(x), (2.5 - half, 2.5 + half), rtol=1e-6)
    assert mean_interval(np.array([3.0])) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([1, 2, 3, 4], 2.5),  # the outer quarter on both sides is dropped
        ([100, 1, 2, 3, -100, 4, 5, 6], 3.5),
        ([0, 10, 20, 30, 1000], (10 + 20 + 30) / 3),  # a quarter of 5 is 1.25: one is dropped
        ([7], 7),
        ([1, 2, 9], 4),  # nothing to drop
    ],
)
def test_the_interquartile_mean_drops_a_quarter_on_both_sides(x, expected):
    assert iqm(np.array(x)) == pytest.approx(expected)
    assert iqm(np.array(x)[::-1].reshape(-1, 1)) == pytest.approx(expected)


def scores(runs: int = 8, tasks: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal([0.2, 0.5, 0.9], 0.05, (runs, tasks))


@pytest.mark.parametrize("statistic", [iqm, np.mean])
def test_the_bootstrap_interval_contains_the_estimate_and_repeats(statistic):
    low, high = bootstrap(scores(), statistic)
    assert low < statistic(scores()) < high
    assert bootstrap(scores(), statistic) == (low, high)


def test_the_bootstrap_is_stratified_by_task():
    """Tasks that differ widely but have no spread of their own give an interval of width 0."""
    constant = np.broadcast_to([0.0, 0.5, 1.0], (6, 3))
    assert bootstrap(constant, np.mean) == (0.5, 0.5)


def test_the_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    x = np.random.default_rng(1).normal(size=400)
    low, high = bootstrap(x, np.mean)
    np.testing.assert_allclose(high - low, 2 * 1.96 * x.std() / 20, rtol=0.1)


def test_a_retention_is_the_ratio_of_means_with_a_paired_interval():
    teacher = np.array([0.9, 0.5, 0.7, 1.0])
    ratio, (low, high) = ratio_of_means(0.9 * teacher, teacher)
    assert ratio == pytest.approx(0.9)
    np.testing.assert_allclose((low, high), 0.9)  # paired: the same ratio in every seed leaves no doubt
    student = np.array([0.8, 0.5, 0.5, 0.9])
    ratio, (low, high) = ratio_of_means(student, teacher)
    assert ratio == pytest.approx(2.7 / 3.1) and low < ratio < high


def test_a_difference_of_means_resamples_both_sides():
    rng = np.random.default_rng(1)
    a, b = rng.normal(2.0, 1.0, 400), rng.normal(0.0, 2.0, 100)
    mean, (low, high) = difference_of_means(a, b)
    assert mean == pytest.approx(a.mean() - b.mean())
    assert (high - low) / 2 == pytest.approx(Z * np.sqrt(a.var() / 400 + b.var() / 100), rel=0.1)
    assert difference_of_means(np.ones(3), np.zeros(5)) == (1.0, (1.0, 1.0))

"""Intervals and aggregates against known values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tutelage.experiment.stats import difference_of_means, iqm, mean_interval, paired_shares, ratio_of_means, wilson


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


def test_the_interval_of_a_mean_is_student_s():
    """R: t.test(c(1, 2, 3, 4))$conf.int."""
    np.testing.assert_allclose(mean_interval(np.array([1.0, 2.0, 3.0, 4.0])), (0.4457397, 4.5542603), atol=1e-6)
    assert mean_interval(np.array([3.0])) == (3.0, 3.0)


def test_the_interval_of_two_numbers_is_wide():
    """The quantile of one degree of freedom is 12.706."""
    np.testing.assert_allclose(mean_interval(np.array([0.0, 2.0])), (-11.7062, 13.7062), atol=1e-4)


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


def test_a_difference_of_means_is_welch_s():
    a, b = np.array([1.0, 4.0, 7.0]), np.array([0.0, 2.0])
    gap, interval = difference_of_means(a, b)
    assert gap == 3.0
    np.testing.assert_allclose(interval, (-3.478909, 9.478909), atol=1e-6)  # 2.909 degrees of freedom
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(interval, expected, rtol=1e-9)


def test_differences_without_spread_leave_no_doubt():
    assert difference_of_means(np.ones(3), np.zeros(5)) == (1.0, (1.0, 1.0))


def test_a_retention_is_the_ratio_of_means_with_a_paired_interval():
    teacher = np.array([0.9, 0.5, 0.7, 1.0])
    ratio, (low, high) = ratio_of_means(0.9 * teacher, teacher)
    assert ratio == pytest.approx(0.9)
    np.testing.assert_allclose((low, high), 0.9)  # paired: the same ratio in every seed leaves no doubt
    student = np.array([0.8, 0.5, 0.5, 0.9])
    ratio, (low, high) = ratio_of_means(student, teacher)
    assert ratio == pytest.approx(2.7 / 3.1) and low < ratio < high


@pytest.mark.parametrize("end", [0, 1])
def test_at_the_ends_of_a_ratio_s_interval_the_difference_is_just_not_shown(end):
    """Fieller: r is inside exactly where 0 is within the interval of the mean of a - r b."""
    a, b = np.array([0.8, 0.5, 0.5, 0.9]), np.array([0.9, 0.5, 0.7, 1.0])
    r = ratio_of_means(a, b)[1][end]
    assert mean_interval(a - r * b)[end] == pytest.approx(0, abs=1e-12)


def test_a_ratio_to_what_could_be_nothing_has_no_bounds():
    assert ratio_of_means(np.array([0.5, 0.6]), np.array([0.0, 0.2]))[1] == (-np.inf, np.inf)


# ---- what intervals promise ----------------------------------------------------------------------------------------
DRAWS = 3000


def covered(n: int, interval) -> float:
    """In how many of so many experiments of n seeds the interval holds the truth, which `interval` says."""
    rng = np.random.default_rng(n)
    return float(np.mean([low <= truth <= high for truth, (low, high) in (interval(rng, n) for _ in range(DRAWS))]))


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_of_a_mean_over_seeds_covers_95_percent(n):
    result = covered(n, lambda rng, n: (0.9, mean_interval(rng.normal(0.9, 0.05, n))))
    assert 0.93 <= result <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_of_a_retention_covers_95_percent(n):
    def one(rng, n):
        teacher = rng.normal(0.8, 0.05, n)
        return 0.95, ratio_of_means(0.95 * teacher + rng.normal(0, 0.03, n), teacher)[1]

    assert 0.93 <= covered(n, one) <= 0.97


@pytest.mark.parametrize("n", [5, 10])
def test_without_an_effect_five_percent_of_differences_are_shown(n):
    one = lambda rng, n: (0.0, difference_of_means(rng.normal(0.9, 0.05, n), rng.normal(0.9, 0.1, n))[1])
    assert 0.03 <= 1 - covered(n, one) <= 0.07


@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "difference", "low", "high"),
    [  # Agresti and Min 2005: half a pair more in each of the four outcomes, then Wald's interval
        (86, 150, 1600, -0.04, -0.05868, -0.02122),
        (0, 0, 320, 0.0, -0.00609, 0.00609),
        (0, 4, 320, -0.0125, -0.02598, 0.00114),
        (0, 6, 320, -0.01875, -0.03461, -0.00266),
        (32, 0, 32, 1.0, 0.84331, 1.0),
    ],
)
def test_the_interval_of_paired_shares_has_a_width_where_few_pairs_differ(only_a, only_b, n, difference, low, high):
    pairs = np.repeat([[True, False], [False, True], [True, True]], [only_a, only_b, n - only_a - only_b], 0)
    found, interval = paired_shares(*pairs.T)
    assert found == pytest.approx(difference)
    np.testing.assert_allclose(interval, (low, high), atol=2e-5)
    assert paired_shares(*pairs.T[::-1])[1] == pytest.approx((-interval[1], -interval[0]))

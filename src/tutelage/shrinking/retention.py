"""The share of its teacher that a student keeps, with an interval, and when it is decided. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tutelage.experiment.stats import Interval, Z, ratio_of_means, ratio_of_shares
from tutelage.types import Measure

LOOKS, EPISODES = 5, 64
"""How often a student is looked at at most, and episodes between two looks."""
Z_LOOKS = 2.413
"""Quantile of the interval at each of five looks, so that all five together err in 5 % of cases.

Reference:
    Pocock 1977; Jennison and Turnbull 2000, table 2.1.
"""


class Scores(NamedTuple):
    """Outcomes of episodes, (E,) each: whether they succeeded, and their returns."""

    success: np.ndarray
    returns: np.ndarray

    def first(self, n: int) -> Scores:
        return Scores(self.success[:n], self.returns[:n])

    def mean(self, measure: Measure) -> float:
        """The score by which the task is judged."""
        return float((self.success if measure == "success" else self.returns).mean())


def share_kept(
    student: Scores, teacher: Scores, measure: Measure, floor: float, z: float = Z
) -> tuple[float, Interval]:
    """The student's score over the teacher's, and its interval.

    Of successes it is the ratio of the rates. Of returns it is the ratio of means above `floor`, over pairs of episodes
    that begin alike.

    Args:
        student: of the first episodes of the teacher, or of as many others.
        floor: the return of random play.
        z: quantile of the interval.
    """
    if measure == "success":
        count = lambda x: (int(x.success.sum()), len(x.success))
        return ratio_of_shares(count(student), count(teacher), z)
    paired = teacher.first(len(student.returns))
    share, (low, high) = ratio_of_means(student.returns - floor, paired.returns - floor, z)
    return float(share), (float(low), float(high))  # not NumPy's, which JSON does not have


class Verdict(NamedTuple):
    """Whether a share is kept, and whether the interval decides it (else the share alone)."""

    keeps: bool
    decided: bool


def verdict(share: float, interval: Interval, keep: float) -> Verdict:
    """Whether `keep` is kept: yes where the interval lies above, no where it lies below, else by the share."""
    low, high = interval
    return Verdict(share >= keep, low >= keep or high < keep)

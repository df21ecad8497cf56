"""What is known of a success rate, and of the difference of two on the same tasks."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(successes: float | int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a probability p, of which ``successes`` of ``n`` independent trials are known.

    All p that the score test does not reject: |p̂ − p| ≤ z √(p (1 − p) / n), solved for p (Wilson, 1927, J. Am. Stat.
    Assoc. 22:209). Unlike p̂ ± z SE it does not shrink to a point at 0 or n successes. ``successes`` need not be
    whole: of the mean rate of several models on the same tasks the interval is conservative, as the mean varies from
    task to task no more than a single rate does.

    Raises
    ------
    ValueError
        If there is no trial, there are more successes than trials, or the level is outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n or not 0 < level < 1:
        raise ValueError(f"expected 0 ≤ successes ≤ n, n ≥ 1 and a level in (0, 1), got {successes=}, {n=}, {level=}")
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2
    rate = successes / n
    centre = (rate + squared / (2 * n)) / (1 + squared / n)
    half = math.sqrt(squared * (rate * (1 - rate) / n + squared / (4 * n**2))) / (1 + squared / n)
    # Exactly 0 and 1 at the ends, which rounding misses.
    return (0.0 if successes == 0 else max(centre - half, 0.0), 1.0 if successes == n else min(centre + half, 1.0))


def mcnemar(only_one: int, only_other: int) -> float:
    """Exact two-sided p value of McNemar's test that two models solve tasks equally often.

    Of the tasks that exactly one of the two solves, each of them solves half under the hypothesis: twice the smaller
    tail of a binomial law, at most 1; 1 where no task tells them apart.

    Raises
    ------
    ValueError
        If a count is negative.
    """
    if min(only_one, only_other) < 0:
        raise ValueError(f"expected counts ≥ 0, got {only_one=}, {only_other=}")
    n = only_one + only_other
    tail = sum(math.comb(n, count) for count in range(min(only_one, only_other) + 1))
    # A quotient of whole numbers: 2^n of a thousand tasks is beyond a float, the quotient is not.
    return min(1.0, 2 * tail / 2**n)

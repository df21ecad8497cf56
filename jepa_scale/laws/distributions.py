"""Quantiles and tails of Student's t, the normal, F and χ² distributions.

They are the functions that ``scipy.stats`` calls; importing that package takes as long as to fit several laws.
"""

from __future__ import annotations

from scipy import special


def student_below(value: float, degrees: float) -> float:
    """Return P(T ≤ ``value``) of Student's t.

    Examples
    --------
    >>> student_below(0.0, 5)
    0.5
    """
    return float(special.stdtr(degrees, value))


def student_quantile(share: float, degrees: float) -> float:
    """Return the quantile of Student's t.

    Examples
    --------
    >>> round(student_quantile(0.975, 10), 3)
    2.228
    """
    return float(special.stdtrit(degrees, share))


def normal_above(value: float) -> float:
    """Return P(Z > ``value``) of the standard normal.

    Examples
    --------
    >>> normal_above(0.0)
    0.5
    """
    return float(special.ndtr(-value))


def normal_quantile(share: float) -> float:
    """Return the quantile of the standard normal.

    Examples
    --------
    >>> round(normal_quantile(0.975), 3)
    1.96
    """
    return float(special.ndtri(share))


def f_above(value: float, numerator: float, denominator: float) -> float:
    """Return P(F > ``value``) for ``value`` ≥ 0 and these degrees of freedom.

    Examples
    --------
    >>> round(f_above(4.965, 1, 10), 3)
    0.05
    """
    return float(special.fdtrc(numerator, denominator, value))


def f_quantile(share: float, numerator: float, denominator: float) -> float:
    """Return the quantile of F.

    Examples
    --------
    >>> round(f_quantile(0.95, 1, 10), 3)
    4.965
    """
    return float(special.fdtri(numerator, denominator, share))


def chi_square_above(value: float, degrees: float) -> float:
    """Return P(X > ``value``) of χ², for ``value`` ≥ 0.

    Examples
    --------
    >>> round(chi_square_above(3.841, 1), 3)
    0.05
    """
    return float(special.chdtrc(degrees, value))


def chi_square_quantile(share: float, degrees: float) -> float:
    """Return the quantile of χ².

    Examples
    --------
    >>> round(chi_square_quantile(0.95, 1), 3)
    3.841
    """
    return float(2 * special.gammaincinv(degrees / 2, share))

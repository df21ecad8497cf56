"""Formatting of numbers in sentences, with their uncertainty and their n where these exist."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jepa_scale.records import StudyResult
from jepa_scale.report.summary import ZERO, Cell, Difference

THIN = "\u202f"
"""Narrow no-break space between thousands."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def whole(value: float) -> str:
    """Return a count with separated thousands."""
    return f"{value:,.0f}".replace(",", THIN)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with three significant digits, if readable without an exponent; a dash if it is missing."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) < ZERO:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -4 <= size < 6:
        text = f"{value:.{max(digits - 1 - size, 0)}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else whole(value)).replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    raised = str(int(exponent)).translate(_SUPERSCRIPTS)
    return f"{mantissa.replace('-', '−')}·10{raised}"


_LAWS = {
    "generic": "power law",
    "theory_free": "theory with free exponents",
    "theory_fixed": "theory with its exponents",
    "theory_bounded": "theory with ceiling",
}


def law_name(name: str) -> str:
    """Return the name of a law in words."""
    return _LAWS.get(name, name.replace("_", " "))


def over(result: StudyResult) -> str:
    """Return over what a finite world's regret is averaged: all starts and goals, or pairs if plans are searched."""
    planner, episodes = result.settings.get("planner", {}), result.settings.get("evaluation", {}).get("episodes")
    # Only a search has candidates; whoever enumerates plans is judged everywhere.
    if "candidates" not in planner:
        return "exact over starts and goals"
    return (
        f"mean over {'sampled' if episodes is None else whole(episodes)} pairs of start and goal, same for all models"
    )


def with_error(mean: float, standard_error: float | None) -> str:
    """Return mean ± SE, rounded to one or two significant digits of the SE; the mean alone without an SE.

    Seeds that do not differ show no scatter, which is not an error of 0.
    """
    if standard_error is None or not math.isfinite(standard_error) or standard_error < ZERO:
        return number(mean)
    size = math.floor(math.log10(standard_error))
    two_digits = standard_error / 10**size < 3
    decimals = max(two_digits - size, 0)
    if decimals > 6:
        return f"{number(mean)} ± {number(standard_error, 2)}"
    # Adding 0 takes the sign off a mean that rounds to 0.
    return f"{round(mean, decimals) + 0.0:.{decimals}f} ± {standard_error:.{decimals}f}".replace("-", "−")


def with_interval(mean: float, standard_error: float | None, low: float, high: float) -> str:
    """Return mean ± SE [low, high], the ends with the decimals of the mean."""
    shown = with_error(mean, standard_error)
    head = shown.split(" ± ")[0]
    if " ± " not in shown or "·" in shown:
        return f"{shown} {interval(low, high)}"
    decimals = len(head.partition(".")[2])
    ends = (f"{end:.{decimals}f}".replace("-", "−") for end in (low, high))
    return f"{shown} [{', '.join(ends)}]"


def duration(hours: float) -> str:
    """Return a time in the unit in which it is a readable number: seconds, minutes or hours."""
    seconds = 3600 * hours
    if seconds < 100:
        return f"{number(seconds, 2)} s"
    return f"{number(seconds / 60, 2)} min" if seconds < 6000 else f"{number(hours, 2)} h"


def seeds(count: int) -> str:
    """Return the number of seeds behind a mean, in words."""
    return "1 seed, no standard error" if count == 1 else f"{count} seeds"


def measured(cell: Cell) -> str:
    """Return a cell's mean with all that is known about its uncertainty."""
    if cell.seeds > 1 and cell.standard_error == 0:
        # No scatter was seen, which is not to say that there is none.
        return f"{number(cell.mean)} in all {seeds(cell.seeds)}"
    return f"{with_error(cell.mean, cell.standard_error)} ({seeds(cell.seeds)})"


def place(cell: Cell) -> str:
    """Return the n and k of a cell."""
    return f"n = {whole(cell.n)}, k = {cell.k}"


def difference(gap: Difference) -> str:
    """Return a difference with its size in standard errors."""
    size = gap.in_standard_errors
    if size is None:
        return f"{number(gap.value)} (no standard error)"
    if math.isinf(size):
        return f"{number(gap.value)} (the seeds do not differ at all)"
    # With a few seeds the error itself is uncertain by a third: tens of them are no more certain than ten.
    apart = f"{abs(size):.1f}" if abs(size) <= _MOST_ERRORS else f"more than {_MOST_ERRORS}"
    return f"{with_error(gap.value, gap.standard_error)} ({apart} SE)".replace("-", "−")


_MOST_ERRORS = 10


def bound(value: float) -> str:
    """Return a bound on a regret with its value; a vacuous bound is called so."""
    # Not ``value >= 1``: a bound that is NaN says nothing either.
    return number(value) if value < 1 else f"vacuous ({number(value)})"


def interval(low: float, high: float) -> str:
    """Return both ends of an interval."""
    return f"[{number(low)}, {number(high)}]"


def between(low: int, high: int | None) -> str:
    """Return a range of counts, one number where both ends agree; ``high`` is None where there is no upper end."""
    if high is None:
        return f"{low} or more"
    return f"{low}" if low == high else f"{low} … {high}"


def percent(level: float) -> str:
    """Return a probability as a percentage."""
    return f"{100 * level:.3g} %"


def probability(value: float | None) -> str:
    """Return a p value with = or <; a dash if no test was possible."""
    return "–" if value is None else "p < 0.001" if value < 0.001 else f"p = {number(value, 2)}"


def listed(items: Sequence[object]) -> str:
    """Return items joined by commas and a final ``and``."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{whole(count)} {noun}" + ("" if count == 1 else "s")

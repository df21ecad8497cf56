"""Findings as codes with values, and the sentence of each code; no other module puts a code into words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One fact about a fit or table; programs act upon its code and subject, never upon its words.

    Raises
    ------
    ValueError
        If the code has no words in ``WORDS``.

    Examples
    --------
    >>> finding = Finding("at_bound", "beta", {"value": 6.0})
    >>> finding.code, str(finding)
    ('at_bound', 'beta = 6 lies at the bound of its range')
    """

    code: str
    subject: str = ""
    """Subject of the finding: a parameter, a column, a target; empty if it is about the whole."""
    values: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in WORDS:
            raise ValueError(f"expected a code of WORDS, got {self.code!r}: add its sentence there")

    def __str__(self) -> str:
        return WORDS[self.code].format(subject=self.subject, **self.values)


WORDS = {
    # Why a law was not fitted
    "no_rows": "there is no row to fit",
    "no_cell_left": "no cell is left to fit ({first}): larger n, longer training, or a law with a ceiling",
    "constant_target": "{subject} is {value:g} in every row: there is nothing that a law could explain",
    "column_missing": "{law} needs {what}, which is missing in {missing} of {rows} cells",
    "tail_zero": "the tail is 0 in all {rows} cells: its coefficient cannot be fitted",
    "too_few_levels": "{levels} level of {subject}: at least 2 are needed; run other values of {subject}",
    "columns_move_together": "{subject} and {other} move together (correlation of logarithms {correlation:.3f}): their "
    "exponents cannot be told apart; run cells with large {subject} and small {other}, and the other way round",
    "too_few_cells": "{cells} cells for {free} free parameters: at least {least} are needed; run more values of "
    "{dials}",
    "no_influence": "{subject} changes nothing in the law at its minimum: leave it out",
    "two_levels": "two levels of {subject} cannot tell its exponent and coefficient from a constant: 3 are needed; run "
    "another value of {subject}, or pin the exponent by a number",
    "rank_deficient": "the rows do not tell {parameters} apart: run other values of what the law reads, or pin one of "
    "them to a number",
    "not_converged": "no start of {starts} converged: look for outliers",
    "no_forecast": "no forecast, {subject} {status}: {why}",
    "reads_outcomes": "no forecast, {subject} reads {columns}, which is not known before a run: expected dials or "
    "{decided}",
    # Reasons to distrust a fit
    "copied_rows": "{copies} of {rows} rows repeat another row exactly, target included: copies, not runs",
    "rises_with_scale": "{subject} rises with {columns}, and this law only falls: a loss is expected, so turn the "
    "formula round, as in '{subject} = E - A {first}^-a'",
    "above_ceiling": "{above} of {rows} targets lie above the ceiling, which the law never reaches",
    "negative_target": "{negative} targets are negative, which a law of this form never is",
    "exponents_trade_off": "ln {subject} and ln {other} have correlation {correlation:.2f}: their exponents trade off",
    "at_bound": "{subject} = {value:.3g} lies at the bound of its range",
    "coefficient_zero": "{subject} is not identified: the coefficient {coefficient} of its term is 0",
    "lack_of_fit_untested": "no replicate runs that differ: the lack of fit was not tested",
    "lack_of_fit": "lack of fit: p = {p:.1g}, the law misses cell means by more than runs scatter",
    "exact_zeros": "{subject} is exactly 0 in {zeros} of {rows} cells, a value that no power law reaches",
    "no_interior_optimum": "this grid does not test {subject}: no n has an interior optimum in k",
    "wide_spread": "this grid does not test {subject}: sd({subject}) = {sd:.2g} is above {most}",
    "one_seed": "one seed per cell: the noise was estimated from the residuals, lack of fit included",
    "moved_with_weights": "{subject} moved from {first:.2f} to {second:.2f} as the weights were updated: the law does "
    "not follow the cells, its value depends on how they are weighted",
    "refits_failed": "{failed} bootstrap refits failed and are not in the intervals",
    "several_minima": "{minima} different minima lie within χ² of one: the data do not choose between them",
}
"""Sentence of each code, without a full stop; ``{subject}`` and the names of its values are filled in."""

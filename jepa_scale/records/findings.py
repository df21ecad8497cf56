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
    # What a table pools
    "settings_pooled": "{subject} differs between rows of the same {dials} ({shown}; in {cells} of {several} with "
    "several rows), and these rows are pooled as if they were seeds: choose one with --where {subject}={first}",
    "name_is_parameter": "{subject} in {law} is no column of the table and was fitted as a parameter: {hint}",
    # What speaks against advice
    "runs_left_out": "{count} runs left out, the first: {first}",
    "target_above_random": "random plans reach {random:.3g}: the target {target:g} asks for nothing",
    "untrained": "untrained: no cell is better than {subject}, whose {quantity} is {floor:.3g}; the lowest is "
    "{lowest:.3g}, at n = {n} and k = {k}; look at objective, rate and steps before n and k",
    "barely_trained": "barely trained: the lowest {quantity}, {lowest:.3g} at n = {n} and k = {k}, is {share:.1%} of "
    "that of {subject}, {floor:.3g}; look at objective, rate and steps before n and k",
    "edge_of_widths": "{subject} = {best} is at the edge of the widths that were run: a {side} one may be better",
    "few_sizes": "fewer than three sizes n: no forecast of this study could be back-tested, others stand for it",
    "noisy_run": "one run there scatters by {noise:.2g}, more than half the target: nobody can be sure of a single run",
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
    "lack_of_fit": "lack of fit: the law misses cell means by more than runs scatter",
    "exact_zeros": "{subject} is exactly 0 in {zeros} of {rows} cells, a value that no power law reaches",
    "no_interior_optimum": "this grid does not test {subject}: no n has an interior optimum in k",
    "wide_spread": "this grid does not test {subject}: sd({subject}) = {sd:.2g} is above {most}",
    "one_seed": "one seed per cell: the noise was estimated from the residuals, lack of fit included",
    "moved_with_weights": "{subject} moved from {first:.2f} to {second:.2f} as the weights were updated: the law does "
    "not follow the cells, its value depends on how they are weighted",
    "refits_failed": "{failed} bootstrap refits failed and are not in the intervals",
    "learns_late": "{share:.0%} of what {subject} learnt at n = {n} came in the second half of training: with more "
    "data and the same steps it would learn later still, and regret may rise again; give the runs more steps, by "
    "trainer.steps_per_epoch or the budget rule fixed_epochs",
    # Verdicts of an audit, and what else it finds in embeddings
    "wide": "{needed} of its {width} directions hold {share:.0%} of what is predictable",
    "fits": "{needed} of its {width} directions are needed for {share:.0%} of what is predictable, and linear "
    "functions of it predict {held:.0%} [{held_low:.0%}, {held_high:.0%}] of what can be predicted of the next latent",
    "nothing_predictable": "nothing of the next latent is predictable, of {width} directions at most {energy_high:.2g} "
    "(E): noise, or rows that are no pairs of one step, so that it tells nothing of the width",
    "past_adds": "the latent is no state: linear functions of it predict {held:.0%} [{held_low:.0%}, {held_high:.0%}] "
    "of what can be predicted, and the latent before adds most of the rest",
    "bends_add": "linear functions of the latent predict {held:.0%} [{held_low:.0%}, {held_high:.0%}] of what can be "
    "predicted, and bent functions of it add most of the rest: functions that it lacks are predictable too",
    "share_undecided": "between {low} and {high} of {width} directions hold {share:.0%} of what is predictable, and "
    "{half} is the limit; {told} are told from noise and hold {told_share:.0%} [{told_low:.0%}, {told_high:.0%}]",
    "held_undecided": "linear functions of the latent predict {held_low:.0%} to {held_high:.0%} of what can be "
    "predicted, and {share:.0%} is the limit",
    "history_missing": "rows are not followed by the next ones of their trajectories, so that nobody sees whether the "
    "past adds to what {needed} of {width} directions predict",
    "groups_missing": "all rows are of one trajectory, or of one group of them: what is independent is not known",
    "rows_missing": "{rows} rows are too few for any answer: {needed} at least",
    "collapsed": "{subject} varies by {ratio:.1g} of its own size: collapsed, and what is left is rounding",
    "time_index": "linear functions of {subject} tell the time since the start of a trajectory (R² = {r2:.3f}): a "
    "clock in the latent is predictable without knowing anything of the dynamics",
    "trajectory_constants": "{count} directions of {subject} do not change within a trajectory: they tell which one it "
    "is, and each adds 1 to T without any dynamics",
    "actions_shifted": "the action of the row {subject} tells more of z_next than the row's own, which adds nothing: "
    "actions stand {rows} row too {side}",
    "actions_unused": "the action adds nothing to what z tells of z_next: {gain:.3g} [{low:.3g}, {high:.3g}]",
    "action_blind": "predictions see no more of z_next than the best predictions that do not know the action: "
    "{gained:.1%} [{low:.1%}, {high:.1%}] of the joint operator, of {possible:.1%} that the action adds",
    "directions_undecided": "at least {low} of the {directions} leading principal directions are needed for "
    "{share:.0%} of what they predict, and rows are too few for all {width}",
    "train_narrower": "train with a width of {least} to {most}, and audit that",
    "train_wider": "train with a width of {most}, or with more frames in an observation, and audit that",
    "compare_wider": "if a width of {most} predicts no more, this one is enough",
    "record_more": "record about {needed} transitions",
    "name_trajectories": "give the trajectory of each row",
    "order_rows": "give rows in order of time, with the trajectory of each",
    "train_anew": "train with another objective, or with more weight against collapse",
    "check_pairs": "check that z_next is what follows z in the same row, and that z is the latent of a trained encoder",
    "projected": "looked at were the {directions} leading principal directions of {width}, {variance:.1%} of the "
    "variance: what lies beyond is not in these numbers",
    "several_minima": "{minima} different minima lie within χ² of one: the data do not choose between them",
}
"""Sentence of each code, without a full stop; ``{subject}`` and the names of its values are filled in."""

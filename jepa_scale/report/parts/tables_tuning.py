"""Table of the tuning check."""

from __future__ import annotations

import math

from jepa_scale.laws.tuning import SharingLoss, loss_of_sharing, rate_means
from jepa_scale.records import StudyResult
from jepa_scale.report.page.markup import paragraph, says, table, text
from jepa_scale.report.wording import number, whole, with_error


def rates(result: StudyResult) -> str:
    """Return, for each width, regret and risk at every rate, the best rate and what the shared one loses.

    Nothing without a check: the conclusions say what that means.
    """
    check = result.tuning
    if check is None:
        return ""
    if not check.runs:
        return says(check.unfinished) if check.unfinished else paragraph("The check has no runs.")
    tried = sorted({run.rate for run in check.runs})
    shown = [f"{number(rate)}{' (shared)' if rate == check.shared else ''}" for rate in tried]
    head = ("k", "target", *shown, "best", "the shared rate loses")
    rows = []
    for target in ("regret", "risk"):
        means = rate_means(check, target)
        for loss in loss_of_sharing(check, target):
            row = [means.get(loss.k, {}).get(rate) for rate in tried]
            cells = ["– <small>lost</small>" if mean is None else with_error(*_known(*mean)) for mean in row]
            rows.append((str(loss.k), target, *cells, *_loss(loss)))
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in check.runs}))
    caption = (
        f"By {check.label} at n = {whole(check.n)}: mean ± 1 standard error over seeds {seeds}, which enter no other "
        "table. The loss is paired by seed."
    )
    listing = table(head, rows, text(caption), tuple(range(2, len(head))))
    return listing + (says(check.unfinished) if check.unfinished else "")


def _loss(loss: SharingLoss) -> tuple[str, str]:
    best = number(loss.best_rate) + (" <small>(end of the list)</small>" if loss.at_edge else "")
    return best, "–" if math.isnan(loss.loss) else with_error(*_known(loss.loss, loss.standard_error))


def _known(mean: float, error: float) -> tuple[float, float | None]:
    return mean, error if math.isfinite(error) else None

"""What predictions see, in numbers that mean the same for every objective."""

from __future__ import annotations

import numpy as np

from jepa_scale.auditing.sampled import Sample
from jepa_scale.auditing.verdict import interval_of
from jepa_scale.estimators.energy import joined, room, total_energy, whiten
from jepa_scale.records.findings import Finding
from jepa_scale.records.verdicts import PredictionShare


def share_of(sample: Sample, level: float) -> tuple[PredictionShare | None, tuple[Finding, ...]]:
    """Compare E(ẑ → z⁺) and the best that does not know the action, E(z → z⁺), with E((z, a) → z⁺), and name blindness.

    All three see z and a through linear and bent functions, so that a predictor that bends and one that does not are
    measured alike; the energies are those of ``estimators.energy``, which no invertible linear map of ẑ or z changes.
    Predictions are blind if they gain less than a tenth of what the action could give, for certain.
    None where there are no predictions, too few rows, too few groups, or nothing to predict.
    """
    right = sample.right.rows
    if sample.predicted is None or len(np.unique(sample.trajectories)) < 2 or right.shape[1] == 0:
        return None, ()
    predicted = whiten(sample.predicted, right.shape[1]).rows
    sides = (
        predicted,
        joined(sample.left.rows, sample.bent_of(sample.left.rows)),
        joined(sample.context, sample.bent),
    )
    if max(side.shape[1] for side in sides) + right.shape[1] > room(sample.effective):
        return None, ()
    seen, blind, joint = (total_energy(side, right, sample.trajectories, sample.weights) for side in sides)
    if not float(joint.interval(level)[0]) > 0:
        return None, ()
    explained, without, gained = (interval_of(part.over(joint), level) for part in (seen, blind, seen.minus(blind)))
    share = PredictionShare(explained, without, gained)
    possible = interval_of(joint.minus(blind), level)
    added = 1 - (without.value or 0.0)
    if (possible.low or 0) > 0 and gained.high is not None and gained.high < 0.1 * added:
        values = {"gained": gained.value, "low": gained.low, "high": gained.high, "possible": added}
        return share, (Finding("action_blind", values=values),)
    return share, ()

"""What an audit's reader must know before the numbers, in plain words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jepa_scale.auditing.record import Audit, OperatorAudit
from jepa_scale.auditing.stream import Plan
from jepa_scale.estimators.spectrum import SAMPLES_PER_DIMENSION
from jepa_scale.report.wording import listed, number, percent, plural, whole

_NEARLY_ONE = 0.98


def warnings_of(audit: Audit, plan: Plan, seen: np.ndarray, wanted: bool) -> Audit:
    """Return the audit with its warnings; ``wanted`` says whether a dictionary was."""
    found = [
        *_collapsed(audit),
        *_too_small(audit),
        *_trajectories(audit),
        *_actions(audit, plan, seen),
        *_data(audit),
        *_noiseless(audit),
        *_dictionary(audit, wanted),
    ]
    return replace(audit, warnings=tuple(found))


def _named(operators: list[OperatorAudit]) -> str:
    names = [one.name for one in operators]
    return listed(names) if len(names) <= 6 else f"{plural(len(names), 'operator')} ({names[0]}, …)"


def _collapsed(audit: Audit) -> list[str]:
    found = []
    if flat := [one for one in audit.operators if "degenerate" in one.flags]:
        found.append(
            f"The embeddings do not vary ({_named(flat)}): the model has collapsed, or the wrong array was given. "
            "There is no spectrum but the constant's."
        )
    deficient = [one for one in audit.operators if "rank_deficient" in one.flags and "degenerate" not in one.flags]
    if deficient:
        worst = min(deficient, key=lambda one: min(one.p, one.q))
        found.append(
            f"Coordinates depend on each other: of widths {audit.widths[0]} and {audit.widths[1]} only {worst.p} and "
            f"{worst.q} directions vary ({worst.name}). The rest of the latent carries nothing."
        )
    return found


def _too_small(audit: Audit) -> list[str]:
    small = [one for one in audit.operators if "n_too_small" in one.flags]
    if not small:
        return []
    needed = max(SAMPLES_PER_DIMENSION * max(one.p, one.q) for one in small)
    return [
        f"Too few transitions for {_named(small)}: {whole(min(one.n for one in small))} where {whole(needed)} are "
        f"needed ({SAMPLES_PER_DIMENSION} for each direction). No number is shown for it; give more rows, or project "
        "with --components."
    ]


def _trajectories(audit: Audit) -> list[str]:
    if any("no_interval" in one.flags for one in audit.operators):
        return [
            "No intervals: trajectories are what is independent, and at least one operator has rows of a single one "
            f"(or of one group of them; {audit.trajectories} in all). Give the ids of several."
        ]
    if audit.trajectory_source == "blocks":
        return [
            "No trajectory ids: contiguous blocks of rows stand in for them. If rows were shuffled, intervals are too "
            "narrow; give trajectory."
        ]
    if audit.trajectories < 64:
        return [
            f"Only {audit.trajectories} trajectories: intervals rest on "
            f"{min(16, audit.trajectories)} groups of them and are rough."
        ]
    return []


def _actions(audit: Audit, plan: Plan, seen: np.ndarray) -> list[str]:
    if plan.labels is None:
        return []
    present = set(plan.labels[seen > 0].tolist())
    holes = (
        [label for label in range(int(plan.labels.max()) + 1) if label not in present] if plan.labels.min() >= 0 else []
    )
    if not holes or len(holes) > len(present):
        return []
    word = "Action" if len(holes) == 1 else "Actions"
    return [f"{word} {listed(holes)} never occurs: nothing can be said of what it does."]


def _data(audit: Audit) -> list[str]:
    found = []
    if audit.dropped:
        found.append(f"{plural(audit.dropped, 'row')} left out: NaN or infinity.")
    if audit.repeated > 0.001 * audit.rows:
        found.append(
            f"{percent(audit.repeated / audit.rows)} of the transitions repeat another bit by bit. In a world with "
            "finitely many observations that is to be expected; otherwise rows were duplicated, n is smaller than it "
            "seems and intervals are too narrow."
        )
    return found


def _noiseless(audit: Audit) -> list[str]:
    near = [
        one.name
        for one in audit.operators
        if len(one.singular_values) > 2
        and sum((v.value or 0) > _NEARLY_ONE for v in one.singular_values) > len(one.singular_values) / 2
    ]
    if not near:
        return []
    return [
        "Most singular values are nearly 1: the dynamics look noiseless (degenerate). Then T grows with the number of "
        "features without end, there is no gap, and only T(ε) at a stated resolution ε means something."
    ]


def _dictionary(audit: Audit, wanted: bool) -> list[str]:
    if audit.dictionary is not None:
        return []
    flat = any("degenerate" in one.flags for one in audit.operators)
    why = "the embeddings do not vary" if flat else "too few rows for one twice as wide as the embeddings"
    return [
        f"No reference dictionary: {why if wanted else 'it was switched off'}. Without it nothing is known of the "
        "tail, and no width can be advised: an embedding sees no singular value beyond its own width."
    ]


def sufficiency(audit: Audit) -> str:
    """One sentence on what the width leaves out."""
    if audit.dictionary is None or audit.total.value is None:
        return ""
    k = min(audit.widths)
    tail = audit.dictionary.tail.get(k)
    deficit = audit.dictionary.subspace_deficit
    if tail is None or tail.value is None or deficit.value is None:
        return ""
    missed = (
        f"within k the embeddings miss {number(deficit.value)} of what as many of its best functions see"
        if deficit.value > 0
        else "within k it finds nothing that the embeddings miss"
    )
    return f"Beyond k = {k} the dictionary still sees a tail of {number(tail.value)}, and {missed} (lower bounds)."

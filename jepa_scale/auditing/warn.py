"""Warnings of an audit, in plain words, which a reader must know before the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from jepa_scale.auditing.plan import Plan
from jepa_scale.auditing.record import Audit, AuditQuantity, OperatorAudit
from jepa_scale.auditing.rows import EmbeddingRows
from jepa_scale.auditing.settings import AuditSettings
from jepa_scale.estimators.spectrum import SAMPLES_PER_DIMENSION
from jepa_scale.report.summary import ZERO
from jepa_scale.report.wording import listed, number, percent, plural, whole, with_interval


def warnings_of(audit: Audit, rows: EmbeddingRows, plan: Plan, seen: np.ndarray, settings: AuditSettings) -> Audit:
    """Return the audit with its warnings."""
    warnings = [
        *_collapsed(audit),
        *_too_small(audit),
        *_trajectories(audit),
        *_actions(audit, plan, seen),
        *_data(audit),
        *_noiseless(audit),
        *_leak(audit),
        *_dictionary(audit, settings),
        *_joint(audit),
        *_ranks(audit),
        *_cells(plan, seen, settings),
        *_without_effect(audit, rows, plan, settings),
    ]
    return replace(audit, warnings=tuple(warnings))


def _named(operators: list[OperatorAudit]) -> str:
    names = [operator.name for operator in operators]
    return listed(names) if len(names) <= 6 else f"{plural(len(names), 'operator')} ({names[0]}, …)"


def _collapsed(audit: Audit) -> list[str]:
    warnings = []
    if flat := [operator for operator in audit.operators if "degenerate" in operator.flags]:
        warnings.append(
            f"The embeddings do not vary ({_named(flat)}): the model has collapsed, or the wrong array was given. "
            "There is no spectrum but the constant's."
        )
    # Fewer rows than directions vary in fewer, whatever the model.
    besides = {"degenerate", "n_too_small"}
    deficient = [
        operator
        for operator in audit.operators
        if "rank_deficient" in operator.flags and not besides & set(operator.flags)
    ]
    if deficient:
        worst = min(deficient, key=lambda operator: min(operator.p, operator.q))
        warnings.append(
            f"Coordinates depend on each other: of widths {audit.widths[0]} and {audit.widths[1]} only {worst.p} and "
            f"{worst.q} directions vary ({worst.name}). The rest of the latent carries nothing."
        )
    return warnings


def _too_small(audit: Audit) -> list[str]:
    small = [operator for operator in audit.operators if "n_too_small" in operator.flags]
    if not small:
        return []
    needed = SAMPLES_PER_DIMENSION * max(audit.widths)
    least = min(small, key=lambda operator: operator.n)
    weighed = f" ({whole(least.rows)} rows, of unequal weight)" if least.n < 0.9 * least.rows else ""
    return [
        f"Too few transitions for {_named(small)}: {whole(least.n)}{weighed} where {whole(needed)} are needed "
        f"({SAMPLES_PER_DIMENSION} for each coordinate). No spectrum is shown for it; give more"
        + (f", or project with --components {fits}." if (fits := int(least.n // SAMPLES_PER_DIMENSION)) else ".")
    ]


def _trajectories(audit: Audit) -> list[str]:
    alone = [
        operator
        for operator in audit.operators
        if "no_interval" in operator.flags and "n_too_small" not in operator.flags
    ]
    if alone:
        return [
            f"No intervals, and values that are too high, for {_named(alone)}: trajectories are what is independent, "
            f"and all rows are of one, or of one group of them ({audit.trajectories} in all). Give the ids of several."
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
    count = int(plan.labels.max()) + 1
    # Counted before they are listed: one damaged number stands for more actions than memory holds.
    if plan.labels.min() < 0 or count > 2 * len(present):
        return []
    holes = [label for label in range(count) if label not in present]
    if not holes:
        return []
    occurs = f"Action {holes[0]} never occurs" if len(holes) == 1 else f"Actions {listed(holes)} never occur"
    return [f"{occurs}: nothing can be said of what it does."]


def _data(audit: Audit) -> list[str]:
    warnings = []
    if audit.dropped:
        warnings.append(f"{plural(audit.dropped, 'row')} left out: NaN or infinity.")
    if audit.repeated > 0.001 * audit.rows:
        warnings.append(
            f"{percent(audit.repeated / audit.rows)} of the transitions repeat another bit by bit. In a world with "
            "finitely many observations that is to be expected; otherwise rows were duplicated, n is smaller than it "
            "seems and intervals are too narrow."
        )
    return warnings


def _noiseless(audit: Audit) -> list[str]:
    if not any("noiseless" in operator.flags for operator in audit.operators):
        return []
    leak = (
        " Or predictions were given that know their target: see whether z_pred is z_next." if audit.predictions else ""
    )
    return [
        "Most singular values are nearly 1: the dynamics look noiseless (degenerate). Then T grows with the number of "
        "features without end, there is no gap, and only T(ε) at a stated resolution ε means something." + leak
    ]


def _leak(audit: Audit) -> list[str]:
    deficit = None if audit.dictionary is None else audit.dictionary.subspace_deficit
    if not audit.predictions or deficit is None or deficit.high is None or deficit.high >= 0:
        return []
    return [
        f"Predictions see more of the next embedding than the dictionary of z and actions (by {shown(deficit, -1)}): "
        "the dictionary is too small to judge them, or they know something of their target that z does not."
    ]


def _dictionary(audit: Audit, settings: AuditSettings) -> list[str]:
    if audit.dictionary is not None:
        return [f"The dictionary advises no width. {audit.no_sizing}"] if audit.no_sizing else []
    if settings.dictionary == 0:
        why = "it was switched off"
    elif any("degenerate" in operator.flags for operator in audit.operators):
        why = "the embeddings do not vary"
    elif all("no_interval" in operator.flags for operator in audit.operators):
        why = "without several groups of trajectories its bias cannot be removed"
    elif settings.dictionary is not None:
        why = f"too few rows for {settings.dictionary} features"
    else:
        why = "too few rows for one twice as wide as the embeddings"
    return [
        f"No reference dictionary: {why}. Without it nothing is known of the tail, and no width can be advised: an "
        "embedding sees no singular value beyond its own width."
    ]


def _joint(audit: Audit) -> list[str]:
    if audit.no_joint:
        return [f"No joint operator (x, a) → x⁺: {audit.no_joint}."]
    if audit.joint is None or "n_too_small" not in audit.joint.flags:
        return []
    needed = SAMPLES_PER_DIMENSION * max(audit.joint.p, audit.joint.q)
    return [
        f"Too few transitions for the {audit.joint.name}: {whole(audit.joint.n)} where {whole(needed)} are needed "
        f"({SAMPLES_PER_DIMENSION} for each of its features)."
    ]


def _ranks(audit: Audit) -> list[str]:
    if not audit.ranks_above_width:
        return []
    return [
        f"{listed(sorted(audit.ranks_above_width))} came out above the width of {audit.widths[1]}, which no rank can "
        "be: the correction for bias overshoots where an embedding uses all its directions. Read it as full."
    ]


def _cells(plan: Plan, seen: np.ndarray, settings: AuditSettings) -> list[str]:
    if settings.cells is None or plan.bins is None or (occupied := int((seen > 0).sum())) >= settings.cells:
        return []
    return [
        f"Only {plural(occupied, 'cell')} of actions with transitions where --cells asked for {settings.cells}: there "
        "are too few different actions."
    ]


def _without_effect(audit: Audit, rows: EmbeddingRows, plan: Plan, settings: AuditSettings) -> list[str]:
    """Return warnings about settings that had no effect."""
    default, no_width = AuditSettings(), "the dictionary advises no width"
    kind = "the file has none" if rows.action_kind == "none" else "these are discrete"
    checks = {
        f"--cells {settings.cells}": (
            settings.cells is not None and plan.bins is None,
            f"only continuous actions are put into cells, and {kind}",
        ),
        f"--components {settings.components}": (
            settings.components is not None
            and settings.components >= max(rows.predicted_width or rows.width, rows.next_width),
            "the embeddings are no wider",
        ),
        f"--tokens {settings.tokens}": (
            settings.tokens != default.tokens and rows.token_count is None,
            "there is no axis of tokens",
        ),
        "--resolution": (
            settings.resolution not in ((), default.resolution) and not audit.resolution,
            "there is no reference dictionary",
        ),
        f"--train-n {settings.train_n or 0:g}": (settings.train_n is not None and audit.sizing is None, no_width),
        f"--fit {settings.fit}": (settings.fit is not None and audit.sizing is None, no_width),
    }
    return [f"{option} has no effect: {why}." for option, (idle, why) in checks.items() if idle]


def shown(quantity: AuditQuantity, sign: int = 1) -> str:
    """Return value ± error [interval], or a dash; ``sign`` −1 flips the sign."""
    if quantity.value is None:
        return "–"
    if quantity.low is None or quantity.high is None:
        return f"{number(sign * quantity.value)} (no interval)"
    low, high = sorted((sign * quantity.low, sign * quantity.high))
    if high - low < ZERO:
        # Known exactly, such as the constant's: no interval is not one of width 0.
        return number(sign * quantity.value)
    return with_interval(sign * quantity.value, quantity.standard_error, low, high)


def sufficiency(audit: Audit) -> str:
    """Return one sentence on what the width leaves out; empty if the dictionary cannot tell."""
    if (
        audit.dictionary is None
        or audit.dictionary.subspace_deficit.value is None
        or audit.total.value is None
        or any("noiseless" in operator.flags for operator in audit.operators)
    ):
        return ""
    k, tail, deficit = min(audit.widths), audit.dictionary.tail_own, audit.dictionary.subspace_deficit
    beyond = f"a tail of at least {shown(tail)}" if (tail.low or 0) > 0 else f"no tail, {shown(tail)}"
    missed = (
        f"miss at least {shown(deficit)}" if (deficit.low or 0) > 0 else f"miss nothing that it finds, {shown(deficit)}"
    )
    apart = ""
    if (tail.low or 0) > 0 and audit.verdict.status != "too narrow":
        apart = " The verdict is on the next latent itself; the dictionary predicts bent functions of it, too."
    sees = f"Beyond {k} functions and the constant the dictionary sees {beyond}"
    return f"{sees}; of as many the embeddings {missed}.{apart}"

"""Record of an audit: frozen and ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.records.verdicts import PredictionShare, WidthVerdict


@dataclass(frozen=True)
class AuditQuantity:
    """A number with its jackknife error and interval; None is missing, never a default."""

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    """Ends of the interval at the audit's confidence level."""

    @classmethod
    def of(cls, statistic: Jackknifed, level: float) -> AuditQuantity:
        """Return a scalar statistic as a quantity; without groups to leave out it has no error."""
        low, high = statistic.interval(level)
        return cls(*(_number(part) for part in (statistic.value, statistic.standard_error, low, high)))

    @classmethod
    def missing(cls) -> AuditQuantity:
        """Return a missing quantity, for numbers that would mean nothing."""
        return cls(None, None, None, None)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


@dataclass(frozen=True)
class GapAudit:
    """The spectral gap s_k − s_{k+1}."""

    k: int
    difference: AuditQuantity
    real: bool
    """Whether the gap is larger than equal singular values would show, and lies above the noise."""
    cluster: int
    """Number of neighbouring values that cannot be told from s_k."""


@dataclass(frozen=True)
class OperatorAudit:
    """Audit of one operator: that of an action, of a cell of actions, or the joint one (x, a) → x⁺."""

    name: str
    rows: int
    n: float
    """Effective number of transitions, (Σw)²/Σw²."""
    p: int
    q: int
    """Numbers of directions that vary, of h (p) and of f (q)."""
    flags: tuple[str, ...]
    """Reasons to distrust the numbers:
    ``n_too_small``, ``degenerate``, ``rank_deficient``, ``spans_constant``, ``noiseless``, ``no_interval``,
    ``s0_not_one``"""
    singular_values: tuple[AuditQuantity, ...]
    """s_i, the constant's first; none where there are too few transitions."""
    corrected: tuple[float | None, ...]
    """s_i corrected by the closed-form bias; None below the edge."""
    edge: float | None
    """Noise edge: largest singular value that independent embeddings would show."""
    detection_limit: float | None
    """Upper bound on every s_i whose value is below the edge."""
    signal_rank: int | None
    total: AuditQuantity
    """Total T = Σ s_i²."""
    total_analytic: float | None
    top: Mapping[int, AuditQuantity]
    """Σ_{i≤k} s_i² by k."""
    gap: GapAudit | None
    lidar_wm: AuditQuantity
    loss: AuditQuantity
    """Spectral loss L, if there are predictions."""
    calibration_deficit: AuditQuantity


@dataclass(frozen=True)
class DictionaryAudit:
    """Mean over operators within a reference dictionary of features of z and z⁺."""

    width: int
    rows: int
    noise: float
    """Resolution ε: every coordinate is blurred by N(0, ε²) in units of its deviation, at both times."""
    total: AuditQuantity
    top: Mapping[int, AuditQuantity]
    tail: Mapping[int, AuditQuantity]
    """``tail_dict``: T − Σ_{i≤k} s_i² within the dictionary, the constant one of the k: a lower bound on tail_k."""
    tail_own: AuditQuantity
    """Tail beyond as many functions as the embeddings have, and the constant."""
    half_total: AuditQuantity
    """T of the first half of the dictionary."""
    subspace_deficit: AuditQuantity
    """Σ of the dictionary's leading squares, as many as the embeddings have, less T of the embeddings."""


@dataclass(frozen=True)
class CellsAudit:
    """Audit of continuous actions by cells."""

    totals: Mapping[int, AuditQuantity]
    """Mean T over cells, by the number of cells."""
    extrapolated: AuditQuantity
    """Richardson extrapolation to cells of width 0."""
    dropped: int
    """Number of the finest cells that have too few transitions."""


@dataclass(frozen=True)
class SizingAudit:
    """Width that the theory would choose."""

    n: float
    """Number of training transitions for which it is chosen."""
    best_low: int
    best_high: int
    """Ends of the range of k*, at the ends of the sample term's range."""
    low: int
    high: int
    """Ends of the range of widths that the error of the tail cannot tell from these."""
    open_ended: bool
    """Whether the widths reach the end of the dictionary, so that they are lower bounds."""
    source: str
    """Source of the sample term."""
    widths: tuple[int, ...]
    tail: tuple[float, ...]
    tail_error: tuple[float | None, ...]
    sample_low: tuple[float, ...]
    sample_high: tuple[float, ...]


@dataclass(frozen=True)
class Audit:
    """Audit of embeddings: what they tell about the dynamics that they can see."""

    source: str
    layout: str
    """One sentence on how the arrays were read and projected."""
    rows: int
    """Number of transitions used."""
    dropped: int
    """Number of transitions left out because they are not finite."""
    repeated: int
    """Number of transitions that repeat another one bit by bit."""
    trajectories: int
    trajectory_source: str
    widths: tuple[int, int]
    """Widths of h and of f."""
    predictions: bool
    """Whether h is the prediction ẑ_{t+1}; else h = z_t."""
    level: float
    summary_name: str
    """Subject of ``total``, ``top`` and so on: the joint operator, or the mean over actions or cells."""
    total: AuditQuantity
    top: Mapping[int, AuditQuantity]
    loss: AuditQuantity
    calibration_deficit: AuditQuantity
    operators: tuple[OperatorAudit, ...]
    joint: OperatorAudit | None
    """(x, a) → x⁺ with pooled negatives, beside the actions or cells; its name says of which features of x and a. None
    where it is the audited operator itself, or where there is none."""
    no_joint: str
    """Why there is none; empty where nothing is missing."""
    ranks: Mapping[str, AuditQuantity]
    """Effective ranks of f, under the names of their conventions."""
    ranks_above_width: tuple[str, ...]
    """Ranks that the bias correction has moved above the width: full within their error."""
    dictionary: DictionaryAudit | None
    resolution: tuple[DictionaryAudit, ...]
    """T and tail at stated resolutions ε."""
    cells: CellsAudit | None
    sizing: SizingAudit | None
    no_sizing: str
    """Why no width is advised; empty where one is."""
    verdict: WidthVerdict
    """Whether the width fits, with its reason."""
    predicted: PredictionShare | None
    """Share of the joint operator that predictions see, beside the best that do not know the action."""
    warnings: tuple[str, ...]
    """Warnings as plain sentences, the worst first."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and lists, ready for JSON."""
        return _plain(asdict(self))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value

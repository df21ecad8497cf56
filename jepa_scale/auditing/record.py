"""What an audit finds: one frozen record, ready for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jepa_scale.estimators.jackknife import Jackknifed


@dataclass(frozen=True)
class AuditQuantity:
    """A number with its jackknife error and interval; None is missing, never a default."""

    value: float | None
    standard_error: float | None
    low: float | None
    high: float | None
    """Ends of the interval at the audit's level."""

    @classmethod
    def of(cls, statistic: Jackknifed, level: float) -> AuditQuantity:
        """Take a scalar statistic; without groups to leave out it has no error."""
        low, high = statistic.interval(level)
        return cls(*(_number(part) for part in (statistic.value, statistic.standard_error, low, high)))

    @classmethod
    def missing(cls) -> AuditQuantity:
        """A number that would mean nothing."""
        return cls(None, None, None, None)


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(float(value)) else None


@dataclass(frozen=True)
class GapAudit:
    """s_k − s_{k+1}"""

    k: int
    difference: AuditQuantity
    real: bool
    """More than equal values would show, and not to noise."""
    cluster: int
    """Neighbouring values not told from s_k."""


@dataclass(frozen=True)
class OperatorAudit:
    """One operator: an action's, a cell's of actions, or the joint one (x, a) → x⁺."""

    name: str
    rows: int
    n: float
    """Effective transitions, (Σw)²/Σw²."""
    p: int
    q: int
    """Directions that vary, of h and of f."""
    flags: tuple[str, ...]
    """``n_too_small``, ``degenerate``, ``rank_deficient``, ``spans_constant``, ``noiseless``, ``no_interval``,
    ``s0_not_one``"""
    singular_values: tuple[AuditQuantity, ...]
    """s_i, the constant's first; none where there are too few transitions."""
    corrected: tuple[float | None, ...]
    """s_i with the closed-form bias taken off; None below the edge."""
    edge: float | None
    """What independent embeddings would show."""
    detection_limit: float | None
    """Bound on every s_i whose value is below the edge."""
    signal_rank: int | None
    total: AuditQuantity
    """T = Σ s_i²"""
    total_analytic: float | None
    top: Mapping[int, AuditQuantity]
    """Σ_{i≤k} s_i² by k."""
    gap: GapAudit | None
    lidar_wm: AuditQuantity
    loss: AuditQuantity
    """L of the spectral loss, where there are predictions."""
    calibration_deficit: AuditQuantity


@dataclass(frozen=True)
class DictionaryAudit:
    """The mean over operators within a reference dictionary of features of z and z⁺."""

    width: int
    rows: int
    noise: float
    """ε: every coordinate blurred by N(0, ε²) in units of its deviation, at both times."""
    total: AuditQuantity
    top: Mapping[int, AuditQuantity]
    tail: Mapping[int, AuditQuantity]
    """``tail_dict``: T − Σ_{i≤k} s_i² within the dictionary, the constant one of the k: a lower bound on tail_k."""
    tail_own: AuditQuantity
    """The tail beyond as many functions as the embeddings have, the constant besides."""
    half_total: AuditQuantity
    """T of the first half of the dictionary."""
    subspace_deficit: AuditQuantity
    """Σ of the dictionary's leading squares, as many as the embeddings have, less T of the embeddings."""


@dataclass(frozen=True)
class CellsAudit:
    """Continuous actions, cell by cell."""

    totals: Mapping[int, AuditQuantity]
    """Mean T over cells, by their number."""
    extrapolated: AuditQuantity
    """Richardson's value: cells of no width."""
    dropped: int
    """Of the finest cells, those with too few transitions."""


@dataclass(frozen=True)
class SizingAudit:
    """The width that the theory would choose."""

    n: float
    """Training transitions that it is chosen for."""
    best_low: int
    best_high: int
    """k* at the ends of the sample term's range."""
    low: int
    high: int
    """Widths that the tail's error does not tell from these."""
    open_ended: bool
    """Whether they reach the end of the dictionary, so that they are lower bounds."""
    source: str
    """Where the sample term comes from."""
    widths: tuple[int, ...]
    tail: tuple[float, ...]
    tail_error: tuple[float | None, ...]
    sample_low: tuple[float, ...]
    sample_high: tuple[float, ...]


@dataclass(frozen=True)
class Audit:
    """What embeddings say of the dynamics that they can see."""

    source: str
    layout: str
    """How the arrays were read, and projected, in a sentence."""
    rows: int
    """Transitions used."""
    dropped: int
    """Transitions left out as not finite."""
    repeated: int
    """Transitions that repeat another bit by bit."""
    trajectories: int
    trajectory_source: str
    widths: tuple[int, int]
    """Of h and of f."""
    predictions: bool
    """Whether h are predictions ẑ_{t+1}; else h = z_t."""
    level: float
    summary_name: str
    """What ``total``, ``top`` and so on are of: the joint operator, or the mean over actions or cells."""
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
    """Those that the correction for bias has carried above the width: full, within their error."""
    dictionary: DictionaryAudit | None
    resolution: tuple[DictionaryAudit, ...]
    """T and tail at stated resolutions ε."""
    cells: CellsAudit | None
    sizing: SizingAudit | None
    no_sizing: str
    """Why no width is advised; empty where one is."""
    warnings: tuple[str, ...]
    """Plain sentences, the worst first."""

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

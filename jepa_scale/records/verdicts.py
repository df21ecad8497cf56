"""The verdict of an audit: whether a latent's width fits what is predictable, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jepa_scale.records.findings import Finding

WidthStatus = Literal["over-provisioned", "in range", "too narrow", "cannot tell"]


@dataclass(frozen=True)
class Interval:
    """A number between the ends of its interval at the audit's level; None where there is no interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class EnergyCurve:
    """Share of the predictable energy that the best k directions hold, by k."""

    widths: tuple[int, ...]
    share: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Ends of the interval."""


@dataclass(frozen=True)
class WidthVerdict:
    """Whether the width d of a latent fits what it can predict of itself.

    Let E be the predictable energy of z_{t+1}: Σ_i ρ_i² of the canonical correlations of linear functions of z_{t+1}
    and functions of (z_t, a_t), z_t times functions of a_t, and E_k its first k terms. The *width needed*, w, is the
    least k with E_k ≥ 0.95 E. Let E⁺ be the energy where bent functions of (z_t, a_t) and the latent and action before
    are given as well.

    * too narrow: E < 0.95 E⁺. Linear functions of the latent are no state: the past, or bends, predict what they miss.
    * over-provisioned: d > 2 w. Fewer than half of the width hold 95 % of what is predictable.
    * in range: neither.
    * cannot tell: an interval crosses one of these thresholds, something is missing to test it, or nothing is
      predictable (E = 0), which says of no width that it is too large: the embeddings or their pairs are at fault.

    Of a latent that is too wide for the rows, its leading principal directions are looked at, whose number stands for d
    unless they hold 99 % of the variance. Then it can be over-provisioned or too narrow, but not in range, as the other
    directions may add.

    It is about the latent as it is: what never influences it nobody can find in it, and how much data a *model* needs
    to learn so many directions is another question (``Audit.sizing``). Nothing changes under invertible linear maps.
    """

    status: WidthStatus
    width: int
    """d"""
    low: int | None
    """Ends of the interval of w; None where nothing can be said."""
    high: int | None
    """None if it may be larger than what was seen."""
    reason: Finding
    """What decides, or what is missing."""
    remedy: Finding
    """What to do next: what would decide, or follow from the verdict."""
    command: str
    """The command of it; words in capitals stand for files and names. Empty where no command would help."""
    energy: Interval
    """E"""
    held: Interval
    """E/E⁺, the share of what can be predicted that linear functions of the latent and the action predict."""
    curve: EnergyCurve | None
    directions: int
    """Directions of the latent that were looked at: the leading principal ones, as many as the rows allow."""
    variance: float
    """Their share of the variance."""
    told: int
    """Directions that are told from noise."""
    rows: int
    notes: tuple[Finding, ...]
    """What else was found: leaks, shifted actions, predictions that do not use the action."""


@dataclass(frozen=True)
class PredictionShare:
    """What predictions ẑ see of the joint operator, in numbers that no convention or invertible map changes."""

    explained: Interval
    """E(ẑ → z⁺)/E((z, a) → z⁺)"""
    blind: Interval
    """The same of the best predictions that do not know the action, E(z → z⁺)/E((z, a) → z⁺)."""
    gained: Interval
    """The difference: not above 0, and predictions use nothing of the action."""

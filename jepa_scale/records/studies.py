"""Results of a study, from which its report is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from jepa_scale.records.advice import Advice, Verdict
from jepa_scale.records.dials import Dial, label_of_key
from jepa_scale.records.laws import Comparison, Forecast, LawFit
from jepa_scale.records.quantities import Target
from jepa_scale.records.runs import ArmValues, RunRecord, RunTable

SAMPLED = "sampled tasks"
"""Goal law of a study whose regret is measured on sampled tasks, not computed exactly."""


@dataclass(frozen=True)
class Budget:
    """Training budget of the runs of a study."""

    rule: Literal["fixed_steps", "fixed_epochs", "tuned"]
    sentence: str
    """The rule of the budget in words."""
    steps: Mapping[int, int]
    """Number of optimiser steps by n."""


@dataclass(frozen=True)
class TuningRun:
    """One run of a study's learning rate check; it enters no cell that laws are fitted to."""

    k: int
    rate: float
    seed: int
    regret: float
    """Exact expected regret of the study's score; NaN if the run diverged."""
    risk: float
    """Exact R, mean over actions; NaN if the run diverged."""


@dataclass(frozen=True)
class TuningCheck:
    """Learning rate check: runs of every width at several rates, on seeds that the study does not use."""

    key: str
    """Setting that was varied, for example ``optimizer.lr``."""
    shared: float
    """Value of that setting in all runs of the study."""
    n: int
    """Number of training transitions of the check's runs."""
    runs: tuple[TuningRun, ...]
    unfinished: tuple[str, ...]
    """One sentence per run that has no record."""

    @property
    def label(self) -> str:
        """That setting in words."""
        return label_of_key(self.key)


@dataclass(frozen=True)
class Arm:
    """One arm of a study that compares settings."""

    label: str
    """Settings of the arm as on the command line."""
    folder: str
    """Folder of its files, inside ``arms/``."""
    values: ArmValues
    result: StudyResult
    """Result of this arm's runs alone, with its own laws and advice."""


@dataclass(frozen=True)
class ExactLearner:
    """Regret of the exact minimiser of the empirical risk in a study's world, on data sets of its own."""

    sizes: tuple[int, ...]
    widths: tuple[int, ...]
    regret: NDArray[np.float64]
    """(sizes, widths) mean over data sets of n independent transitions."""
    standard_error: NDArray[np.float64]
    """(sizes, widths)"""
    datasets: int

    def rising(self) -> tuple[int, ...]:
        """Return the n at which the largest width is worse than the best by more than two standard errors."""
        best = self.regret.argmin(1)
        rows = np.arange(len(self.sizes))
        excess = self.regret[:, -1] - self.regret[rows, best]
        error = np.hypot(self.standard_error[:, -1], self.standard_error[rows, best])
        return tuple(n for n, more in zip(self.sizes, (excess > 2 * error) & (excess > 0), strict=True) if more)


@dataclass(frozen=True)
class StudyResult:
    """Everything from which the report of a study is written."""

    name: str
    question: str
    table: RunTable
    records: Mapping[str, RunRecord]
    """Records by run id: the exact and learned spectra, the bounds with their hypotheses, the versions."""
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    """By run id: every epoch's estimates as ``metrics.jsonl`` holds them (the fields of ``Estimate``)."""
    fits: tuple[LawFit, ...]
    """Every law on every target, fitted without the held-out cells."""
    forecasts: tuple[Forecast, ...]
    held_out_n: int | None
    """Size whose cells were held out; None if there is none."""
    score: str
    """Score of the planner behind the column ``regret``."""
    goal_law: str
    """Law from which goals are drawn; ``sampled tasks`` if a simulator is controlled."""
    horizon: int
    target_regret: float
    """Regret that the study calls sufficient."""
    unfinished: tuple[str, ...]
    """One sentence per run that has no record: not run yet, or failed with an error."""
    settings: Mapping[str, Any]
    """Configuration that all runs share, without the dials."""
    unusable: tuple[str, ...] = ()
    """One sentence per record that is damaged or another run's; they are among the unfinished."""
    mixed: tuple[str, ...] = ()
    """One phrase for each version of the code with its number of runs, if versions differ."""
    comparisons: tuple[Comparison, ...] = ()
    """Comparison of laws, one for each target."""
    advice: Advice | None = None
    """Advice on the largest n for the target regret, from all runs; None if there is none."""
    no_advice: str = ""
    """Why there is no advice."""
    judged: tuple[tuple[Verdict, float], ...] = ()
    """Verdicts from the smaller half of the sizes on each larger cell, with the mean regret observed there."""
    budget: Budget | None = None
    """Training budget; None if it was not recorded."""
    tuning: TuningCheck | None = None
    """Learning rate check; None if the study file asks for none."""

    dials: tuple[Dial, ...] = ()
    """Dials other than n and k; ``table`` holds the runs at their reference, ``whole`` all runs."""
    whole: RunTable | None = None
    """Table of all runs; None if the study has no such dials."""
    target: Target = field(default_factory=Target)
    """Quantity that the study's laws and forecasts describe."""

    learner: ExactLearner | None = None
    """The exact learner that the theory speaks of; None where the study's networks have no such one beside them."""

    source: str = ""
    """Digest of the files that it was collected from; empty if unknown."""

    arms: tuple[Arm, ...] = ()
    """Where the study compares settings. Its table, records and failures are then those of all arms; fits, forecasts,
    comparisons and advice are each arm's own."""

    @property
    def runs(self) -> RunTable:
        """Every run of the study."""
        return self.table if self.whole is None else self.whole

    @property
    def sampled(self) -> bool:
        """Whether the regret is that of sampled tasks, not an exact expectation."""
        return self.goal_law == SAMPLED

    def held_out(self, n: int) -> bool:
        """Whether cells of this n took no part in the fits: those of the held-out size, and single runs beyond it."""
        return self.held_out_n is not None and n >= self.held_out_n

"""What a study's report is written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jepa_scale.records.advice import Advice, Verdict
from jepa_scale.records.dials import Dial
from jepa_scale.records.laws import Comparison, Forecast, LawFit
from jepa_scale.records.quantities import Target
from jepa_scale.records.runs import ArmValues, RunRecord, RunTable

SAMPLED = "sampled tasks"
"""Goal law of a study whose regret is measured, not computed."""


@dataclass(frozen=True)
class Budget:
    """How long the runs of a study trained."""

    rule: Literal["fixed_steps", "fixed_epochs", "tuned"]
    sentence: str
    """The rule in words."""
    steps: Mapping[int, int]
    """Optimiser steps by n."""


@dataclass(frozen=True)
class TuningRun:
    """One run of the check of a study's learning rate; it enters no cell of the laws."""

    k: int
    rate: float
    seed: int
    regret: float
    """Exact expected regret of the study's score; NaN where the run diverged."""
    risk: float
    """Exact R, mean over actions; NaN where the run diverged."""


@dataclass(frozen=True)
class TuningCheck:
    """Runs of every width at several rates, on seeds that the study does not use."""

    key: str
    """Which setting was varied, for example ``optimizer.lr``."""
    shared: float
    """Its value in all runs of the study."""
    n: int
    """Training transitions of the check's runs."""
    runs: tuple[TuningRun, ...]
    unfinished: tuple[str, ...]
    """One sentence per run that has no record."""


@dataclass(frozen=True)
class Arm:
    """One arm of a study that compares settings."""

    label: str
    """As on the command line."""
    folder: str
    """Where its files are, inside ``arms/``."""
    values: ArmValues
    result: StudyResult
    """Of its runs alone, with its own laws and advice."""


@dataclass(frozen=True)
class StudyResult:
    """All that a report is written from."""

    name: str
    question: str
    table: RunTable
    records: Mapping[str, RunRecord]
    """By run id: the exact and learned spectra, the bounds with their hypotheses, the versions."""
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    """By run id: every epoch's estimates as ``metrics.jsonl`` holds them (the fields of ``Estimate``)."""
    fits: tuple[LawFit, ...]
    """Every law on every target, fitted without the held-out cells."""
    forecasts: tuple[Forecast, ...]
    held_out_n: int | None
    """None where nothing was held out."""
    score: str
    """The study's score: what the column ``regret`` was planned with."""
    goal_law: str
    """How goals are drawn; ``sampled tasks`` where a simulator is controlled."""
    horizon: int
    target_regret: float
    """The regret that the study calls sufficient."""
    unfinished: tuple[str, ...]
    """One sentence per run that has no record: not run yet, or failed with an error."""
    settings: Mapping[str, Any]
    """The configuration that all runs share, dials left out."""
    unusable: tuple[str, ...] = ()
    """One sentence per record that is damaged or another run's; they are among the unfinished."""
    mixed: tuple[str, ...] = ()
    """Where runs were computed by different code: one phrase for each, with how many runs."""
    comparisons: tuple[Comparison, ...] = ()
    """One for each target."""
    advice: Advice | None = None
    """On the largest n, for the target regret, from all runs; None where nothing can be said."""
    no_advice: str = ""
    """Why not."""
    judged: tuple[tuple[Verdict, float], ...] = ()
    """Advice from the smaller half of the sizes on each larger cell, with the mean regret that came."""
    budget: Budget | None = None
    """None where it was not recorded."""
    tuning: TuningCheck | None = None
    """None where the study file asks for no check of the learning rate."""

    dials: tuple[Dial, ...] = ()
    """Dials beside n and k; ``table`` holds the runs at their reference, ``whole`` all of them."""
    whole: RunTable | None = None
    """None where the study has no such dials."""
    target: Target = field(default_factory=Target)
    """What the study's laws and forecasts are about."""

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

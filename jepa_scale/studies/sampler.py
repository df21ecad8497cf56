"""The design of `laws.adaptive` as an Optuna sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from jepa_scale.laws.adaptive import DesignSettings, Proposal, Runs, propose

SECONDS = "seconds"
"""User attribute of a finished trial: the seconds that its run took."""

CELL = "cell"
"""User attribute of a trial: the n and k that were chosen for it."""


@dataclass(frozen=True)
class RunBudget:
    """Limits at which a design ends, besides its tolerance."""

    runs: int | None = None
    hours: float | None = None
    """Limit of hours: those of finished runs plus the predicted ones of running runs."""


class ScalingDesignSampler(BaseSampler):
    """Choose n and k of each trial so that the forecast at a target becomes as sure as its cost allows.

    Finished trials give their value, and their ``seconds`` the cost of others; running ones count as information that
    is on its way, failed and pruned ones as cells that were tried. ``seed`` is the number of earlier trials of the
    same cell, so that a repeat is another run. The sampler holds no state: any number of workers on one storage may
    use it, and two that ask in the same moment at worst choose one cell twice, as two seeds.

    The objective must suggest both sizes, by the ``names`` that it has for n and k, from distributions of any kind that
    hold every cell; ``seed``, an integer, is optional. It is minimised.
    """

    def __init__(
        self,
        settings: DesignSettings,
        budget: RunBudget | None = None,
        seed: int = 0,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.settings, self.budget = settings, budget or RunBudget()
        self.names = {"n": "n", "k": "k", "seed": "seed", **(names or {})}
        self._generator = np.random.default_rng(seed)

    def proposal(self, trials: Sequence[FrozenTrial]) -> Proposal | None:
        """Return the next cell; None if the budget is spent, the forecast is sure enough or no cell is left."""
        used = self._used(trials)
        if self.budget.runs is not None and len(used) >= self.budget.runs:
            return None
        k, n = self.settings.cells
        sizes = [self._sizes(used, name) for name in ("k", "n")]
        seconds = np.array([_seconds(trial) for trial in used], dtype=float)
        hours = cost_hours(seconds, sizes, [k, n])
        if self.budget.hours is not None and hours is not None:
            costs = cost_hours(seconds, sizes, sizes)
            assert costs is not None  # the same trials gave ``hours``
            spent = float(np.where(np.isfinite(seconds), seconds / 3600, costs).sum())
            hours = np.where(hours <= self.budget.hours - spent, hours, np.inf)
        runs = Runs(sizes[0], sizes[1], np.array([_value(trial) for trial in used], dtype=float))
        return propose(self.settings, runs, np.ones(len(k)) if hours is None else hours)

    def _used(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if {self.names["n"], self.names["k"]} <= trial.params.keys()]

    def _sizes(self, trials: Sequence[FrozenTrial], name: str) -> np.ndarray:
        return np.array([trial.params[self.names[name]] for trial in trials], dtype=float)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Choose the cell of a trial; where the design is done, stop the study and repeat the last start cell.

        Raises
        ------
        ValueError
            If the study has several objectives, or is maximised.
        """
        if study.directions != [StudyDirection.MINIMIZE]:
            shown = ", ".join(direction.name.lower() for direction in study.directions)
            raise ValueError(
                f"expected a study of one objective that is minimised, such as a regret or 1 − success, got {shown}"
            )
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        chosen = self.proposal(others)
        told: dict[str, Any] = {}
        if chosen is None:
            if _optimizing(study):
                study.stop()
            k, n = self.settings.start()[-1]
        else:
            n, k = chosen.n, chosen.k
            told["design"] = chosen.reason
            if np.isfinite(chosen.forecast_sd):
                told["forecast_sd"] = chosen.forecast_sd
        for name, value in {**told, CELL: [n, k]}.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Stop the study where its budget of runs is spent, before a run more.

        Raises
        ------
        ValueError
            If the objective did not suggest both sizes: its trials would be chosen by chance.
        """
        del values
        missing = [name for name in ("n", "k") if self.names[name] not in trial.params]
        if missing and state == TrialState.COMPLETE:
            raise ValueError(
                f"expected the objective to suggest {' and '.join(self.names[name] for name in missing)}, got "
                f"{', '.join(trial.params) or 'nothing'}: give names={{{missing[0]!r}: …}} to the sampler"
            )
        if self.budget.runs is not None and _optimizing(study):
            others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
            if len(self._used(others)) + 1 >= self.budget.runs:
                study.stop()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return nothing: the cell of a trial is chosen before it, for distributions of any kind."""
        del study, trial
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as ``infer_relative_search_space``."""
        del study, trial, search_space
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the size that was chosen, or the next seed of the trial's cell; anything else at random.

        Raises
        ------
        ValueError
            If the objective's range of n or k does not hold the cell that was chosen.
        """
        sizes = [self.names[name] for name in ("n", "k")]
        if param_name == self.names["seed"]:
            cell = [trial.params.get(name) for name in sizes]
            others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
            return sum([other.params.get(name) for name in sizes] == cell for other in others)
        if param_name in sizes:
            # As it is stored: the copy that Optuna passes on is older than `before_trial`.
            chosen = study._storage.get_trial(trial._trial_id).user_attrs[CELL][sizes.index(param_name)]
            value = float(chosen) if isinstance(param_distribution, FloatDistribution) else chosen
            if not _holds(param_distribution, value):
                cells = self.settings.sizes if param_name == sizes[0] else self.settings.widths
                raise ValueError(
                    f"expected {param_name} to be suggested from a range that holds {', '.join(map(str, cells))}, got "
                    f"{param_distribution}: widen it, or give the sampler other cells"
                )
            return value
        if isinstance(param_distribution, IntDistribution):
            return int(self._generator.integers(param_distribution.low, param_distribution.high + 1))
        low, high = getattr(param_distribution, "low", 0.0), getattr(param_distribution, "high", 1.0)
        if getattr(param_distribution, "log", False):
            return float(np.exp(self._generator.uniform(np.log(low), np.log(high))))
        choices = getattr(param_distribution, "choices", None)
        return choices[self._generator.integers(len(choices))] if choices else float(self._generator.uniform(low, high))

    def reseed_rng(self) -> None:
        """Take a new stream for parameters that are drawn at random."""
        self._generator = np.random.default_rng()


def cost_hours(seconds: np.ndarray, sizes: Sequence[np.ndarray], at: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return hours of one run at each point by a power law in k and n through the finished trials; None without any.

    ``seconds`` are NaN where they are not known, ``sizes`` and ``at`` are k and n. Slopes are not negative, and 0 where
    fewer than four runs are known.
    """
    known = seconds > 0
    if not known.any():
        return None
    answer = np.log(seconds[known] / 3600)
    logs = [np.log(column[known]) for column in sizes]
    slopes = []
    for column in logs:
        spread = column - column.mean()
        enough = len(column) >= 4 and float(spread @ spread) > 0
        slopes.append(max(float(spread @ answer / (spread @ spread)), 0.0) if enough else 0.0)
    middle = float(np.median(answer - slopes[0] * logs[0] - slopes[1] * logs[1]))
    return np.asarray(np.exp(middle + slopes[0] * np.log(at[0]) + slopes[1] * np.log(at[1])))


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return distribution._contains(distribution.to_internal_repr(value))


def _seconds(trial: FrozenTrial) -> float:
    """Seconds of a trial: as its objective said, else as Optuna measured; NaN while it runs."""
    told = trial.user_attrs.get(SECONDS)
    if told:
        return float(told)
    finished = trial.state == TrialState.COMPLETE and trial.duration is not None
    return trial.duration.total_seconds() if finished and trial.duration is not None else float("nan")


def _value(trial: FrozenTrial) -> float:
    return float(trial.value) if trial.state == TrialState.COMPLETE and trial.value is not None else float("nan")


def _optimizing(study: Study) -> bool:
    # Optuna has no public way to ask whether study.optimize is running; stop() raises where it is not.
    return bool(study._thread_local.in_optimize_loop)

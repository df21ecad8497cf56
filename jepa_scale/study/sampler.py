"""The design of `laws.adaptive` as an Optuna sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jepa_scale.laws.adaptive import DesignSettings, Proposal, Runs, propose

SECONDS = "seconds"
"""User attribute of a finished trial: the seconds that its run took."""

_DIALS: dict[str, BaseDistribution] = {
    "n": IntDistribution(1, 2**40, log=True),
    "k": IntDistribution(1, 2**30, log=True),
}


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

    The objective must suggest ``n`` and ``k`` as integers on wide log distributions and ``seed`` as an integer.
    """

    def __init__(self, settings: DesignSettings, budget: RunBudget | None = None, seed: int = 0) -> None:
        self.settings, self.budget = settings, budget or RunBudget()
        self._generator = np.random.default_rng(seed)

    def proposal(self, trials: Sequence[FrozenTrial]) -> Proposal | None:
        """Return the next cell; None if the budget is spent, the forecast is sure enough or no cell is left."""
        used = [trial for trial in trials if {"n", "k"} <= trial.params.keys()]
        if self.budget.runs is not None and len(used) >= self.budget.runs:
            return None
        k, n = self.settings.cells
        hours = cost_hours(used, k, n)
        if self.budget.hours is not None and hours is not None:
            costs = cost_hours(used, *(np.array([trial.params[name] for trial in used], float) for name in ("k", "n")))
            assert costs is not None  # the same trials gave ``hours``
            seconds = np.array([trial.user_attrs.get(SECONDS, np.nan) for trial in used], dtype=float)
            spent = float(np.where(np.isfinite(seconds), seconds / 3600, costs).sum())
            hours = np.where(hours <= self.budget.hours - spent, hours, np.inf)
        runs = Runs(
            np.array([trial.params["k"] for trial in used], dtype=float),
            np.array([trial.params["n"] for trial in used], dtype=float),
            np.array([_value(trial) for trial in used], dtype=float),
        )
        return propose(self.settings, runs, np.ones(len(k)) if hours is None else hours)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return the distributions of n and k, which are chosen together."""
        del study, trial  # the dials are the same for every study
        return dict(_DIALS)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return the next cell; where the design is done, stop the study and repeat the last start cell."""
        del search_space  # always both dials
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        chosen = self.proposal(others)
        if chosen is None:
            if _optimizing(study):
                study.stop()
            k, n = self.settings.start()[-1]
            return {"n": n, "k": k}
        study._storage.set_trial_user_attr(trial._trial_id, "design", chosen.reason)
        if np.isfinite(chosen.forecast_sd):
            study._storage.set_trial_user_attr(trial._trial_id, "forecast_sd", chosen.forecast_sd)
        return {"n": chosen.n, "k": chosen.k}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Return the next seed of the trial's cell; anything else at random."""
        if param_name == "seed":
            cell = trial.params.get("n"), trial.params.get("k")
            others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
            return sum((other.params.get("n"), other.params.get("k")) == cell for other in others)
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


def cost_hours(trials: Sequence[FrozenTrial], k: np.ndarray, n: np.ndarray) -> np.ndarray | None:
    """Return hours of one run at each point by a power law in n and k through the finished trials; None without any.

    Slopes are not negative, and 0 where fewer than four runs are known.
    """
    known = [trial for trial in trials if trial.user_attrs.get(SECONDS)]
    if not known:
        return None
    answer = np.log([trial.user_attrs[SECONDS] / 3600 for trial in known])
    logs = [np.log([float(trial.params[name]) for trial in known]) for name in ("k", "n")]
    slopes = []
    for column in logs:
        spread = column - column.mean()
        enough = len(known) >= 4 and float(spread @ spread) > 0
        slopes.append(max(float(spread @ answer / (spread @ spread)), 0.0) if enough else 0.0)
    middle = float(np.median(answer - slopes[0] * logs[0] - slopes[1] * logs[1]))
    return np.asarray(np.exp(middle + slopes[0] * np.log(k) + slopes[1] * np.log(n)))


def _value(trial: FrozenTrial) -> float:
    return float(trial.value) if trial.state == TrialState.COMPLETE and trial.value is not None else float("nan")


def _optimizing(study: Study) -> bool:
    # Optuna has no public way to ask whether study.optimize is running; stop() raises where it is not.
    return bool(study._thread_local.in_optimize_loop)

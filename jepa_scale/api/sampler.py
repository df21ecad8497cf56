"""The adaptive design as a sampler for any Optuna study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jepa_scale.laws.adaptive import DesignSettings
from jepa_scale.studies.sampler import RunBudget
from jepa_scale.studies.sampler import ScalingDesignSampler as _Design


class ScalingDesignSampler(_Design):
    """Choose dataset size and width of each trial so that the forecast at a target becomes sure for the least cost.

    The forecasters of `jepa-scale advise` are fitted to the finished trials, and the next cell is the one that narrows
    the forecast most for its seconds (``trial.duration``, or the user attribute ``seconds``). The objective is
    minimised: a regret or a loss.

    Parameters
    ----------
    n, k
        Sizes and widths to choose from.
    target
        (n, k) of the run that is to be forecast.
    names
        What the objective calls them, such as ``{"n": "data.num_samples", "k": "model.dim"}``; also ``"seed"``.
    n_runs
        Number of runs after which ``study.optimize`` stops.
    hours
        Number of hours after which it stops.
    tolerance
        Stop when the forecast's standard deviation over its mean is below this; 0: never.
    ceiling
        Value of doing nothing, such as the regret of random plans; by default the largest value so far.
    repeats
        Largest number of runs of one cell.
    seed
        Of parameters that are no sizes, which are drawn at random.

    Raises
    ------
    ValueError
        If there are too few cells. When the study runs: if it is maximised or has several objectives, if the objective
        does not suggest both names, or its ranges do not hold the cells.

    Examples
    --------
    >>> import optuna
    >>> from jepa_scale import ScalingDesignSampler
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> def objective(trial):
    ...     n = trial.suggest_int("samples", 100, 100_000, log=True)
    ...     k = trial.suggest_int("dim", 2, 64, log=True)
    ...     return 0.05 + 1 / k + 5 / n**0.5
    >>> sampler = ScalingDesignSampler(
    ...     n=[300, 1000, 3000, 10000], k=[2, 4, 8, 16], target=(100_000, 16), n_runs=10,
    ...     names={"n": "samples", "k": "dim"},
    ... )
    >>> study = optuna.create_study(sampler=sampler)
    >>> study.optimize(objective, n_trials=50)
    >>> len(study.trials)
    10
    """

    def __init__(
        self,
        n: Sequence[int],
        k: Sequence[int],
        target: tuple[float, float],
        *,
        names: Mapping[str, str] | None = None,
        n_runs: int | None = None,
        hours: float | None = None,
        tolerance: float = 0.0,
        ceiling: float = np.inf,
        repeats: int = 3,
        seed: int = 0,
    ) -> None:
        unknown = sorted(set(names or {}) - {"n", "k", "seed"})
        if unknown:
            raise ValueError(f"expected names of n, k and seed, got {', '.join(unknown)}")
        sizes, widths = (tuple(sorted({int(value) for value in values})) for values in (n, k))
        if len(sizes) < 2 or len(widths) < 2 or min(*sizes, *widths) < 1:
            raise ValueError(f"expected two or more sizes and widths ≥ 1, got {n=}, {k=}")
        if n_runs is not None and n_runs < 1:
            raise ValueError(f"expected n_runs ≥ 1, got {n_runs}")
        settings = DesignSettings(
            widths, sizes, int(target[1]), int(target[0]), cap=repeats, tolerance=tolerance, ceiling=ceiling
        )
        super().__init__(settings, RunBudget(n_runs, hours), seed, names)

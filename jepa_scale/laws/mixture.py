"""Model average of all laws of a study: draws weighted by back-test errors and widened as back-tests require."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.backtest import Inflation, Track, learn_growth, rolling
from jepa_scale.laws.cells import Cells, cells_from_table
from jepa_scale.laws.corrected import Corrected
from jepa_scale.laws.fit import fit
from jepa_scale.laws.forecast import columns_at
from jepa_scale.laws.law import LawFamily
from jepa_scale.laws.noise import mean_variance
from jepa_scale.laws.rows import Rows
from jepa_scale.records import RunTable
from jepa_scale.shapes import Float64

DRAWS = 1000
"""Number of draws of the average, divided among the laws by weight."""


@dataclass(frozen=True)
class Mixture:
    """The model average of one target of a study."""

    table: RunTable
    cells: Cells
    models: tuple[Corrected, ...]
    weights: Mapping[str, float]
    """Weights by law, see ``mix``."""
    inflation: Mapping[str, tuple[Inflation, Inflation]]
    """Inflation of intervals by law: along n and along k."""
    reasons: tuple[str, ...]
    """Reasons why some laws of the study are left out."""

    @property
    def validated(self) -> tuple[float, float]:
        """Largest decades beyond the fitted n and k at which a forecast of a law with weight was checked."""
        pairs = [self.inflation[law] for law, weight in self.weights.items() if weight > 0]
        return max(pair[0].farthest for pair in pairs), max(pair[1].farthest for pair in pairs)

    def factor(self, law: str, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return λ of one law: the larger of those along n and along k."""
        far = self.decades(k, n)
        along_n, along_k = self.inflation[law]
        return np.maximum(along_n.at(far[0]), along_k.at(far[1]))

    def decades(self, k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances beyond the range of the runs in n and in k, log10."""
        cells = self.cells
        over_n = np.maximum(np.log10(n / cells.n.max()), 0.0)
        over_k = np.maximum(np.maximum(np.log10(k / cells.k.max()), np.log10(cells.k.min() / k)), 0.0)
        # A smaller n than any run is no forecast that a back-test from below has checked.
        return np.maximum(over_n, np.log10(cells.n.min() / n)), over_k

    def draws(
        self, k: np.ndarray, n: np.ndarray, seed: int, runs: float = np.inf
    ) -> Float64[np.ndarray, "draws points"]:
        """Return calibrated draws of R(k, n) with the noise of a mean of ``runs`` runs; NaN if no law has any."""
        columns = columns_at(self.table, np.asarray(k, float), np.asarray(n, float))
        generator = np.random.default_rng([seed, 11])
        parts = []
        for model in self.models:
            count = round(DRAWS * self.weights[model.fit.law])
            if count == 0:
                continue
            every = model.mean_draws(columns) if np.isinf(runs) else model.draws(columns, runs, seed)
            centre = model.predicted(columns)
            chosen = _some(every, count, generator)
            factor = self.factor(model.fit.law, columns["k"], columns["n"])
            parts.append(np.clip(centre + factor * (chosen - centre), 0.0, self.ceiling))
        return np.concatenate(parts)

    def curves(self, k: np.ndarray, n: np.ndarray, seed: int) -> Float64[np.ndarray, "draws points"]:
        """Return raw draws of the laws, neither widened nor clipped, to find the minimum of each curve."""
        columns = columns_at(self.table, np.asarray(k, float), np.asarray(n, float))
        generator = np.random.default_rng([seed, 13])
        counts = {model.fit.law: round(DRAWS * self.weights[model.fit.law]) for model in self.models}
        return np.concatenate(
            [
                _some(model.mean_draws(columns), counts[model.fit.law], generator)
                for model in self.models
                if counts[model.fit.law]
            ]
        )

    @property
    def ceiling(self) -> float:
        """Return the largest possible value of the target."""
        return 1.0 if self.cells.target == "regret" else np.inf

    def predicted(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the weighted mean of the laws' predictions; NaN where a law with weight has none."""
        return np.clip(self.unclipped(k, n), 0.0, self.ceiling)

    def unclipped(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the weighted mean before clipping to the target's range: of several widths at 0, one is still best."""
        columns = columns_at(self.table, np.asarray(k, float), np.asarray(n, float))
        return np.asarray(sum(self.weights[model.fit.law] * model.predicted(columns) for model in self.models))

    def noise(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the standard deviation of one run at (k, n)."""
        offset, slope = self.models[0].fit.noise
        return np.hypot(offset, slope * self.predicted(k, n))


def _some(draws: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    return draws[np.sort(generator.choice(len(draws), count, replace=count > len(draws)))]


def mix(
    families: Sequence[LawFamily],
    table: RunTable,
    target: str,
    *,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
    saturation: float = 0.9,
) -> Mixture:
    """Fit every law to all cells and back-test it along n and along k.

    A back-test fits the cells up to some n (or k) and forecasts the larger ones. Each law's λ(d) is learned from its
    own, for each direction by itself, d the distance in decades. A law weighs by 1/(1 + median squared error of its
    forecasts along n, in units of the noise of a cell's mean): laws that all miss by far more than the noise share by
    their errors, laws that cannot be told apart share equally, and a law that could not be back-tested along n has no
    weight beside one that could.

    Raises
    ------
    ValueError
        If no law can be fitted; the message has each law's reason, with what to run.
    """
    options = {"level": level, "draws": draws, "seed": seed, "saturation": saturation}
    cells = cells_from_table(table, target, np.inf)
    check_target_values(cells)
    models, tracks, reasons = [], {}, []
    for family in families:
        model = Corrected(family.on(target), fit(family, table, target, **options), False, cells)  # type: ignore[arg-type]
        if not model.usable:
            reasons.append(f"{family.name} {model.fit.status.replace('_', ' ')}: {model.fit.reason}")
            continue
        models.append(model)
        tracks[family.name] = [_along(axis, family, table, cells, options) for axis in ("n", "k")]
    if not models:
        raise ValueError("no law can be fitted: " + "; ".join(reasons or ["no law was given"]))
    inflation = {law: (learn_growth(pair[:1], level), learn_growth(pair[1:], level)) for law, pair in tracks.items()}
    return Mixture(table, cells, tuple(models), _weights(models, tracks, cells), inflation, tuple(reasons))


def check_target_values(cells: Cells) -> None:
    """Refuse missing cells and a regret outside [0, 1].

    Raises
    ------
    ValueError
        If there is no cell, or a regret lies outside [0, 1].
    """
    if len(cells) == 0:
        raise ValueError(f"no finished run has a {cells.target}: run the study first")
    values = np.concatenate(cells.values)
    if cells.target == "regret" and ((values < 0).any() or (values > 1).any()):
        raise ValueError(
            f"a regret is a lost probability, expected values in [0, 1], got {values.min():g} to {values.max():g}: "
            "give the probability of success lost against the best plan"
        )


def _along(axis: str, family: LawFamily, table: RunTable, cells: Cells, options: Mapping[str, float | int]) -> Track:
    law = family.on(cells.target)
    scale = getattr(cells, axis)
    columns = {name: cells.columns[name] for name in {"k", "n", "tail", "regret_random", *law.columns}}
    rows = Rows(columns, cells.mean, np.ones(len(cells)), np.arange(len(cells)))

    def fit_to(inside: np.ndarray) -> Corrected:
        part = table.where(table[axis] <= scale[inside].max())
        seen = cells_from_table(part, cells.target, np.inf)
        return Corrected(law, fit(family, part, cells.target, **options), False, seen)  # type: ignore[arg-type]

    # A cell at the level of random plans cannot be missed, and says nothing about a law.
    saturated = cells.mean >= options["saturation"] * cells.ceiling
    return rolling(
        rows,
        scale,
        np.unique(scale)[:-1].tolist(),
        fit_to,
        runs=cells.seeds,
        judge=~saturated if cells.target == "regret" else None,
        level=float(options["level"]),
        seed=int(options["seed"]),
    )


def _weights(models: Sequence[Corrected], tracks: Mapping[str, Sequence[Track]], cells: Cells) -> dict[str, float]:
    noise = models[0].fit.noise
    typical = float(np.median(np.sqrt(mean_variance(cells, cells.mean, noise))))
    error = {}
    for name, (along_n, _) in tracks.items():
        errors = along_n.error[np.isfinite(along_n.error)]
        error[name] = float(np.median(errors**2)) / typical**2 if len(errors) else np.inf
    if not np.isfinite(list(error.values())).any():
        return dict.fromkeys(error, 1 / len(error))
    raw = {name: 1 / (1 + value) for name, value in error.items()}
    total = sum(raw.values())
    return {name: value / total for name, value in raw.items()}

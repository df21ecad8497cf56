"""All laws of a study together: draws weighted by how well each forecast what is known, widened as back-tests ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jepa_scale.laws.backtest import Inflation, Track, learn_growth, rolling
from jepa_scale.laws.cells import Cells, cells_from_table
from jepa_scale.laws.corrected import Corrected
from jepa_scale.laws.fit import fit, rows_of_cells
from jepa_scale.laws.forecast import columns_at
from jepa_scale.laws.law import LawFamily
from jepa_scale.laws.noise import mean_variance
from jepa_scale.records import RunTable
from jepa_scale.shapes import Float64

DRAWS = 1000
"""Draws of the average, shared among the laws by weight."""


@dataclass(frozen=True)
class Mixture:
    """The model average of one target of a study."""

    table: RunTable
    cells: Cells
    models: tuple[Corrected, ...]
    weights: Mapping[str, float]
    """By law: 1/(1 + median squared error of its back-tests in units of the noise), normalised."""
    inflation: tuple[Inflation, Inflation]
    """Along n and along k."""
    reasons: tuple[str, ...]
    """Why laws of the study are not in it."""

    @property
    def validated(self) -> tuple[float, float]:
        """Decades beyond the fitted n and the fitted k at which a forecast was ever checked."""
        return self.inflation[0].farthest, self.inflation[1].farthest

    def factor(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return λ: that of the direction that needs the wider interval."""
        far = self.decades(k, n)
        return np.maximum(self.inflation[0].at(far[0]), self.inflation[1].at(far[1]))

    def decades(self, k: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distances beyond the runs in n and in k, log10."""
        cells = self.cells
        over_n = np.maximum(np.log10(n / cells.n.max()), 0.0)
        over_k = np.maximum(np.maximum(np.log10(k / cells.k.max()), np.log10(cells.k.min() / k)), 0.0)
        # A smaller n than any run is no forecast that a back-test from below has checked.
        return np.maximum(over_n, np.log10(cells.n.min() / n)), over_k

    def draws(
        self, k: np.ndarray, n: np.ndarray, seed: int, runs: float = np.inf
    ) -> Float64[np.ndarray, "draws points"]:
        """Return calibrated draws of R(k, n), with the noise of the mean of ``runs`` runs; NaN where no law can say."""
        columns = columns_at(self.table, np.asarray(k, float), np.asarray(n, float))
        factor = self.factor(columns["k"], columns["n"])
        generator = np.random.default_rng([seed, 11])
        parts = []
        for model in self.models:
            count = round(DRAWS * self.weights[model.fit.law])
            if count == 0:
                continue
            every = model.mean_draws(columns) if np.isinf(runs) else model.draws(columns, runs, seed)
            centre = model.predicted(columns)
            chosen = _some(every, count, generator)
            parts.append(np.clip(centre + factor * (chosen - centre), 0.0, self.ceiling))
        return np.concatenate(parts)

    def curves(self, k: np.ndarray, n: np.ndarray, seed: int) -> Float64[np.ndarray, "draws points"]:
        """Return draws of the laws as they are, neither widened nor clipped: for where a curve has its least."""
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
        """Largest possible value of the target."""
        return 1.0 if self.cells.target == "regret" else np.inf

    def predicted(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the weighted mean of the laws' predictions; NaN where one that has weight cannot say."""
        return np.clip(self.unclipped(k, n), 0.0, self.ceiling)

    def unclipped(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the same before it is cut to the target's range: where several widths reach 0, one is still best."""
        columns = columns_at(self.table, np.asarray(k, float), np.asarray(n, float))
        return np.asarray(sum(self.weights[model.fit.law] * model.predicted(columns) for model in self.models))

    def noise(self, k: np.ndarray, n: np.ndarray) -> Float64[np.ndarray, " points"]:
        """Return the sd of one run at (k, n)."""
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

    A back-test fits the cells up to some n (or k) and forecasts the larger ones. λ(d) is learned from all laws, for
    each direction by itself, d the distance in decades. A law weighs by 1/(1 + median squared error of its forecasts
    in units of the noise of a cell's mean), so laws that all miss by far more than the noise share by their errors,
    and laws that cannot be told apart share equally.

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
    along_n, along_k = (learn_growth([pair[axis] for pair in tracks.values()], level) for axis in (0, 1))
    return Mixture(table, cells, tuple(models), _weights(models, tracks, cells), (along_n, along_k), tuple(reasons))


def check_target_values(cells: Cells) -> None:
    """Refuse cells that no law is about.

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
    # A cell at the level of random plans cannot miss, and says nothing about a law.
    saturated = cells.mean >= options["saturation"] * cells.ceiling
    keep = ~saturated if cells.target == "regret" else np.full(len(cells), True)
    scale = getattr(cells, axis)[keep]

    def fit_to(inside: np.ndarray) -> Corrected:
        part = table.where(table[axis] <= scale[inside].max())
        seen = cells_from_table(part, cells.target, np.inf)
        return Corrected(law, fit(family, part, cells.target, **options), False, seen)  # type: ignore[arg-type]

    cuts = np.unique(scale)[1:-1].tolist()
    return rolling(
        rows_of_cells(law, cells).where(keep),
        scale,
        cuts,
        fit_to,
        runs=cells.seeds[keep],
        level=float(options["level"]),
        seed=int(options["seed"]),
    )


def _weights(models: Sequence[Corrected], tracks: Mapping[str, Sequence[Track]], cells: Cells) -> dict[str, float]:
    noise = models[0].fit.noise
    typical = float(np.median(np.sqrt(mean_variance(cells, cells.mean, noise))))
    error = {}
    for name, pair in tracks.items():
        errors = np.concatenate([track.error for track in pair])
        errors = errors[np.isfinite(errors)]
        error[name] = float(np.median(errors**2)) / typical**2 if len(errors) else np.inf
    if not np.isfinite(list(error.values())).any():
        return dict.fromkeys(error, 1 / len(error))
    raw = {name: 1 / (1 + value) for name, value in error.items()}
    total = sum(raw.values())
    return {name: value / total for name, value in raw.items()}

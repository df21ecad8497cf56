"""The width that the theory would choose: where the tail and the sample term together are least."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from jepa_scale.estimators.spectrum import OperatorSpectrum
from jepa_scale.shapes import Float64, Int64
from jepa_scale.theory.spectrum import spectral_tail

LEAST_SQUARES = (0.5, 2.0)
"""Range of c in the sample term c k (p + q − k)/n where no study calibrates it.

k (p + q − k) is the number of free entries of a p × q matrix of rank k, and 1/n the variance of one whitened entry. On
four exact worlds (tori with blur .8 and 1, low rank, nuisance; N = 64 and 100, 25 to 400 transitions per observation
and action) the exact least-squares learner has c between 0.98 and 1.86, and every best width but one of twelve lies
between those of c = ½ and c = 2. That is a learner without gradient descent; networks differ.
"""


@dataclass(frozen=True)
class StudyTerm:
    """A tail(k) + B k^p n^−q as a study fitted it to risks."""

    law: str
    draws: Float64[np.ndarray, "draws 4"]
    """(A, B, p, q); the first row is the fit, the others are its bootstrap."""

    @classmethod
    def read(cls, path: Path) -> StudyTerm:
        """Read ``fit.json`` of a study.

        Raises
        ------
        ValueError
            If it holds no converged fit of the risk by a law on the measured tail.
        """
        try:
            fits = json.loads(path.read_text(encoding="utf-8"))["fits"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no fit.json of a study: {error}") from None
        for name in ("theory_free", "theory_fixed"):
            for fit in fits:
                if (fit["law"], fit["target"], fit["status"]) == (name, "risk", "converged"):
                    return cls(name, _draws(fit))
        found = ", ".join(" ".join(str(fit[key]) for key in ("law", "target", "status")) for fit in fits)
        raise ValueError(
            f"expected in {path} a converged fit of the risk by theory_free or theory_fixed, got {found or 'no fit'}"
        )


def _draws(fit: Mapping[str, object]) -> np.ndarray:
    parameters = {one["name"]: one for one in fit["parameters"]}  # type: ignore[attr-defined]
    names = list(parameters)
    centre = np.array([[parameters[name]["value"] for name in names]], dtype=float)
    drawn = np.array(fit["bootstrap_draws"], dtype=float).reshape(-1, len(names))
    return np.concatenate([centre, drawn])[:, [names.index(name) for name in ("A", "B", "p", "q")]]


@dataclass(frozen=True)
class Sizing:
    """tail(k) + sample(k, n) over k, and its least."""

    widths: Int64[np.ndarray, " K"]
    tail: Float64[np.ndarray, " K"]
    tail_error: Float64[np.ndarray, " K"]
    """Standard error of ``tail``."""
    sample_low: Float64[np.ndarray, " K"]
    sample_high: Float64[np.ndarray, " K"]
    best_low: int
    """k* with the highest sample term …"""
    best_high: int
    """… and with the lowest."""
    low: int
    high: int
    """Widths that the error of the tail does not tell from k*, over the whole range of the sample term."""
    n: float
    """Training transitions of all actions together."""
    source: str
    """Where the sample term comes from."""


def choose_width(
    spectra: list[OperatorSpectrum], n: float, study: StudyTerm | None = None, level: float = 0.95
) -> Sizing:
    """Least of the mean tail over actions plus the sample term.

    ``spectra`` are of a reference dictionary, one for each action: beyond its own width a model sees no tail. n counts
    the transitions of all actions; each action has its share.

    Raises
    ------
    ValueError
        If there is no spectrum or n is not positive.
    """
    if not spectra or n <= 0:
        raise ValueError(f"expected at least one spectrum and n > 0, got {len(spectra)} and {n=}")
    size = min(spectrum.singular_values.whole.shape[-1] for spectrum in spectra)
    widths = np.arange(1, size + 1)

    def tails(values: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(spectral_tail(values, int(k))) for k in widths], axis=-1)

    every = [spectrum.singular_values.map(tails) for spectrum in spectra]
    value = np.mean([one.value for one in every], axis=0)
    left_out = np.mean([one.left_out[: min(e.groups for e in every)] for one in every], axis=0)
    if study is None:
        freedom = np.mean([widths * (one.p + one.q + 2 - widths) for one in spectra], axis=0) * len(spectra) / n
        samples = [constant * freedom for constant in LEAST_SQUARES]
        source = (
            f"not calibrated: c·k(p + q − k)/n with c from {LEAST_SQUARES[0]:g} to {LEAST_SQUARES[1]:g}, the range of "
            "exact least-squares learners"
        )
    else:
        # In units of A: the width is chosen, not the risk.
        terms = np.array([b / a * widths**p * n**-q for a, b, p, q in study.draws if a > 0 and b >= 0])
        samples = [np.quantile(terms, (1 - level) / 2, axis=0), np.quantile(terms, (1 + level) / 2, axis=0)]
        source = f"B k^p n^−q of the study's law {study.law}, {100 * level:g} % bootstrap band"
    best, near = [], []
    groups = len(left_out)
    for sample in samples:
        objective = value + sample
        star = int(np.argmin(objective))
        best.append(int(widths[star]))
        difference = left_out - left_out[:, star : star + 1]
        spread = np.sqrt((groups - 1) / groups * ((difference - difference.mean(0)) ** 2).sum(0)) if groups > 1 else 0.0
        half = student.ppf((1 + level) / 2, groups - 1) * spread if groups > 1 else 0.0
        near += widths[objective - objective[star] <= half].tolist()
    error = (
        np.sqrt((groups - 1) / groups * ((left_out - left_out.mean(0)) ** 2).sum(0)) if groups > 1 else value * np.nan
    )
    return Sizing(
        widths, value, error, samples[0], samples[1], min(best), max(best), min(near), max(near), float(n), source
    )

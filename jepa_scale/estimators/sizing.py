"""The width that the theory would choose: where the tail and the sample term together are least."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.estimators.jackknife import average
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
    """(A, B, p, q) of the fit and its bootstrap, those with A > 0 and B ≥ 0."""

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
            found = [(fit["law"], fit["target"], fit["status"]) for fit in fits]
            for name in ("theory_free", "theory_fixed"):
                if (name, "risk", "converged") in found:
                    return cls(name, _draws(fits[found.index((name, "risk", "converged"))]))
        except OSError as error:
            raise ValueError(f"expected fit.json of a study, got {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"expected fit.json of a study, got {path}, which is not one: give its path") from None
        listed = ", ".join(" ".join(map(str, one)) for one in found) or "no fit"
        raise ValueError(
            f"expected in {path} a converged fit of the risk by theory_free or theory_fixed with positive A and B, got "
            f"{listed}"
        )


def _draws(fit: Mapping[str, Any]) -> np.ndarray:
    values = {one["name"]: one["value"] for one in fit["parameters"]}
    drawn = np.array(fit["bootstrap_draws"], dtype=float).reshape(-1, len(values))
    every = np.concatenate([np.array([list(values.values())], dtype=float), drawn])
    every = every[:, [list(values).index(name) for name in ("A", "B", "p", "q")]]
    usable = every[np.isfinite(every).all(1) & (every[:, 0] > 0) & (every[:, 1] >= 0)]
    if len(usable) == 0:
        raise ValueError("no usable draw")
    return usable


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
    """Widths that the error of the tail does not tell from k*, over the whole range of the sample term; all of them
    without a jackknife."""
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

    # The shortest spectrum sets the widths; a tail beyond it is 0 there.
    tail = average([one.singular_values.map(tails) for one in spectra])
    if study is None:
        freedom = np.mean([widths * (one.p + one.q + 2 - widths) for one in spectra], axis=0) * len(spectra) / n
        samples = [constant * freedom for constant in LEAST_SQUARES]
        source = (
            f"not calibrated: c·k(p + q − k)/n with c from {LEAST_SQUARES[0]:g} to {LEAST_SQUARES[1]:g}, the range of "
            "exact least-squares learners"
        )
    else:
        # In units of A: the width is chosen, not the risk.
        terms = np.array([b / a * widths**p * n**-q for a, b, p, q in study.draws])
        samples = [np.quantile(terms, (1 - level) / 2, axis=0), np.quantile(terms, (1 + level) / 2, axis=0)]
        source = f"B k^p n^−q of the study's law {study.law}, {100 * level:g} % bootstrap band"
    best, near = [], []
    for sample in samples:
        objective = np.asarray(tail.value) + sample
        star = int(np.argmin(objective))
        best.append(int(widths[star]))
        # ``sample`` is known, so the difference's error is that of the tails'.
        low = np.nan_to_num(tail.map(partial(_apart, star)).interval(level)[0], nan=-np.inf)
        near += widths[low + sample - sample[star] <= 0].tolist()
    error = np.asarray(tail.standard_error)
    ends = (min(best), max(best), min(near), max(near))
    return Sizing(widths, np.asarray(tail.value), error, samples[0], samples[1], *ends, float(n), source)


def _apart(star: int, values: np.ndarray) -> np.ndarray:
    return values - values[..., star : star + 1]

"""Continuous actions in cells, and what is left when the cells shrink to points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jepa_scale.estimators.jackknife import Jackknifed, average
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, operator_spectrum
from jepa_scale.shapes import Float64, Int64


@dataclass(frozen=True)
class ActionCells:
    """Cells of equal share by bisection: each is halved at the median of its widest direction, B = 2^depth in all.

    In one dimension these are quantile cells. Cell 2i and cell 2i + 1 are the halves of cell i of half as many.
    """

    axes: Int64[np.ndarray, " inner"]
    cuts: Float64[np.ndarray, " inner"]
    """Of the inner nodes in breadth-first order."""

    @classmethod
    def of(cls, actions: Float64[np.ndarray, "n d"], cells: int) -> ActionCells:
        """Fit cells to a sample of actions.

        Raises
        ------
        ValueError
            If ``cells`` is no power of two, or there are fewer actions.
        """
        if cells < 1 or cells & (cells - 1) or cells > len(actions):
            raise ValueError(f"expected a power of two of cells, at most {len(actions)} actions; got {cells=}")
        deviation = actions.std(0)
        scaled = actions / np.where(deviation > 0, deviation, 1.0)
        axes, cuts = np.zeros(cells - 1, dtype=np.int64), np.zeros(cells - 1)
        parts = [np.arange(len(actions))]
        for node in range(cells - 1):
            rows = parts.pop(0)
            # Without rows the cut does not matter.
            axes[node] = int(np.argmax(np.ptp(scaled[rows], axis=0))) if len(rows) else 0
            cuts[node] = float(np.median(actions[rows, axes[node]])) if len(rows) else 0.0
            above = actions[rows, axes[node]] > cuts[node]
            parts += [rows[~above], rows[above]]
        return cls(axes, cuts)

    def __len__(self) -> int:
        return len(self.cuts) + 1

    def __call__(self, actions: Float64[np.ndarray, "n d"]) -> Int64[np.ndarray, " n"]:
        """Cell of each action."""
        node = np.zeros(len(actions), dtype=np.int64)
        for _ in range(len(self).bit_length() - 1):
            above = actions[np.arange(len(actions)), self.axes[node]] > self.cuts[node]
            node = 2 * node + 1 + above
        return node - len(self.cuts)


@dataclass(frozen=True)
class CellEstimate:
    """T per action, from cells that are ever smaller."""

    totals: dict[int, Jackknifed]
    """Mean over cells of T, weighted by their share, for each number of cells."""
    extrapolated: Jackknifed | None
    """() Richardson's value from the two finest; None with one number of cells."""
    cells: tuple[OperatorSpectrum, ...]
    """The finest."""
    dropped: int
    """Of the finest, those with too few transitions."""


def estimate_cells(moments: GroupedMoments, dimension: int, predictions: bool = False) -> CellEstimate:
    """T of every cell, merged pair by pair, and extrapolated to cells of no width.

    A cell mixes the operators of its actions, which lowers T by O(width²) = O(B^{−2/d}); so with r = 2^{−2/d},
    T ≈ (T_2B − r T_B)/(1 − r): for d = 1, (4 T_2B − T_B)/3. On a ring with T = 20.650, 8 and 16 cells gave 20.650
    where 16 alone had 20.51. For d > 1 each halving shortens one direction only, and the value is rougher.

    All that is for an h that does not know the action, such as h = f(x). A prediction g(f(x), a) does, so that wide
    cells see *more* than each action's own operator, and nothing is extrapolated: ``predictions``.
    """
    count = len(moments.count)
    totals: dict[int, Jackknifed] = {}
    finest: tuple[OperatorSpectrum, ...] = ()
    dropped = 0
    while True:
        spectra, weights = [], []
        for cell in range(count):
            if moments.count[cell].any():
                spectrum = operator_spectrum(OperatorSums.of(moments, cell, "same_action"))
                if not spectrum.n_too_small:
                    spectra.append(spectrum)
                    weights.append(spectrum.n)
        if not finest and not totals:
            finest, dropped = tuple(spectra), count - len(spectra)
        if spectra:
            totals[count] = average([spectrum.total for spectrum in spectra], weights)
        if count == 1:
            break
        count //= 2
        moments = moments.joined(np.arange(2 * count) // 2)
    extrapolated = None if predictions else _richardson(totals, dimension)
    return CellEstimate(dict(sorted(totals.items())), extrapolated, finest, dropped)


def _richardson(totals: dict[int, Jackknifed], dimension: int) -> Jackknifed | None:
    pairs = [cells for cells in totals if 2 * cells in totals]
    if not pairs:
        return None
    coarse, fine = totals[max(pairs)], totals[2 * max(pairs)]
    ratio = 2 ** (-2 / dimension)

    def combined(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return np.asarray((ours - ratio * theirs) / (1 - ratio))

    return Jackknifed(combined(fine.whole, coarse.whole), combined(fine.left_out, coarse.left_out), fine.shares)

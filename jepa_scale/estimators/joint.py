"""The joint operator (x, a) → x⁺ with pooled negatives, from moments of each action."""

from __future__ import annotations

import numpy as np

from jepa_scale.estimators.jackknife import Jackknifed, with_left_out
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.estimators.spectrum import OperatorSpectrum, OperatorSums, WhiteSide, without_direction
from jepa_scale.shapes import Float64


def joint_spectrum(moments: GroupedMoments) -> OperatorSpectrum:
    """Spectrum of (x, a) → x⁺ for the features [1, h] ⊗ onehot(a) of contexts and actions.

    Features of different actions are never non-zero together, so that C_h falls into blocks and the whitened operator
    is the blocks √π(a) S(a) above each other, S(a) with f whitened under the law of all actions:
    T = Σ_a π(a) T_pooled(a), and s_1 = 1. No product over all p |A| features is needed.

    Raises
    ------
    ValueError
        If no cell has transitions.
    """
    cells = [cell for cell in range(len(moments.count)) if moments.count[cell].any()]
    if not cells:
        raise ValueError("expected transitions of some action, got none")
    parts = [OperatorSums.of(moments, cell, "pooled") for cell in cells]
    right = WhiteSide.of(parts[0].yy, parts[0].origin_f, moments.tolerance)
    blocks = [_Block.of(one, right) for one in parts]
    total = with_left_out(parts[0].weights, parts[0].weights)
    values, own = [], []
    for sample, whitening in enumerate(right.inverses):
        stacked = np.concatenate([block.whitened(sample) for block in blocks]) @ whitening.T / np.sqrt(total[sample])
        values.append(np.linalg.svd(stacked, compute_uv=False))
        if not right.spans_constant:
            stacked = without_direction(stacked, whitening @ np.append(1.0, right.origin))
        own.append(np.linalg.svd(stacked, compute_uv=False))
    p, q = sum(len(block.inverses[0]) for block in blocks) - 1, right.rank
    widths = len(cells) * (len(moments.shift_h) + 1) - 1, len(moments.shift_f)
    padded = np.zeros((len(own), min(widths)))
    size = min(p + 1, right.own_rank, min(widths))
    padded[:, :size] = np.stack(own)[:, :size]
    return OperatorSpectrum(
        Jackknifed.of(np.stack(values), parts[0].weights),
        Jackknifed.of(padded, parts[0].weights),
        p,
        q,
        widths,
        float(total[0]) ** 2 / float(moments.weight_square.sum()),
        int(moments.rows.sum()),
        spans_constant=True,
    )


class _Block:
    """One action's share, in coordinates in which its h and everybody's f are white."""

    def __init__(self, inverses: np.ndarray, cross: np.ndarray, weights: np.ndarray) -> None:
        self.inverses, self._cross, self._weights = inverses, cross, weights

    @classmethod
    def of(cls, sums: OperatorSums, right: WhiteSide) -> _Block:
        left = WhiteSide.of(sums.zz, sums.origin_h, sums.tolerance)
        # Left out of all rows' groups, not of this action's own.
        cross = with_left_out(left.map.T @ sums.zy @ right.map, sums.weights)
        return cls(left.inverses, cross, with_left_out(sums.zz[:, 0, 0], sums.weights))

    def whitened(self, sample: int) -> Float64[np.ndarray, "p q"]:
        """√n(a) L⁻¹ C_hf(a) of one sample; nothing where the action occurs in the group that is left out alone."""
        weight = self._weights[sample]
        if weight <= 0:
            return np.zeros_like(self._cross[sample])
        # A single factor: all rows are in one group, and with or without others they are the same.
        inverse = self.inverses[sample] if len(self.inverses) > 1 else self.inverses[0]
        return inverse @ self._cross[sample] / np.sqrt(weight)

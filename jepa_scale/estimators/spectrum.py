"""Singular values that embeddings can see of an operator, with jackknife errors and the edge of sampling noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch

from jepa_scale.estimators import noise
from jepa_scale.estimators.gaps import Gap, cluster_around
from jepa_scale.estimators.jackknife import Jackknifed, with_left_out
from jepa_scale.estimators.moments import GroupedMoments
from jepa_scale.records import Negatives
from jepa_scale.shapes import Float64
from jepa_scale.theory.spectrum import inverse_root, spectral_tail

SAMPLES_PER_DIMENSION = 25
"""Fewer transitions than this times max(p, q), and no correction repairs the estimates."""


@dataclass(frozen=True)
class OperatorSums:
    """Grouped sums of one operator: of one action, of a cell of actions, or of (x, a) → x⁺ as a whole."""

    zz: Float64[np.ndarray, "G P P"]
    zy: Float64[np.ndarray, "G P Q"]
    yy: Float64[np.ndarray, "G Q Q"]
    """Over the law of the negatives."""
    matched_square: Float64[np.ndarray, " G"]
    """Σ_j w_j² (h_jᵀf_j)², unshifted."""
    weight_square: Float64[np.ndarray, " G"]
    rows: Float64[np.ndarray, " G"]
    origin_h: Float64[np.ndarray, " p"]
    origin_f: Float64[np.ndarray, " q"]
    """Where h = 0 and f = 0 lie in the shifted coordinates."""
    tolerance: float

    @classmethod
    def of(cls, moments: GroupedMoments, cell: int, negatives: Negatives) -> OperatorSums:
        """Sums of one cell; with pooled negatives f has the law of all cells together.

        Raises
        ------
        ValueError
            If the cell has no transitions.
        """
        if not moments.count[cell].any():
            raise ValueError(f"expected transitions with every action, got none of action {cell}")
        return cls(
            moments.zz[cell],
            moments.zy[cell],
            moments.yy.sum(0) if negatives == "pooled" else moments.yy[cell],
            moments.matched_square[cell],
            moments.weight_square[cell],
            moments.rows[cell],
            -moments.shift_h,
            -moments.shift_f,
            moments.tolerance,
        )

    @property
    def weights(self) -> Float64[np.ndarray, " G"]:
        """Each group's weight, of all that the estimate is made of: with pooled negatives, of all cells."""
        return self.yy[:, 0, 0]

    def with_left_out(self, parts: Float64[np.ndarray, "G ..."]) -> Float64[np.ndarray, "rows ..."]:
        """The sum over groups, then the sums without each, unless all of h is in one group."""
        return with_left_out(parts, self.zz[:, 0, 0])


@dataclass(frozen=True)
class OperatorSpectrum:
    """Canonical correlations s_i of [1, h] and [1, f]: at most σ_i, equal where the features span enough.

    The constant is among the features, so that nothing depends on where the embeddings' origin is, and s_1 = 1 unless
    negatives come from other actions.
    """

    singular_values: Jackknifed
    """(r,) decreasing, the constant's included."""
    own: Jackknifed
    """(min of widths,) those of h and f alone, without the constant: what the model itself, a product of rank k, can
    use. Zeros for directions that depend on others."""
    p: int
    q: int
    """Directions of h and of f that vary; below the widths where coordinates depend on each other."""
    widths: tuple[int, int]
    n: float
    """Effective transitions (Σw)²/Σw²: the number of transitions where weights are 1."""
    rows: int
    spans_constant: bool
    """Whether the constant lies in the span of h or of f already."""

    @property
    def n_too_small(self) -> bool:
        """Whether n < 25 max(p, q), so that no number should be shown."""
        return self.n < SAMPLES_PER_DIMENSION * max(self.p, self.q, 1)

    @property
    def degenerate(self) -> bool:
        """Whether an embedding does not vary at all: there is no spectrum but that of the constant."""
        return min(self.p, self.q) == 0

    @property
    def rank_deficient(self) -> bool:
        """Whether coordinates of h or of f depend on each other linearly."""
        return (self.p, self.q) != self.widths

    @cached_property
    def total(self) -> Jackknifed:
        """() T = Σ_i s_i²"""
        return self.singular_values.map(lambda values: (values**2).sum(-1))

    def top(self, k: int) -> Jackknifed:
        """() Σ_{i≤k} s_i²"""
        return self.singular_values.map(lambda values: (values[..., :k] ** 2).sum(-1))

    def tail(self, k: int) -> Jackknifed:
        """() T − Σ_{i≤k} s_i² *within these features*: a lower bound on tail_k, worth anything only if r ≫ k."""
        return self.singular_values.map(lambda values: np.asarray(spectral_tail(values, k)))

    def gap(self, k: int) -> Gap:
        """s_k − s_{k+1}, and whether it can be told from none.

        Raises
        ------
        ValueError
            If k is outside 1 … r.
        """
        values = self.singular_values
        size = values.whole.shape[-1]
        if not 1 <= k <= size:
            raise ValueError(f"expected 1 ≤ k ≤ {size} singular values, got {k=}")
        difference = values.map(lambda v: v[..., k - 1] - (v[..., k] if k < size else 0.0))
        following = float(values.whole[k]) if k < size else 0.0
        return Gap(difference, k < size and not following > self.edge, cluster_around(values, k - 1))

    @property
    def edge(self) -> float:
        """What independent features of this size would show: values below it are noise. NaN if n < p + q."""
        if self.n - 1 < self.p + self.q:
            return float("nan")
        return float(np.sqrt(noise.squared_edges(self.p, self.q, self.n - 1)[1]))

    @property
    def detection_limit(self) -> float:
        """The bound ρ_c on every s_i whose sample value is below the edge; NaN if n < p + q."""
        return float("nan") if self.n - 1 < self.p + self.q else noise.detection_limit(self.p, self.q, self.n - 1)

    @property
    def corrected(self) -> Float64[np.ndarray, " r"]:
        """s_i with the closed-form bias taken off; NaN below the edge. The constant's stays."""
        values = self.singular_values.whole
        if self.n - 1 < self.p + self.q:
            return np.full(len(values), np.nan)
        return np.append(values[:1], noise.corrected(values[1:], self.p, self.q, self.n - 1))

    @property
    def signal_rank(self) -> int:
        """Values above the edge, the constant's included. It grows with n where the decay is soft."""
        return int((self.singular_values.whole[1:] > self.edge).sum()) + 1

    @property
    def total_analytic(self) -> float:
        """T by the closed form, which assumes independent rows; beside the jackknife's it shows how far they are."""
        plug_in = float((self.singular_values.whole[1:] ** 2).sum())
        first = float(self.singular_values.whole[0] ** 2)
        return first + noise.analytic_total(plug_in, self.p, self.q, self.n - 1)


def operator_spectrum(sums: OperatorSums, right: WhiteSide | None = None) -> OperatorSpectrum:
    """Decompose the whole sample and every sample without a group.

    Canonical correlations do not change under invertible maps, so all groups are mapped by the whole sample's whitening
    first; a Cholesky factor of what is then nearly the identity is accurate. ``right`` is f's side where several
    operators share it, as with pooled negatives.
    """
    left = WhiteSide.of(sums.zz, sums.origin_h, sums.tolerance)
    right = right or WhiteSide.of(sums.yy, sums.origin_f, sums.tolerance)
    if len(left.inverses) != len(right.inverses):
        # All of h in one group, which cannot be left out.
        right = replace(right, inverses=right.inverses[:1])
    cross = sums.with_left_out(left.map.T @ sums.zy @ right.map)
    cross /= sums.with_left_out(sums.zz[:, 0, 0])[:, None, None]
    whitened = left.inverses @ cross @ right.inverses.swapaxes(-1, -2)
    values = leading_values(whitened, min(whitened.shape[1:]))
    size = min(left.own_rank, right.own_rank)
    own = leading_values(_without_constant(whitened, left, right), size)
    widths = len(sums.origin_h), len(sums.origin_f)
    # Directions without variance have s = 0; the projection's own zero goes.
    padded = np.zeros((len(own), min(widths)))
    padded[:, :size] = own
    return OperatorSpectrum(
        Jackknifed.of(values, sums.weights),
        Jackknifed.of(padded, sums.weights),
        left.rank,
        right.rank,
        widths,
        float(sums.zz[:, 0, 0].sum()) ** 2 / float(sums.weight_square.sum()),
        int(sums.rows.sum()),
        left.spans_constant or right.spans_constant,
    )


_SMALL = 1e-6
"""Share of the largest singular value below which its square says too little of one."""


def leading_values(
    matrices: Float64[np.ndarray, "samples rows columns"], size: int
) -> Float64[np.ndarray, "samples size"]:
    """The ``size`` largest singular values of each matrix, decreasing.

    They are roots of the eigenvalues of M Mᵀ, which LAPACK finds in 0.6 of the time. An error of some ε s₁² of a square
    is one of ε s₁²/2s of s: below 10⁻⁹ s₁ where s ≥ 10⁻⁶ s₁, a hundredth of the rounding of embeddings in float32. A
    matrix that has a smaller one is decomposed itself.
    """
    if not size:
        return np.zeros((len(matrices), 0))
    rows = torch.from_numpy(matrices if matrices.shape[1] <= matrices.shape[2] else matrices.swapaxes(1, 2))
    # By torch, whose LAPACK is the faster one for small matrices.
    squares = torch.linalg.eigvalsh(rows @ rows.mT).numpy()[:, ::-1][:, :size]
    small = squares[:, -1] < _SMALL**2 * squares[:, 0]
    values = np.sqrt(np.maximum(squares, 0))
    if small.any():
        values[small] = np.linalg.svd(matrices[small], compute_uv=False)[:, :size]
    return values


@dataclass(frozen=True)
class WhiteSide:
    """One side's features in coordinates in which the whole sample is white, the constant first."""

    map: Float64[np.ndarray, "P r"]
    """From shifted features with the constant to white coordinates."""
    origin: Float64[np.ndarray, " rank"]
    """Where the raw zero vector lies."""
    spans_constant: bool
    inverses: Float64[np.ndarray, "samples r r"]
    """L⁻¹ for the whole sample and each without a group: what is left to whiten."""

    @property
    def rank(self) -> int:
        """Directions that vary."""
        return self.map.shape[1] - 1

    @property
    def own_rank(self) -> int:
        """Rank of the features without the constant."""
        return self.rank + self.spans_constant

    @classmethod
    def of(cls, groups: Float64[np.ndarray, "G P P"], origin: Float64[np.ndarray, " p"], tolerance: float) -> WhiteSide:
        """Whiten one side's grouped sums."""
        sums = groups.sum(0)
        mean = sums[0, 1:] / sums[0, 0]
        covariance = sums[1:, 1:] / sums[0, 0] - np.outer(mean, mean)
        # A coordinate that does not vary has a variance of rounding, which no scaling may blow up.
        flat = np.diagonal(covariance) <= 1e-13 * np.diagonal(sums)[1:] / sums[0, 0]
        covariance = np.where(flat[:, None] | flat[None, :], 0.0, covariance)
        root = inverse_root(covariance, tolerance)
        root = root[:, np.abs(root).any(0)]
        matrix = np.zeros((len(sums), root.shape[1] + 1))
        matrix[0, 0] = 1.0
        matrix[1:, 1:], matrix[0, 1:] = root, -mean @ root
        from_mean = origin - mean
        white = from_mean @ root
        # The span of the features misses the constant iff their hyperplane passes through zero.
        missing = np.abs(from_mean - covariance @ root @ white)
        scale = np.sqrt(np.diagonal(covariance)) * (1 + np.linalg.norm(white))
        spans = np.where(flat, np.abs(from_mean) > 0, missing > 1e-4 * scale)
        grams = with_left_out(matrix.T @ groups @ matrix, groups[:, 0, 0])
        grams /= grams[:, :1, :1].copy()
        return cls(matrix, white, bool(spans.any()), _inverse_factors(grams))


def _inverse_factors(grams: np.ndarray) -> np.ndarray:
    """L⁻¹ of each Gram matrix L Lᵀ, or another whitening where one is singular, as when few samples are left."""
    try:
        factors = np.linalg.cholesky(grams)
    except np.linalg.LinAlgError:
        return inverse_root(grams).swapaxes(-1, -2)
    unit = torch.eye(factors.shape[-1], dtype=torch.float64).expand(factors.shape)
    return torch.linalg.solve_triangular(torch.from_numpy(factors), unit, upper=False).numpy()


def _without_constant(whitened: np.ndarray, left: WhiteSide, right: WhiteSide) -> np.ndarray:
    """The same matrix on the span of h and of f alone: a projection along one direction on each side.

    A linear function of the features is c·(y − y₀) in white coordinates y, y₀ the raw zero's place. In the basis [1, y]
    these are the coefficient vectors orthogonal to (1, y₀); in the orthonormal basis L⁻¹[1, y], to L⁻¹(1, y₀).
    """
    if not left.spans_constant:
        whitened = without_direction(whitened, left.inverses @ np.append(1.0, left.origin), of="columns")
    if not right.spans_constant:
        whitened = without_direction(whitened, right.inverses @ np.append(1.0, right.origin))
    return whitened


def without_direction(
    matrix: Float64[np.ndarray, "*samples rows columns"],
    normal: Float64[np.ndarray, "*samples _"],
    of: Literal["rows", "columns"] = "rows",
) -> Float64[np.ndarray, "*samples rows columns"]:
    """Rows, or columns, projected onto what is orthogonal to ``normal``."""
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    if of == "columns":
        # Not by the transpose of the other, which is no contiguous memory.
        return matrix - normal[..., :, None] * (normal[..., None, :] @ matrix)
    return matrix - (matrix @ normal[..., :, None]) * normal[..., None, :]

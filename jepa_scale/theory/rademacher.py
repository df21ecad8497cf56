"""Rademacher complexity of scalar function classes: exact, upper bounds and lower bounds.

Convention: Rad(H|S) = E_σ sup_{h∈H} (1/n) Σ_i σ_i h(x_i), σ_i independent signs, no absolute value. "Worst case" is the
supremum over samples of size n, the form that T3 uses. Classes of vector functions are taken one coordinate at a time.

Bounds on networks hold for a class whose norms were fixed before the data were seen. At the norms of a trained model
they describe the smallest such class that holds it; a statement of probability about the trained model needs a union
over a grid of norms besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import gammaln

from jepa_scale.shapes import Float64, Int64

MAX_OUTCOMES = 2**21
"""Largest number of sign outcomes that are enumerated."""

_CHUNK = 2**14


def exact_finite(values: Float64[np.ndarray, "H points"], counts: Int64[np.ndarray, " points"] | None = None) -> float:
    """Exact: Rad(H|S) of a finite class, by enumeration of signs.

    ``values`` are h at the distinct points of the sample, ``counts`` how often each occurs (once each if None). Signs
    at a point that occurs c times enter through their sum, which has c + 1 values with binomial weights, so Π(c + 1)
    outcomes are enumerated and n = Σc may be large.

    Raises
    ------
    ValueError
        If the class or sample is empty, a value is not finite, a count is below 1, or the outcomes are too many.
    """
    _check_values(values)
    counts = np.ones(values.shape[1], dtype=np.int64) if counts is None else counts
    if len(counts) != values.shape[1] or counts.min() < 1:
        raise ValueError(f"expected one count ≥ 1 for each of {values.shape[1]} points, got {counts.tolist()}")
    sums, weights = _sign_outcomes(counts)
    total = 0.0
    for start in range(0, len(weights), _CHUNK):
        part = slice(start, start + _CHUNK)
        total += float(weights[part] @ (sums[part] @ values.T).max(1))
    return total / float(counts.sum())


def massart_upper(values: Float64[np.ndarray, "H n"]) -> float:
    """Upper bound on Rad(H|S): max_h ‖h(S) − h̄(S)‖₂ √(2 ln|H|) / n, h̄ the mean of the class on the sample.

    Source: Massart's finite class lemma (Mohri, Rostamizadeh & Talwalkar 2018, Theorem 3.7). A shift of all functions
    by one vector leaves Rad as it is, so the class is centred first.

    Raises
    ------
    ValueError
        If the class or sample is empty or a value is not finite.
    """
    _check_values(values)
    members, n = values.shape
    radius = float(np.linalg.norm(values - values.mean(0), axis=1).max())
    return float(radius * np.sqrt(2 * np.log(members)) / n)


def massart_worst_case_upper(members: int, bound: float, n: int) -> float:
    """Upper bound on the worst case over samples: κ √(2 ln|H| / n), |h| ≤ κ everywhere.

    Source: as ``massart_upper``.

    Raises
    ------
    ValueError
        If the class is empty, κ is negative or n is below 1.
    """
    if members < 1 or not bound >= 0 or n < 1:
        raise ValueError(f"expected |H| ≥ 1, κ ≥ 0 and n ≥ 1, got {members=}, {bound=}, {n=}")
    return float(bound * np.sqrt(2 * np.log(members) / n))


def linear_exact(features: Float64[np.ndarray, "n k"], norm_bound: float) -> float:
    """Exact: Rad of {x ↦ ⟨w, φ(x)⟩, ‖w‖₂ ≤ B}, (B/n) E‖Σ_i σ_i φ_i‖₂, by enumeration of 2ⁿ signs.

    The supremum over w for given signs is Cauchy–Schwarz, attained.

    Raises
    ------
    ValueError
        If the sample is empty, a feature is not finite, B is negative or n is too large to enumerate.
    """
    _check_linear(features, norm_bound)
    sums, weights = _sign_outcomes(np.ones(len(features), dtype=np.int64))
    total = 0.0
    for start in range(0, len(weights), _CHUNK):
        part = slice(start, start + _CHUNK)
        total += float(weights[part] @ np.linalg.norm(sums[part] @ features, axis=1))
    return norm_bound * total / len(features)


def linear_upper(features: Float64[np.ndarray, "n k"], norm_bound: float) -> float:
    """Upper bound for the class of ``linear_exact``: B √(Σ‖φ_i‖²) / n, by Jensen.

    Source: Mohri, Rostamizadeh & Talwalkar 2018, Theorem 5.10 (its proof).

    Raises
    ------
    ValueError
        If the sample is empty, a feature is not finite or B is negative.
    """
    _check_linear(features, norm_bound)
    return float(norm_bound * np.linalg.norm(features) / len(features))


def linear_lower(features: Float64[np.ndarray, "n k"], norm_bound: float) -> float:
    """Lower bound for the class of ``linear_exact``: ``linear_upper`` / √2.

    Source: Khintchine–Kahane, E‖Σσ_iφ_i‖ ≥ (E‖Σσ_iφ_i‖²)^{1/2} / √2 (Latała & Oleszkiewicz 1994; scalars Szarek 1976);
    the constant is attained by two equal vectors.

    Raises
    ------
    ValueError
        As ``linear_upper``.
    """
    return linear_upper(features, norm_bound) / float(np.sqrt(2))


def linear_worst_case_upper(radius: float, norm_bound: float, n: int) -> float:
    """Upper bound on the worst case of the class of ``linear_exact``: B r / √n, ‖φ(x)‖ ≤ r everywhere.

    Raises
    ------
    ValueError
        If a norm is negative or n is below 1.
    """
    if not (radius >= 0 and norm_bound >= 0) or n < 1:
        raise ValueError(f"expected radius ≥ 0, B ≥ 0 and n ≥ 1, got {radius=}, {norm_bound=}, {n=}")
    return float(norm_bound * radius / np.sqrt(n))


@dataclass(frozen=True)
class LayerNorms:
    """Norms of a ReLU network's augmented layers, first to last; ``layer_norms`` computes them."""

    spectral: tuple[float, ...]
    """s_i = ‖Ã_i‖₂"""
    row_sum: tuple[float, ...]
    """b_i = ‖(Ã_i − M_i)ᵀ‖_{2,1}: Σ over output rows of their Euclidean norms, measured from the reference M_i."""
    frobenius: tuple[float, ...]
    """‖Ã_i‖_F"""
    width: int
    """W, the largest side of a matrix."""


def layer_norms(
    weights: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
    reference_weights: Sequence[np.ndarray] | None = None,
    reference_biases: Sequence[np.ndarray] | None = None,
) -> LayerNorms:
    """Norms of x ↦ A_L ReLU(… ReLU(A_1 x + b_1) …) + b_L, biases folded into matrices.

    Inputs become (x, 1) and hidden layers Ã = [[A, b], [0, 1]], which carries the 1 as ReLU(1) = 1; the last layer is
    [A, b]. So the augmented network is the same function, with s_i ≥ 1 for hidden layers and inputs longer by one. The
    carrying row is the same in every member of the class, so it is part of the reference M_i and costs no b_i. Other
    references (the initial weights, say) must not depend on the data.

    For the class of one output coordinate pass that row of A_L and b_L only. For g(f(x), a) at one action pass the
    layers of f and then those of g, with the action's column of g's first matrix added to its bias.

    Raises
    ------
    ValueError
        If there is no layer, or the shapes do not chain.
    """
    spectral, row_sum, frobenius, sides = [], [], [], []
    _check_chain(weights, biases)
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        own = np.hstack([weight, bias[:, None]]).astype(np.float64)
        full = own
        if layer < len(weights) - 1:
            full = np.vstack([own, np.eye(1, own.shape[1], own.shape[1] - 1)])
        reference = np.zeros_like(own)
        if reference_weights is not None:
            reference[:, :-1] = reference_weights[layer]
        if reference_biases is not None:
            reference[:, -1] = reference_biases[layer]
        spectral.append(float(np.linalg.norm(full, 2)))
        row_sum.append(float(np.linalg.norm(own - reference, axis=1).sum()))
        frobenius.append(float(np.linalg.norm(full)))
        sides += list(full.shape)
    return LayerNorms(tuple(spectral), tuple(row_sum), tuple(frobenius), max(sides))


def augmented_norm(inputs: Float64[np.ndarray, "n D"]) -> float:
    """‖X̃‖_F = √(Σ_i ‖x_i‖² + n), the input norm of the bounds below; worst case over ‖x‖ ≤ r: √(n (r² + 1))."""
    return float(np.sqrt((inputs**2).sum() + len(inputs)))


def spectral_upper(norms: LayerNorms, input_norm: float, n: int) -> float:
    """Upper bound on Rad of one output coordinate of ReLU networks with ‖Ã_i‖₂ ≤ s_i, ‖(Ã_i − M_i)ᵀ‖_{2,1} ≤ b_i.

    With D = ‖X̃‖_F Π s_i (which bounds ‖h(S)‖₂) and V = 2 ln(2W²) D² (Σ_i (b_i/s_i)^{2/3})³, the outputs on the sample
    have ln N(ε, ‖·‖₂) ≤ V/ε², and Dudley's integral gives
    min( D/√n, inf_{α≤D} 4α/√n + (12/n) √V ln(D/α) ), the infimum at α = min(D, 3 √(V/n)).

    Source: Bartlett, Foster & Telgarsky 2017 (arXiv:1706.08498), Theorem 3.3 for the covering number and Lemma A.5 for
    the integral; the integral is evaluated here for a class of outputs rather than of margins. The factor 2 in V is not
    in their Theorem 3.3: it stands for the ⌈·⌉ of their Lemma 3.2, ⌈v⌉ ≤ 2v for v ≥ 1, while for v < 1 one point is a
    cover. Projection onto the convex set of a layer's admissible outputs makes the covers proper.

    Hypotheses: ReLU or identity between layers (1-Lipschitz, coordinate-wise, 0 to 0, 1 to 1), a linear last layer,
    norms fixed before the sample. ``input_norm`` is ``augmented_norm`` of the sample, or its worst case.

    Raises
    ------
    ValueError
        If n is below 1 or a norm is negative or not finite.
    """
    _check_network(norms, input_norm, n)
    diameter = input_norm * float(np.prod(norms.spectral))
    if diameter == 0:
        return 0.0
    ratios = np.array(norms.row_sum) / np.array(norms.spectral)
    root = diameter * np.sqrt(2 * np.log(2 * norms.width**2)) * (ratios ** (2 / 3)).sum() ** 1.5
    trivial = diameter / np.sqrt(n)
    scale = min(diameter, 3 * root / np.sqrt(n))
    if scale == 0:
        # No layer may move from its reference: one function.
        return 0.0
    return float(min(trivial, 4 * scale / np.sqrt(n) + 12 / n * root * np.log(diameter / scale)))


def frobenius_upper(norms: LayerNorms, input_norm: float, n: int) -> float:
    """Upper bound on Rad of one output coordinate of ReLU networks with ‖Ã_i‖_F ≤ m_i.

    ‖X̃‖_F Π m_i (√(2 L ln 2) + 1) / n, L layers. No dependence on width but through the norms; often the smaller of the
    two, as it has neither logarithm nor the 12 of the chaining.

    Source: Golowich, Rakhlin & Shamir 2018 (arXiv:1712.06541), Theorem 1. Hypotheses as ``spectral_upper``; ReLU
    and identity are positive-homogeneous, as the theorem needs.

    Raises
    ------
    ValueError
        As ``spectral_upper``.
    """
    _check_network(norms, input_norm, n)
    depth = np.sqrt(2 * np.log(2) * len(norms.frobenius)) + 1
    return float(input_norm * np.prod(norms.frobenius) * depth / n)


def _sign_outcomes(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of signs per point (outcomes, points) and their probabilities."""
    outcomes = float(np.prod(counts + 1.0))
    if outcomes > MAX_OUTCOMES:
        raise ValueError(
            f"exact enumeration needs {outcomes:.1e} sign outcomes, more than {MAX_OUTCOMES}: use the Massart bound, "
            "linear_upper for a linear class, or a Monte Carlo estimate"
        )
    sums = np.zeros((1, 0), dtype=np.int32)
    weights = np.ones(1)
    for count in counts:
        heads = np.arange(count + 1)
        log_weight = gammaln(count + 1) - gammaln(heads + 1) - gammaln(count - heads + 1) - count * np.log(2)
        here = np.tile((2 * heads - count).astype(np.int32), len(sums))
        sums = np.column_stack([np.repeat(sums, count + 1, axis=0), here])
        weights = (weights[:, None] * np.exp(log_weight)).ravel()
    return sums, weights


def _check_values(values: np.ndarray) -> None:
    if min(values.shape) < 1 or not np.isfinite(values).all():
        raise ValueError(f"expected finite values of at least one function at one point, got shape {values.shape}")


def _check_linear(features: np.ndarray, norm_bound: float) -> None:
    if len(features) < 1 or not np.isfinite(features).all() or not norm_bound >= 0:
        raise ValueError(
            f"expected finite features of at least one point and B ≥ 0, got {features.shape=}, {norm_bound=}"
        )


def _check_chain(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
    if not weights or len(weights) != len(biases):
        raise ValueError(f"expected one bias per layer and a layer, got {len(weights)} weights, {len(biases)} biases")
    shapes = [weight.shape for weight in weights]
    chained = all(before[0] == after[1] for before, after in pairwise(shapes))
    if not chained or any(bias.shape != shape[:1] for bias, shape in zip(biases, shapes, strict=True)):
        raise ValueError(f"expected layers that chain with one bias per row, got weights of shapes {shapes}")


def _check_network(norms: LayerNorms, input_norm: float, n: int) -> None:
    if n < 1 or not (0 <= input_norm < np.inf) or not np.isfinite([*norms.spectral, *norms.row_sum]).all():
        raise ValueError(f"expected n ≥ 1 and finite norms ≥ 0, got {n=}, {input_norm=}, {norms=}")

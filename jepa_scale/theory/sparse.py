"""Leading singular values of M̄(a) in worlds too large for a dense N × N matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from jepa_scale.shapes import Float64

_TOLERANCE = 1e-9
_CONVERGED = 1e-8
"""Residual, in units of σ, below which a value counts as converged; every σ of M̄ is ≤ 1."""


@dataclass(frozen=True)
class SparseWorld:
    """``graph.FiniteWorld`` with sparse kernels: memory grows with the transitions that are possible, not with N².

    Raises
    ------
    ValueError
        If shapes disagree, an entry is negative or not finite, a row does not sum to 1 (the worst is named), or p has a
        zero (M̄ divides by √p).
    """

    transition: tuple[sparse.csr_array, ...]
    """A matrices (N, N) of float64 in CSR form, P(x'|x, a)."""
    context_law: NDArray[np.float64]
    """(N,) p(x) > 0"""
    policy: NDArray[np.float64]
    """(A,) π(a)"""

    def __post_init__(self) -> None:
        states = len(self.context_law)
        shapes = {matrix.shape for matrix in self.transition}
        if self.policy.shape != (len(self.transition),) or shapes != {(states, states)}:
            raise ValueError(
                f"expected a kernel (N, N) for each action, context_law (N,), policy (A,); got {len(self.transition)} "
                f"kernels of {sorted(shapes)}, {self.context_law.shape}, {self.policy.shape}"
            )
        for name, law in (("context_law", self.context_law), ("policy", self.policy)):
            _check_entries(name, law)
            if abs(law.sum() - 1) > _TOLERANCE:
                raise ValueError(f"{name} must sum to 1, got {law.sum():.9g}: divide it by its sum")
        for action, matrix in enumerate(self.transition):
            _check_kernel(f"transition[{action}]", matrix)
        if self.context_law.min() <= 0:
            raise ValueError(
                f"context_law must be positive everywhere, as M̄ divides by √p; {int((self.context_law <= 0).sum())} "
                f"observations have probability 0, the first is {int(self.context_law.argmin())}: leave them out"
            )

    @property
    def states(self) -> int:
        """N, the number of observations."""
        return len(self.context_law)

    @property
    def actions(self) -> int:
        """|A|, the number of actions."""
        return len(self.transition)


@dataclass(frozen=True)
class TopSingularValues:
    """Ritz values of a matrix M, what is proved of them, and what is not.

    With orthonormal V (N, k), MV = USWᵀ and V ← VW, so that MV = US and MᵀU − VS = E is orthogonal to V.

    *Certified, up to rounding.* (1) ``values[i]`` ≤ σ_{i+1}(M), as singular values of M on a subspace. (2) Some
    singular value lies within ``residuals[i]`` of ``values[i]``. (3) Some matching of all values above ``radius`` with
    *different* singular values is within ``radius`` (Parlett, The Symmetric Eigenvalue Problem, Theorem 11.5.1, for
    [[0, M], [Mᵀ, 0]]). (4) ``tail`` ≥ Σ_{i>k} σ_i².

    *Not certified: completeness.* No residual can tell whether the subspace missed a direction, so values[i] may belong
    to a later singular value than i + 1. Lanczos from one vector sees each distinct σ with probability 1, but further
    copies of a multiple σ only through rounding and restarts; on tori, whose σ come in fours and eights, the tests find
    all. *If* M is no larger than values[k−1] off the two subspaces, then σ_{i+1} ≤ values[i] + radius√2 by Weyl's
    inequality, and ``tail`` exceeds the true tail by at most ``tail_slack``.
    """

    values: NDArray[np.float64]
    """(k,) in decreasing order."""
    residuals: NDArray[np.float64]
    """(k,) √((‖Mv − su‖² + ‖Mᵀu − sv‖²)/2), of each pair of unit vectors."""
    radius: float
    """√Σ residuals²"""
    squared_norm: float
    """‖M‖²_F, exact."""
    converged: bool
    """Whether every residual is below 1e-8."""

    @property
    def tail(self) -> float:
        """‖M‖²_F − Σ values², an upper bound of Σ_{i>k} σ_i²; cancellation leaves about 1e-15 ‖M‖²_F."""
        return self.squared_norm - float((self.values**2).sum())

    @property
    def tail_slack(self) -> float:
        """Σ (values + b)² − values², b = radius√2: the true tail is ≥ tail − tail_slack, *if* nothing was missed."""
        reach = self.radius * np.sqrt(2)
        return float((2 * reach * self.values + reach**2).sum())


def next_law(world: SparseWorld, action: int) -> Float64[np.ndarray, " N"]:
    """Law of the next observation under one action, q_a(x') = Σ_x p(x) P(x'|x, a)."""
    return world.transition[action].T @ world.context_law


def normalised(world: SparseWorld, action: int) -> sparse.csr_array:
    """M̄(a) = D_p^{1/2} P(a) D_{q_a}^{-1/2} (arXiv:2606.27014, eq. 5, normalised), as sparse as P(a).

    Columns with q_a(x') = 0 are zero, as in ``graph.normalised_co_occurrence``. σ_1 = 1 with vectors √p and √q_a, which
    is a test of any solver.
    """
    kernel, law = world.transition[action], next_law(world, action)
    rows = np.repeat(np.sqrt(world.context_law), np.diff(kernel.indptr))
    columns = np.sqrt(np.where(law > 0, law, 1.0))[kernel.indices]
    return sparse.csr_array((kernel.data * rows / columns, kernel.indices, kernel.indptr), shape=kernel.shape)


def top_singular_values(matrix: sparse.csr_array, count: int, seed: int, iterations: int = 300) -> TopSingularValues:
    """The ``count`` largest singular values of a square sparse matrix, with residuals.

    Lanczos with implicit restarts on MᵀM (ARPACK), then one Rayleigh–Ritz step on M itself, which gives back the digits
    that squaring costs: values below √eps are accurate to their residual, not to √eps. Memory: 2 ``matrix`` and about
    (4 ``count`` + 100) N numbers.

    It stops after ``iterations`` restarts. What had converged then spans the subspace together with random directions,
    and ``converged`` is False: the residuals still say how far each value can be trusted.

    Raises
    ------
    ValueError
        If the matrix is not square or not finite, ``count`` outside 1 … N − 1, or ``iterations`` below 1.
    """
    states = matrix.shape[0]
    if matrix.shape != (states, states) or not np.isfinite(matrix.data).all():
        raise ValueError(f"expected a square matrix of finite entries, got shape {matrix.shape}")
    if not 1 <= count < states:
        raise ValueError(
            f"expected 1 ≤ count ≤ N − 1, got {count=} for N={states}: all of a spectrum is a dense problem, "
            "spectrum.singular_values"
        )
    if iterations < 1:
        raise ValueError(f"expected at least one restart, got {iterations=}")
    # Products with CSR run over rows in order; a transposed view would be CSC, which scatters.
    transposed = matrix.T.tocsr()
    basis = _leading_subspace(matrix, transposed, count, np.random.default_rng(seed), iterations)
    return _rayleigh_ritz(matrix, transposed, basis)


def _leading_subspace(
    matrix: sparse.csr_array, transposed: sparse.csr_array, count: int, generator: np.random.Generator, iterations: int
) -> Float64[np.ndarray, "N k"]:
    """Orthonormal basis of (nearly) the leading right singular space; converged vectors and random ones at worst."""
    states = len(matrix.indptr) - 1
    gram = LinearOperator(matrix.shape, matvec=lambda vector: transposed @ (matrix @ vector), dtype=np.float64)
    start = generator.normal(size=states)
    # 2k + 32 Lanczos vectors: at N = 10⁴, k = 64 faster than the customary 2k, whose restarts cost more than they save.
    vectors = min(states, 2 * count + 32)
    found: np.ndarray
    try:
        found = eigsh(gram, count, ncv=vectors, v0=start, maxiter=iterations)[1]
    except ArpackError as error:
        # Also a matrix of zeros ends here, as the Krylov space is empty. Only "no convergence" holds eigenvectors.
        kept: Any = getattr(error, "eigenvectors", None)
        found = np.empty((states, 0)) if kept is None else kept
    missing = generator.normal(size=(states, count - found.shape[1]))
    # One step of the power method: better than random, and no Ritz value can suffer.
    return np.linalg.qr(np.hstack([found, transposed @ (matrix @ missing)]))[0]


def _rayleigh_ritz(
    matrix: sparse.csr_array, transposed: sparse.csr_array, basis: Float64[np.ndarray, "N k"]
) -> TopSingularValues:
    image = matrix @ basis
    left, values, rotation = np.linalg.svd(image, full_matrices=False)
    right = basis @ rotation.T
    forward = matrix @ right - left * values
    backward = transposed @ left - right * values
    residuals = np.sqrt(((forward**2).sum(0) + (backward**2).sum(0)) / 2)
    return TopSingularValues(
        values=values,
        residuals=residuals,
        radius=float(np.linalg.norm(residuals)),
        squared_norm=float((matrix.data**2).sum()),
        converged=bool((residuals < _CONVERGED).all()),
    )


def _check_kernel(name: str, matrix: sparse.csr_array) -> None:
    if matrix.format != "csr" or matrix.dtype != np.float64 or not matrix.has_canonical_format:
        raise ValueError(
            f"expected {name} in CSR form, float64, without repeated entries; got {matrix.format}, {matrix.dtype}: "
            "use .tocsr().astype(float) and .sum_duplicates()"
        )
    _check_entries(name, matrix.data)
    departure = np.abs(matrix.sum(axis=1) - 1)
    worst = int(departure.argmax())
    if departure[worst] > _TOLERANCE:
        raise ValueError(
            f"every row of {name} must sum to 1; row {worst} is off by {departure[worst]:.2e}: divide it by its sum"
        )


def _check_entries(name: str, entries: np.ndarray) -> None:
    wrong = ~np.isfinite(entries) | (entries < 0)
    if wrong.any():
        raise ValueError(f"{name} must hold probabilities ≥ 0, got {entries[wrong][0]} among {int(wrong.sum())} such")

"""What a law is, with the cells (k, n) that it is fitted to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from jepa_scale.records import RunTable
from jepa_scale.shapes import Float64, Int64

TARGETS = ("risk", "regret")


@dataclass(frozen=True)
class Cells:
    """The runs of one target grouped by (k, n), one entry per cell, sorted by n, then k."""

    target: str
    k: Float64[np.ndarray, " cells"]
    n: Float64[np.ndarray, " cells"]
    mean: Float64[np.ndarray, " cells"]
    """Mean of the target over seeds."""
    sd: Float64[np.ndarray, " cells"]
    """Standard deviation over seeds (ddof 1); NaN for one seed."""
    seeds: Int64[np.ndarray, " cells"]
    """Number of finished runs."""
    tail: Float64[np.ndarray, " cells"]
    """Σ_{i>k} σ_i², mean over actions: a property of the world; NaN where the world is not exact."""
    values: tuple[Float64[np.ndarray, " _"], ...]
    """The target of each run, by cell."""
    seed_labels: tuple[Int64[np.ndarray, " _"], ...]
    """The seed of each run, in the order of ``values``: runs with one seed share data order and initialisation."""
    excluded: tuple[str, ...]
    """One sentence for each cell or run left out."""

    def __len__(self) -> int:
        return len(self.k)

    @property
    def runs(self) -> int:
        """Finished runs in all cells."""
        return int(self.seeds.sum())


def cells_from_table(table: RunTable, target: str, saturation: float = 0.9) -> Cells:
    """Group the finished runs with a finite ``target`` by (k, n).

    Regret cannot exceed what random plans reach, so a cell near that level says how the scale ends, not how the law
    bends: kept in a fit, saturated cells pull p and q of the theory-shaped law towards 0. A cell is left out if
    its mean regret is at least ``saturation`` × mean ``regret_random`` of its runs; cells without a finite
    ``regret_random`` are kept. ``saturation=inf`` keeps every cell; risk has no ceiling and is never left out.

    Raises
    ------
    ValueError
        If ``target`` is not "risk" or "regret", or ``saturation`` is not positive.
    """
    check_target(target)
    if not saturation > 0:
        raise ValueError(f"expected a positive saturation (a share of regret_random), got {saturation=}")
    k, n = table["k"].astype(float), table["n"].astype(float)
    value, tail = table[target].astype(float), table["tail"].astype(float)
    ceiling = table["regret_random"].astype(float)
    usable = (table["status"] == "finished") & np.isfinite(value)
    excluded = [_why_unusable(table, int(row), target) for row in np.flatnonzero(~usable)]
    groups = []
    for cell_n, cell_k in sorted(set(zip(n[usable], k[usable], strict=True))):
        rows = np.flatnonzero(usable & (k == cell_k) & (n == cell_n))
        random = finite_mean(ceiling[rows])
        mean = value[rows].mean()
        if target == "regret" and mean >= saturation * random:
            excluded.append(
                f"k={cell_k:.0f}, n={cell_n:.0f}: mean regret {mean:.2g} is {mean / random:.0%} of the random floor "
                f"{random:.2g} (saturated)".replace("%", " %")
            )
        else:
            groups.append(rows)
    return Cells(
        target=target,
        k=np.array([k[rows[0]] for rows in groups]),
        n=np.array([n[rows[0]] for rows in groups]),
        mean=np.array([value[rows].mean() for rows in groups]),
        sd=np.array([value[rows].std(ddof=1) if len(rows) > 1 else np.nan for rows in groups]),
        seeds=np.array([len(rows) for rows in groups], dtype=np.int64),
        tail=np.array([finite_mean(tail[rows]) for rows in groups]),
        values=tuple(value[rows] for rows in groups),
        seed_labels=tuple(table["seed"][rows].astype(np.int64) for rows in groups),
        excluded=tuple(excluded),
    )


def check_target(target: str) -> None:
    """Refuse a target that no law describes.

    Raises
    ------
    ValueError
        If ``target`` is not "risk" or "regret".
    """
    if target not in TARGETS:
        raise ValueError(f"expected target to be one of {TARGETS}, got {target!r}")


def finite_mean(values: Float64[np.ndarray, " rows"]) -> float:
    """Return the mean of the finite entries; NaN if there is none."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")


def _why_unusable(table: RunTable, row: int, target: str) -> str:
    where = f"k={int(table['k'][row])}, n={int(table['n'][row])}, seed={int(table['seed'][row])}"
    if table["status"][row] != "finished":
        return f"{where}: {table['status'][row]}: {table['reason'][row]}"
    return f"{where}: finished without a finite {target}"


@dataclass(frozen=True)
class Shape:
    """A parameter in which a law is not linear, for example an exponent."""

    name: str
    term: str
    """Coefficient of the term that it shapes: where that coefficient is 0, this parameter is not identified."""
    low: float
    high: float
    theory: float | None = None
    """What the theory predicts for it."""
    fixed: float | None = None
    """Its value where it is not fitted."""
    needs_interior_optimum: bool = False
    """Whether only an optimum in k inside the grid tests it."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"expected bounds low < high for {self.name}, got low={self.low}, high={self.high}")

    def starts(self, points: int = 17) -> Float64[np.ndarray, " points"]:
        """Grid of starting values: geometric where the bounds are positive, else even; one point if fixed."""
        if self.fixed is not None:
            return np.array([self.fixed])
        spacing = np.geomspace if self.low > 0 else np.linspace
        return spacing(self.low, self.high, points)


class Law(ABC):
    """A separable law R^(1/m) = Σ_j c_j φ_j(k, n, tail; ψ), with coefficients c_j ≥ 0 and shapes ψ within bounds.

    A new law is one file with one subclass and one YAML in ``conf/law``. It states its formula, its terms, its shapes
    and the basis φ; predictions, fits, bootstraps and forecasts follow from these. Subclasses are frozen dataclasses.
    """

    name: str
    """Short name, as in ``LawFit.law``."""

    @property
    @abstractmethod
    def terms(self) -> tuple[str, ...]:
        """Names of the coefficients c_j."""

    @property
    @abstractmethod
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes ψ, fixed ones included."""

    @property
    def uses_tail(self) -> bool:
        """Whether φ depends on the measured tail."""
        return False

    @abstractmethod
    def formula(self, target: str) -> str:
        """Return the formula as text."""

    def power(self, target: str) -> float:
        """Return m of R = (Σ_j c_j φ_j)^m."""
        del target  # most laws treat both targets alike
        return 1.0

    @abstractmethod
    def basis(
        self,
        shape: Float64[np.ndarray, "*draws shapes"],
        k: Float64[np.ndarray, "*#cells"],
        n: Float64[np.ndarray, "*#cells"],
        tail: Float64[np.ndarray, "*#cells"],
    ) -> Float64[np.ndarray, "*draws cells terms"]:
        """Return φ_j ≥ 0 for each row of shapes, cell and term."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all parameters θ: coefficients, then shapes."""
        return (*self.terms, *(shape.name for shape in self.shapes))

    def predict(
        self,
        theta: Float64[np.ndarray, "*draws parameters"],
        k: Float64[np.ndarray, " cells"],
        n: Float64[np.ndarray, " cells"],
        tail: Float64[np.ndarray, " cells"],
        target: str,
    ) -> Float64[np.ndarray, "*draws cells"]:
        """Return R(k, n) for parameters in the formula's natural units, ordered as ``names``.

        Raises
        ------
        ValueError
            If ``theta`` does not end in one entry per parameter.
        """
        theta = np.asarray(theta, dtype=np.float64)
        if theta.shape[-1] != len(self.names):
            raise ValueError(f"expected {len(self.names)} parameters {self.names}, got {theta.shape[-1]}")
        coefficients, shape = theta[..., : len(self.terms)], theta[..., len(self.terms) :]
        phi = self.basis(shape, np.asarray(k, float), np.asarray(n, float), np.asarray(tail, float))
        return np.einsum("...ct,...t->...c", phi, coefficients) ** self.power(target)

"""Rows that a law is fitted to: named columns, a target, and clusters of rows that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jepa_scale.laws.law import Law
from jepa_scale.shapes import Float64, Int64

if TYPE_CHECKING:
    from jepa_scale.laws.general import GeneralLaw


@dataclass(frozen=True)
class Rows:
    """Observations of one target with the columns that a law reads."""

    columns: Mapping[str, Float64[np.ndarray, " rows"]]
    """Columns that the law reads, by name."""
    target: Float64[np.ndarray, " rows"]
    weight: Float64[np.ndarray, " rows"]
    """Weights ≥ 0; a row of weight 2 counts as two rows."""
    cluster: Int64[np.ndarray, " rows"]
    """Configuration of each row, 0 … clusters − 1; a bootstrap draws the rows of one together."""
    episodes: Float64[np.ndarray, " rows"] | None = None
    """Number of trials behind a rate, for binomial losses."""

    def __len__(self) -> int:
        return len(self.target)

    @property
    def clusters(self) -> int:
        """Number of configurations."""
        return int(self.cluster.max()) + 1 if len(self) else 0

    def where(self, mask: np.ndarray) -> Rows:
        """Return the rows where ``mask`` is true, clusters numbered anew."""
        return Rows(
            {name: column[mask] for name, column in self.columns.items()},
            self.target[mask],
            self.weight[mask],
            np.unique(self.cluster[mask], return_inverse=True)[1],
            None if self.episodes is None else self.episodes[mask],
        )

    @classmethod
    def of(
        cls,
        law: Law | GeneralLaw,
        columns: Mapping[str, np.ndarray],
        *,
        cluster: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        episodes: np.ndarray | None = None,
    ) -> Rows:
        """Take a law's columns and target from a table.

        Rows with the same values in all columns of the law are one configuration unless ``cluster`` says otherwise.

        Raises
        ------
        ValueError
            If a column is missing, has no finite number in some row, or is not positive where it stands to a power.
        """
        wanted = (*law.columns, law.target)
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ValueError(
                f"{law.formula!r} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}; the table has "
                f"{', '.join(map(str, columns))}: rename with NAME=COLUMN"
            )
        picked = {name: _numbers(name, columns[name]) for name in wanted}
        if isinstance(law, Law):
            _check_positive(law, picked)
        else:
            _check_above_zero(law, picked)
        if cluster is None:
            cluster = np.stack([picked[name] for name in law.columns], axis=1)
            cluster = np.unique(cluster, axis=0, return_inverse=True)[1].reshape(-1)
        else:
            cluster = np.unique(np.asarray(cluster), return_inverse=True)[1].reshape(-1)
        count = len(picked[law.target])
        weights = np.ones(count) if weight is None else _numbers("weight", weight)
        if (weights < 0).any() or not (weights > 0).any():
            raise ValueError(
                f"expected weights ≥ 0, some above 0, got {weights.min():g} in row {int(weights.argmin())}"
            )
        rows = cls(
            {name: picked[name] for name in law.columns},
            picked[law.target],
            weights,
            cluster,
            None if episodes is None else _numbers("episodes", episodes),
        )
        return rows if (weights > 0).all() else rows.where(weights > 0)


def _numbers(name: str, values: np.ndarray) -> Float64[np.ndarray, " rows"]:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"expected numbers in column {name}, got {np.asarray(values).ravel()[:1].tolist()}") from None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ValueError(f"column {name} is not finite in {len(bad)} of {len(numbers)} rows, first in row {bad[0]}")
    return numbers


def _check_above_zero(law: GeneralLaw, columns: Mapping[str, np.ndarray]) -> None:
    for name in law.columns:
        smallest = columns[name].min(initial=np.inf)
        if smallest <= 0:
            raise ValueError(
                f"column {name} is {smallest:g} in row {int(columns[name].argmin())}, but {law.formula!r} reads it: "
                "expected values above 0"
            )


def _check_positive(law: Law, columns: Mapping[str, np.ndarray]) -> None:
    for term in law.parsed.terms:
        for power in term.powers:
            smallest = columns[power.column].min(initial=np.inf)
            # A measured tail is 0 beyond the rank of its world, and stands to the power 1.
            plain = isinstance(power.exponent, float) and power.sign > 0
            if smallest < 0 or (smallest == 0 and not plain):
                row = int(columns[power.column].argmin())
                raise ValueError(
                    f"column {power.column} is {smallest:g} in row {row}, but {law.formula!r} takes a power of it: "
                    "expected values above 0"
                )
    if isinstance(law.parsed.ceiling, str) and columns[law.parsed.ceiling].min(initial=np.inf) <= 0:
        raise ValueError(f"expected a ceiling above 0 in column {law.parsed.ceiling}")

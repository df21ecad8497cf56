"""Sepsis treatment in intensive care: a finite decision process that was estimated from hospital records."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np

from jepa_scale.foreign import reading
from jepa_scale.shapes import Float64
from jepa_scale.worlds.base import ExactWorld

DISTRIBUTION = "icu-sepsis"
FILE = "dynamics.npz"
_WHOLE = f"the arrays of {DISTRIBUTION}, as pip installs them"


@dataclass(frozen=True)
class IcuSepsis(ExactWorld):
    """ICU-Sepsis (Choudhary et al. 2024): 713 patient states, death, survival and the end; 25 treatments.

    The kernel is the package's, which was estimated from MIMIC-III; it is not raw trajectories, and whatever is
    measured here is about that estimate. Only its end state is changed: it was absorbing, and here leads to the start
    law d_0 under every action, so that one admission follows another. The behaviour chain then has a stationary law,
    that of the transitions of ward after ward of patients treated at random, and every state is in it.

    Neither treatment 0 nor any other is said to do nothing: leaving a patient untreated is a decision with its own law.

    The file is read with numpy; the package is never imported, so ``pip install --no-deps icu-sepsis`` is enough and
    spares the old gym, pandas and scikit-learn. The resolution of observations is exact: no sensor noise is added.

    Raises
    ------
    ValueError
        If the package is absent, or its file is not what it was.
    """

    centroids: bool = True
    """See a state as its cluster centre, 47 clinical measurements each scaled to mean 0 and variance 1 over the states,
    and three flags for death, survival and the end, whose centres are all 0; one-hot otherwise."""

    def __post_init__(self) -> None:
        with reading(_file(), _WHOLE), np.load(_file()) as held:
            missing = {"tx_mat", "d_0", "state_cluster_centers"} - set(held.files)
        if missing:
            raise ValueError(
                f"expected {', '.join(sorted(missing))} in {DISTRIBUTION}'s {FILE}, got a file without: "
                "pip install --no-deps 'icu-sepsis>=2,<3'"
            )

    def kernel(self) -> Float64[np.ndarray, "A N N"]:
        """P(x'|x, a)."""
        with reading(_file(), _WHOLE), np.load(_file()) as held:
            # By action first, contiguous: a transposed view would slow every product with it down.
            kernel = np.ascontiguousarray(held["tx_mat"].swapaxes(0, 1))
            start = held["d_0"]
        every = np.arange(kernel.shape[1])
        absorbing = np.flatnonzero((kernel[:, every, every] == 1).all(0))
        if len(absorbing) != 1:
            raise ValueError(
                f"expected one absorbing state in {DISTRIBUTION}'s {FILE}, got {len(absorbing)}: "
                "pip install --no-deps 'icu-sepsis>=2,<3'"
            )
        kernel[:, absorbing[0]] = start / start.sum()
        return kernel

    @cached_property
    def observations(self) -> Float64[np.ndarray, "N D"]:
        """Cluster centres and flags, or one-hot vectors."""
        if not self.centroids:
            return np.eye(self.finite.states)
        with reading(_file(), _WHOLE), np.load(_file()) as held:
            centres = held["state_cluster_centers"]
        bare = np.flatnonzero((centres == 0).all(1))
        flags = (np.arange(len(centres))[:, None] == bare[None]).astype(np.float64)
        spread = centres.std(0)
        return np.hstack([(centres - centres.mean(0)) / np.where(spread > 0, spread, 1.0), flags])


def _file() -> Path:
    """Where the installed distribution keeps its dynamics, found without importing it."""
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        raise ValueError(
            f"the world icu_sepsis needs the data of {DISTRIBUTION}, which is absent: pip install --no-deps "
            f"{DISTRIBUTION} (its dependencies are not used), or pip install 'jepa-scale[icu]' with all of them"
        ) from None
    found = [Path(str(file.locate())) for file in files if file.name == FILE]
    if not found or not found[0].is_file():
        raise ValueError(
            f"expected {FILE} among the files of {DISTRIBUTION}, got none: pip install --no-deps --force-reinstall "
            f"{DISTRIBUTION}"
        )
    return found[0]

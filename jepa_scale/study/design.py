"""Design points of a study: one resolved configuration per cell of the grid and seed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jepa_scale.runs.config import compose, with_values
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id
from jepa_scale.study.spec import StudySpec

if TYPE_CHECKING:
    from jepa_scale.study.sampler import ScalingDesignSampler


@dataclass(frozen=True)
class DesignPoint:
    """One run of a study."""

    n: int
    k: int
    seed: int
    config: Mapping[str, Any]
    run_id: str

    def folder(self, study: Path) -> RunFolder:
        """Its run folder inside the study."""
        return RunFolder(study / "runs" / self.run_id)

    def __str__(self) -> str:
        return f"n={self.n}, k={self.k}, seed={self.seed}"


def design(spec: StudySpec) -> list[DesignPoint]:
    """Resolve every run, a whole replicate of the grid before the next seed.

    Wide models come first inside a replicate, so that the last runs of a study are short ones and no core waits.

    Raises
    ------
    UserError
        If any run's configuration is wrong, before anything has run.
    """
    base = compose(list(spec.overrides))
    if "planning" not in base["callbacks"]:
        raise UserError(f"study {spec.name}: a study is about regret and needs callbacks.planning; drop callbacks=…")
    # Imported here: it is what brings torch, which a mistake in the file should not wait for.
    from jepa_scale.runs.run import preflight

    preflight(base)
    points = []
    grid = itertools.product(spec.seeds, sorted(spec.dials["model.k"], reverse=True), spec.dials["data.n"])
    extra = ((one["seed"], one["model.k"], one["data.n"]) for one in spec.extra)
    for seed, k, n in dict.fromkeys([*grid, *extra]):
        try:
            config = with_values(base, {"data.n": n, "model.k": k, "seed": seed})
        except UserError as error:
            raise UserError(f"study {spec.name}, n={n}, k={k}, seed={seed}: {error}") from None
        points.append(DesignPoint(n, k, seed, config, run_id(config)))
    return points


def design_sampler(spec: StudySpec) -> ScalingDesignSampler | None:
    """Return the sampler of a study that chooses its cells; None for a grid."""
    if spec.design is None:
        return None
    # Imported here: only such a study needs it.
    from jepa_scale.laws.adaptive import DesignSettings
    from jepa_scale.study.sampler import Budget, ScalingDesignSampler

    settings = DesignSettings(
        widths=spec.dials["model.k"],
        sizes=spec.dials["data.n"],
        target_k=spec.design["model.k"],
        target_n=spec.design["data.n"],
        cap=len(spec.seeds),
        tolerance=float(spec.design.get("tolerance", 0.0)),
    )
    return ScalingDesignSampler(settings, Budget(spec.design.get("runs"), spec.design.get("hours")))

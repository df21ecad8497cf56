"""Building the record of a run from its logged estimates and its model."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch

import jepa_scale
from jepa_scale.callbacks.base import Exact, tabulate
from jepa_scale.callbacks.bounds import bounds_of
from jepa_scale.callbacks.planning import floors_of
from jepa_scale.callbacks.tasks import protocol_of
from jepa_scale.models.size import flops_per_step, parameters
from jepa_scale.records import BoundValue, RunRecord
from jepa_scale.records.quantities import MEASURED
from jepa_scale.runs.build import Parts
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.identity import run_id
from jepa_scale.theory.spectrum import spectral_gap, spectral_tail


def record_of(
    config: Mapping[str, Any], folder: RunFolder, parts: Parts, times: Mapping[str, float | str]
) -> RunRecord:
    """Build the record of a run that has ended: its last epoch's estimates, dials, bounds and truth."""
    module, context = parts.module, parts.context
    rows = [row for row in folder.read_metrics() if isinstance(row["value"], float | int)]
    last = max((row["epoch"] for row in rows), default=-1)
    final = {row["name"]: row for row in rows if row["epoch"] == last} if not module.diverged else {}
    earlier = module.epochs_before - 1
    before = {row["name"]: row for row in rows if row["epoch"] == earlier}
    read = {quantity.halfway.format(score=config["planner"].get("score")) for quantity in MEASURED if quantity.halfway}
    middle = earlier + (last - earlier) // 2
    halfway = {row["name"]: row["value"] for row in rows if row["epoch"] == middle and row["name"] in read}
    known = context.exact
    bounds = () if module.diverged or known is None else bounds_of(known, tabulate(module, known.world))
    return RunRecord(
        run_id=run_id(config),
        config=dict(config),
        status="diverged" if module.diverged else "finished",
        reason=module.diverged,
        dials={
            "n": config["data"]["n"],
            "episodes": parts.data.episodes,
            "k": config["model"]["k"],
            "seed": config["seed"],
            "parameters": parameters(module.encoder, module.predictor),
            "flops_per_step": _flops(config, parts),
        },
        final={name: row["value"] for name, row in final.items()},
        final_standard_errors={name: row["standard_error"] for name, row in final.items()},
        final_n={name: row["n"] for name, row in final.items()},
        pretrained={name: row["value"] for name, row in before.items()},
        pretrained_standard_errors={name: row["standard_error"] for name, row in before.items()},
        halfway=halfway if final and middle > earlier else {},
        bounds=[_bound(bound) for bound in bounds],
        truth={} if known is None else _truth(known, context.k),
        spectrum={} if module.diverged else _spectrum(folder, last),
        versions=versions(),
        data_checksum=parts.data.checksum,
        times=dict(times),
        protocol=protocol_of(context),
    )


def _flops(config: Mapping[str, Any], parts: Parts) -> int:
    batch, module = parts.data.windows.take(torch.zeros(1, dtype=torch.int64)), parts.module
    sizes = config["data"]["batch_size"], config["data"]["horizon"]
    row = batch.observations[:, 0].to(module.device), batch.actions[:, 0].to(module.device)
    return flops_per_step(module.encoder, module.predictor, *sizes, *row)


def _bound(bound: BoundValue) -> dict[str, Any]:
    return {
        "name": bound.name,
        "label": bound.label,
        "value": bound.value,
        "vacuous": bound.vacuous,
        "applies": bound.applies,
        "hypotheses": [
            {"statement": item.statement, "holds": item.holds, "detail": item.detail} for item in bound.hypotheses
        ],
    }


def _truth(exact: Exact, k: int) -> dict[str, Any]:
    truth, values = exact.truth, exact.truth.singular_values
    known = {
        "tail": float(spectral_tail(values, k).mean()),
        "tail_max": float(spectral_tail(values, k).max()),
        "shared_tail": float(spectral_tail(truth.stacked, k)),
        "squared_norm": float((values**2).sum(-1).mean()),
        "singular_values": values.mean(0).tolist(),
    }
    if k <= values.shape[-1]:
        known["gap"] = float(spectral_gap(values, k).mean())
    return known | {f"regret_{name}": value for name, value in floors_of(exact).items()}


def _spectrum(folder: RunFolder, last: int) -> dict[str, list[float]]:
    """Singular values of the learned features in the last epoch, exact and estimated, as means over actions."""
    spectra: dict[str, list[Any]] = {"learned": [], "estimated": [], "estimated_standard_error": []}
    for row in folder.read_metrics():
        if row["epoch"] != last or not row["name"].endswith("/singular_values") or row["value"] is None:
            continue
        if row["name"].startswith("exact/action_"):
            spectra["learned"].append(row["value"])
        elif row["name"].startswith("spectrum/"):
            spectra["estimated"].append(row["value"])
            spectra["estimated_standard_error"].append(row["standard_error"])
    return {name: np.mean(np.array(values, dtype=float), axis=0).tolist() for name, values in spectra.items() if values}


def versions() -> dict[str, str]:
    """Versions of the software that a record's numbers may depend on."""
    return {
        "jepa_scale": jepa_scale.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": L.__version__,
        "numpy": np.__version__,
    }

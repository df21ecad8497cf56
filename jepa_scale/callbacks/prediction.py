"""Prediction error by horizon on held-out trajectories."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import lightning as L
import numpy as np
import torch

from jepa_scale import processes
from jepa_scale.callbacks.base import Context, EpochCallback
from jepa_scale.callbacks.offline import offline_estimates, taken
from jepa_scale.estimators.horizon import RelativeErrors, relative_errors
from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.records import Estimate, Trajectories
from jepa_scale.training.world_model import WorldModel

_MOST = 1024
"""Most windows used: the standard error of a mean over so many is a thirtieth of their spread."""
_AT_ONCE = 128
"""Windows of images held as floats at a time."""
CONSTANT = "constant"
"""Flag of errors relative to constant targets, as when an encoder has collapsed."""


@dataclass(frozen=True)
class PredictionErrors:
    """Relative squared errors of the model, and of predicting no change from the start."""

    model: RelativeErrors
    copy: RelativeErrors


def horizon_of(context: Context, module: WorldModel, trajectories: Trajectories) -> int:
    """Horizon T: twice the longer of a plan and a training window, at most the longest run of usable transitions."""
    planned = int(getattr(context.planner, "horizon", 1))
    longest = min(2 * max(planned, module.horizon), trajectories.actions.shape[1])
    return next((steps for steps in range(longest, 1, -1) if len(_windows(trajectories, steps)[0])), 1)


@torch.no_grad()
def prediction_errors(module: WorldModel, trajectories: Trajectories, horizon: int) -> PredictionErrors:
    """E‖ẑ_t − f(x_t)‖² / E‖f(x_t) − mean f‖² for t = 1 … ``horizon``, and that of ẑ_t = f(x_0); the mean reaches 1.

    ẑ_t is rolled out from f(x_0) under the actions that were taken, over windows of trajectories that do not overlap.
    Both sides are read out where planners measure distances: a decoder's output is compared with the observation.

    Raises
    ------
    NotFiniteError
        If a prediction is not a number.
    ValueError
        If no window is usable.
    """
    rows, begins = _windows(trajectories, horizon)
    if not len(rows):
        raise ValueError(f"expected held-out trajectories with {horizon} transitions in a row, got none")
    blocks = [slice(first, first + _AT_ONCE) for first in range(0, len(rows), _AT_ONCE)]
    parts = processes.spread(
        [partial(_compared, module, trajectories, rows[block], begins[block], horizon) for block in blocks]
    )
    errors, copies, target = (torch.cat([part[name] for part in parts]) for name in ("model", "copy", "target"))
    if not bool(errors.isfinite().all()):
        raise NotFiniteError(f"expected predictions that are numbers over {horizon} steps, got NaN or ∞")
    # Rounding of an encoder that answers with a constant is not spread.
    centred = (target - target.mean(0)).square().sum(-1)
    spread = torch.where(centred > 1e-10 * target.square().sum(-1), centred, 0.0).numpy()
    groups = np.asarray(trajectories.groups)[rows].astype(np.int64)
    return PredictionErrors(
        relative_errors(errors.numpy(), spread, groups),
        relative_errors(copies.numpy(), spread, groups),
    )


@torch.no_grad()
def _compared(
    module: WorldModel, trajectories: Trajectories, rows: np.ndarray, begins: np.ndarray, horizon: int
) -> dict[str, torch.Tensor]:
    """Squared errors of the model and of the copy, (B, T), and their targets, (B, T, …), for some windows."""
    steps = begins[:, None] + np.arange(horizon + 1)
    observed = torch.as_tensor(taken(trajectories.observations, rows, steps), device=module.device)
    actions = torch.as_tensor(trajectories.actions[rows[:, None], steps[:, :-1]], device=module.device)
    latents = module.encode(observed.flatten(0, 1)).unflatten(0, observed.shape[:2])
    predicted = module.readout(module.roll_out(latents[:, 0], actions)).double()
    seen = module.goal(observed, latents).double()
    return {
        "model": (predicted - seen[:, 1:]).square().sum(-1).cpu(),
        "copy": (seen[:, :1] - seen[:, 1:]).square().sum(-1).cpu(),
        "target": seen[:, 1:].cpu(),
    }


def _windows(trajectories: Trajectories, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Trajectory and first step of windows with only usable transitions, spread over the trajectories."""
    count, length = trajectories.actions.shape[:2]
    starts = np.arange(0, length - horizon + 1, horizon)
    usable = np.ones((count, length), bool) if trajectories.usable is None else trajectories.usable
    whole = np.stack([usable[:, start : start + horizon].all(1) for start in starts], axis=1)
    rows, places = np.nonzero(whole)
    kept = np.linspace(0, max(len(rows) - 1, 0), min(len(rows), _MOST)).round().astype(int)
    return rows[kept], starts[places[kept]]


def prediction_estimates(
    module: WorldModel, trajectories: Trajectories, horizon: int, epoch: int, step: int
) -> list[Estimate]:
    """Estimates ``prediction/[copy/]horizon_t``; n counts windows, standard errors are over trajectories."""
    errors_by_horizon = prediction_errors(module, trajectories, horizon)
    rows = []
    for name, errors in (("prediction", errors_by_horizon.model), ("prediction/copy", errors_by_horizon.copy)):
        for place in range(horizon):
            value, error = float(errors.value[place]), float(errors.standard_error[place])
            missing = math.isnan(value)
            rows.append(
                Estimate(
                    f"{name}/horizon_{place + 1}",
                    None if missing else value,
                    None if math.isnan(error) else error,
                    errors.windows,
                    epoch,
                    step,
                    CONSTANT if missing else "",
                )
            )
    return rows


def without_environment(
    context: Context, module: WorldModel, trajectories: Trajectories, epoch: int, step: int
) -> list[Estimate]:
    """Estimates of predictions by horizon and, where there is no exact truth, those of ``offline``."""
    horizon = horizon_of(context, module, trajectories)
    rows = prediction_estimates(module, trajectories, horizon, epoch, step)
    if context.exact is None:
        rows += offline_estimates(module, trajectories, _windows(trajectories, horizon), horizon, epoch, step)
    return rows


class PredictionCallback(EpochCallback):
    """Log the prediction error by horizon after the last epoch, in any world.

    Where there is no exact truth, also what ``offline`` measures: predicted observations and plans in hindsight.
    """

    def estimates(self, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        """Return one estimate for each step of the horizon, of the model and of predicting no change."""
        if trainer.current_epoch + 1 != trainer.max_epochs:
            return []
        heldout: Trajectories = trainer.datamodule.heldout  # type: ignore[attr-defined]
        return without_environment(self.context, module, heldout, trainer.current_epoch, trainer.global_step)

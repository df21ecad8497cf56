"""Errors that need no environment and compare objectives: predicted observations, and plans in hindsight."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from jepa_scale.data.alignment.features import numbers
from jepa_scale.estimators.dictionary import RandomFeatures
from jepa_scale.estimators.horizon import RelativeErrors, relative_errors
from jepa_scale.records import Estimate, Trajectories
from jepa_scale.streams import stream_seed
from jepa_scale.training.world_model import WorldModel

_COORDINATES = 64
"""Largest number of coordinates of observations that are read out; more are projected at random."""
_FEATURES = 64
"""Random features of a latent that the readout may use beside its coordinates."""
_PENALTIES = (1e-6, 1e-4, 1e-2, 1.0, 100.0)
_AT_ONCE = 128
"""Windows of images held as floats at a time."""
_ALTERNATIVES = 16
"""Other plans that a recorded one is ranked among."""
_RANKED = 256
"""Largest number of windows whose plans are ranked."""

Table = NDArray[np.float64]


def offline_estimates(
    module: WorldModel,
    trajectories: Trajectories,
    windows: tuple[NDArray[np.int64], NDArray[np.int64]],
    horizon: int,
    epoch: int,
    step: int,
) -> list[Estimate]:
    """Estimates ``observed/{model,encoder,copy}/horizon_t``, their means over t, and ``hindsight/rank``.

    Changes x_t − x_0 of observations are read out of latents by ridge regression on them and on random features of
    them, for each t, fitted on half of the trajectories and used on the other half, both ways. ``model`` reads them out
    of f(x_0) and ẑ_t, rolled out from x_0; ``encoder`` out of f(x_0) and f(x_t), which no predictor can better;
    ``copy`` predicts no change. All are shares of the variance of x_t − x_0, in the same space whatever the objective
    and the width: 0 is perfect, 1 knows the mean change only. That ẑ_t and f(x_t) agree is not asked.

    ``hindsight/rank`` is the share of other recorded action sequences whose predicted end lies farther from f(x_T) than
    that of the actions which did lead to x_T; by chance it is a half.

    Parameters
    ----------
    module
        Model, in evaluation mode.
    trajectories
        Held out.
    windows
        Trajectory and first step of each window.
    horizon
        T, steps of a window.
    epoch, step
        Of the estimates.
    """
    rows, begins = windows
    groups = np.asarray(trajectories.groups)[rows].astype(np.int64)
    seen, encoded, rolled = _read(module, trajectories, rows, begins, horizon)
    estimates: list[Estimate] = []
    errors = _observed(seen, encoded, rolled, groups)
    for name, found in errors.items():
        for place in range(horizon):
            value, error = float(found.value[place]), float(found.standard_error[place])
            estimates.append(
                _estimate(f"observed/{name}/horizon_{place + 1}", value, error, found.windows, epoch, step)
            )
        # Of one set of windows: errors at several steps are as good as the same one.
        mean, spread = float(np.mean(found.value)), float(np.mean(found.standard_error))
        estimates.append(_estimate(f"observed/{name}/mean", mean, spread, found.windows, epoch, step))
    ranked = _ranks(module, trajectories, rows, begins, groups, horizon)
    if ranked is not None:
        estimates.append(_estimate("hindsight/rank", *ranked, epoch, step))
    return estimates


def _estimate(name: str, value: float, error: float, n: int, epoch: int, step: int) -> Estimate:
    missing = not math.isfinite(value)
    return Estimate(
        name, None if missing else value, None if missing or not math.isfinite(error) else error, n, epoch, step
    )


@torch.no_grad()
def _read(
    module: WorldModel,
    trajectories: Trajectories,
    rows: NDArray[np.int64],
    begins: NDArray[np.int64],
    horizon: int,
) -> tuple[Table, Table, Table]:
    """Return coordinates of observations (W, T+1, D), latents (W, T+1, k) and predicted latents (W, T, k)."""
    parts = []
    for first in range(0, len(rows), _AT_ONCE):
        block = slice(first, first + _AT_ONCE)
        steps = begins[block, None] + np.arange(horizon + 1)
        observed = taken(trajectories.observations, rows[block], steps)
        flat = observed.reshape(-1, *observed.shape[2:])
        coordinates = numbers(flat, np.arange(len(flat))).reshape(*observed.shape[:2], -1)
        actions = torch.as_tensor(trajectories.actions[rows[block, None], steps[:, :-1]], device=module.device)
        latents = _encoded(module, observed)[1]
        rolled = module.roll_out(latents[:, 0], actions)
        parts.append((coordinates, latents.double().cpu().numpy(), rolled.double().cpu().numpy()))
    seen, encoded, predicted = (np.concatenate(one) for one in zip(*parts, strict=True))
    return _standard(seen), encoded, predicted


def _encoded(module: WorldModel, observed: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return windows of observations (B, H, *shape) on the model's device, and their latents (B, H, k)."""
    batch = torch.as_tensor(observed, device=module.device)
    return batch, module.encode(batch.flatten(0, 1)).unflatten(0, batch.shape[:2])


def taken(observations: np.ndarray, rows: NDArray[np.int64], steps: NDArray[np.int64]) -> np.ndarray:
    """Observations (B, H+1, *shape) at given steps, from arrays or from sources that give only whole trajectories."""
    whole, place = np.unique(rows, return_inverse=True)
    return np.asarray(observations[whole])[place[:, None], steps]


def _standard(seen: Table) -> Table:
    flat = np.nan_to_num(seen.reshape(-1, seen.shape[-1]))
    if flat.shape[1] > _COORDINATES:
        generator = np.random.default_rng(stream_seed(0, "observed"))
        flat = flat @ generator.normal(size=(flat.shape[1], _COORDINATES)) / np.sqrt(flat.shape[1])
    deviation = flat.std(axis=0)
    kept = deviation > 1e-6 * np.maximum(1e-12, np.abs(flat).max(axis=0))
    return ((flat[:, kept] - flat[:, kept].mean(axis=0)) / deviation[kept]).reshape(*seen.shape[:2], -1)


def _observed(seen: Table, encoded: Table, rolled: Table, groups: NDArray[np.int64]) -> dict[str, RelativeErrors]:
    change = seen[:, 1:] - seen[:, :1]
    spread = np.square(change - change.mean(axis=0)).sum(-1)
    start = np.broadcast_to(encoded[:, :1], rolled.shape)
    # As a change, which is standardised by itself: beside f(x_0) it would be a small part of ẑ_t.
    kept = np.concatenate([encoded[:, 1:] - start, start], axis=-1)
    ahead = np.concatenate([rolled - start, start], axis=-1)
    return {
        "model": relative_errors(_left(ahead, change, groups), spread, groups),
        "encoder": relative_errors(_left(kept, change, groups), spread, groups),
        "copy": relative_errors(np.square(change).sum(-1), spread, groups),
    }


def _left(latents: Table, change: Table, groups: NDArray[np.int64]) -> Table:
    """Return squared errors (W, T) of changes read out of latents of each step, fitted on the other half."""
    place = np.unique(groups, return_inverse=True)[1]
    half = place % 2
    errors = np.empty(change.shape[:2])
    for part in np.unique(half):
        # A single trajectory is all there is to fit on.
        fitted = np.flatnonzero(half != part) if half.any() else np.arange(len(half))
        mine = np.flatnonzero(half == part)
        penalty = _penalty(latents[fitted, -1], change[fitted, -1], place[fitted] // 2 % 2)
        for step in range(change.shape[1]):
            read = _read_out(latents[fitted, step], change[fitted, step], latents[mine, step], (penalty,))[0]
            errors[mine, step] = np.square(read - change[mine, step]).sum(-1)
    return errors


def _penalty(latents: Table, change: Table, part: NDArray[np.int64]) -> float:
    """Return the penalty that reads trajectories best which it was not fitted on; the largest for a single one."""
    if len(np.unique(part)) < 2:
        return _PENALTIES[-1]
    errors = np.zeros(len(_PENALTIES))
    for held in (0, 1):
        read = _read_out(latents[part != held], change[part != held], latents[part == held], _PENALTIES)
        errors += [float(np.square(one - change[part == held]).sum()) for one in read]
    return _PENALTIES[int(errors.argmin())]


def _read_out(latents: Table, target: Table, held: Table, penalties: tuple[float, ...]) -> list[Table]:
    """Fit changes to latents by ridge regression with each penalty and return what is read out of held-out latents."""
    mean = target.mean(axis=0)
    if not (latents.std(axis=0) > 1e-6 * np.maximum(1e-12, np.abs(latents).max(axis=0))).any():
        # A collapsed encoder: nothing but the mean can be read.
        return [np.broadcast_to(mean, (len(held), len(mean)))] * len(penalties)
    features = RandomFeatures(latents, latents.shape[1] + _FEATURES, stream_seed(0, "observed/readout"))
    table, other = (features(values).astype(np.float64) for values in (latents, held))
    centre = table.mean(axis=0)
    left, sizes, right = np.linalg.svd(table - centre, full_matrices=False)
    projected, ahead = left.T @ (target - mean), (other - centre) @ right.T
    return [ahead @ ((sizes / (sizes**2 + penalty * len(table)))[:, None] * projected) + mean for penalty in penalties]


@torch.no_grad()
def _ranks(
    module: WorldModel,
    trajectories: Trajectories,
    rows: NDArray[np.int64],
    begins: NDArray[np.int64],
    groups: NDArray[np.int64],
    horizon: int,
) -> tuple[float, float, int] | None:
    """Return the mean rank of recorded plans, its error over trajectories, and the number of windows."""
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _RANKED)).round().astype(int)
    steps = begins[chosen, None] + np.arange(horizon)
    plans = trajectories.actions[rows[chosen, None], steps]
    ends = np.stack([begins[chosen], begins[chosen] + horizon], axis=1)
    observed = taken(trajectories.observations, rows[chosen], ends)
    generator = np.random.default_rng(stream_seed(0, "hindsight"))
    other = generator.integers(len(chosen), size=(len(chosen), _ALTERNATIVES))
    foreign = groups[chosen][other] != groups[chosen][:, None]
    # A plan of the same actions ends where this one does.
    same = (plans[other] == plans[:, None]).reshape(*other.shape, -1).all(-1)
    usable = foreign & ~same
    if not usable.any():
        return None
    shares, owners = [], []
    for first in range(0, len(chosen), _AT_ONCE):
        block = slice(first, first + _AT_ONCE)
        batch, latents = _encoded(module, observed[block])
        goal = module.goal(batch[:, 1], latents[:, 1])
        candidates = np.concatenate([plans[block, None], plans[other[block]]], axis=1)
        start = latents[:, :1].expand(-1, candidates.shape[1], -1).flatten(0, 1)
        actions = torch.as_tensor(candidates.reshape(-1, *candidates.shape[2:]), device=module.device)
        predicted = module.readout(module.roll_out(start, actions)[:, -1]).unflatten(0, candidates.shape[:2])
        distance = (predicted - goal[:, None]).double().square().flatten(2).sum(-1).cpu().numpy()
        true, rest = distance[:, :1], distance[:, 1:]
        wins = np.where(usable[block], (rest > true) + 0.5 * (rest == true), 0.0).sum(1)
        counted = usable[block].sum(1)
        shares.append(wins[counted > 0] / counted[counted > 0])
        owners.append(groups[chosen][block][counted > 0])
    share, owner = np.concatenate(shares), np.concatenate(owners)
    found = relative_errors(share[:, None], np.ones((len(share), 1)), owner)
    return float(found.value[0]), float(found.standard_error[0]), len(share)

"""Held-out spectrum, loss and deficits of the model, every epoch."""

from __future__ import annotations

from functools import partial

import lightning as L
import numpy as np
import torch

from jepa_scale.callbacks.base import Context, EpochCallback, exact, tabulate
from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.estimators.spectrum import SpectrumEstimate, estimate_spectrum
from jepa_scale.records import Estimate, Trajectories
from jepa_scale.theory.spectrum import canonical_correlations, exact_moments, exact_risk
from jepa_scale.training.pretrain import Pretrain

_PER_ACTION = ("total", "loss", "gap", "calibration_deficit")


class SpectrumCallback(EpochCallback):
    """Log the estimates of ``estimators.spectrum`` beside the exact values of the same model."""

    def estimates(self, trainer: L.Trainer, module: Pretrain) -> list[Estimate]:
        """Held-out estimates, then the exact values of the same model."""
        moment = trainer.current_epoch, trainer.global_step
        heldout = trainer.datamodule.heldout  # type: ignore[attr-defined]
        return split_estimates("spectrum", module, heldout, self.context, *moment) + self._exact(trainer, module)

    def _exact(self, trainer: L.Trainer, module: Pretrain) -> list[Estimate]:
        context = self.context
        world, table = context.world.finite, tabulate(module, context.world)
        moments = exact_moments(world, table.encoder, table.predictor, context.negatives)
        learned = canonical_correlations(moments)
        risk = exact_risk(world, table.encoder, table.predictor, context.negatives)
        epoch, step = trainer.current_epoch, trainer.global_step
        rows = [exact("exact/risk", risk.mean(), trainer), exact("exact/risk_max", risk.max(), trainer)]
        rows.append(exact("exact/total", (learned**2).sum(-1).mean(), trainer))
        for action, values in enumerate(learned):
            rows.append(exact(f"exact/action_{action}/risk", risk[action], trainer))
            listed = tuple(map(float, values))
            zeros = (0.0,) * len(listed)
            rows.append(Estimate(f"exact/action_{action}/singular_values", listed, zeros, None, epoch, step))
        return rows


@torch.inference_mode()
def spectrum_of(module: Pretrain, trajectories: Trajectories, context: Context) -> SpectrumEstimate:
    """Embed whole trajectories once, each observation serving as x⁺ and as the next x."""
    observations = torch.as_tensor(trajectories.observations, device=module.device)
    taken = torch.as_tensor(trajectories.actions, device=module.device)
    latents = module.encode(observations)
    predicted = module.predict(latents[:, :-1], taken)
    width = latents.shape[-1]
    episodes, length = trajectories.actions.shape
    moments = grouped_moments(
        predicted.reshape(-1, width).float().cpu().numpy(),
        latents[:, 1:].reshape(-1, width).float().cpu().numpy(),
        trajectories.actions.reshape(-1),
        np.repeat(np.arange(episodes), length),
        context.world.actions,
    )
    return estimate_spectrum(moments, context.negatives)


def split_estimates(
    prefix: str, module: Pretrain, trajectories: Trajectories, context: Context, epoch: int, step: int
) -> list[Estimate]:
    """Estimates from trajectories that the model was not trained on, per action and averaged over actions."""
    estimate = spectrum_of(module, trajectories, context)
    exact_values, k = context.truth.singular_values, context.k
    flags = [
        ",".join(["n_too_small"] * small + ["rank_deficient"] * deficient)
        for small, deficient in zip(estimate.n_too_small, estimate.rank_deficient, strict=True)
    ]
    rows: list[Estimate] = []

    def add(name: str, statistic: Jackknifed, n: float, flag: str) -> None:
        value, error = np.asarray(statistic.value), np.asarray(statistic.standard_error)
        if value.ndim == 0:
            rows.append(Estimate(f"{prefix}/{name}", float(value), float(error), int(n), epoch, step, flag))
        else:
            listed = tuple(map(float, value)), tuple(map(float, error))
            rows.append(Estimate(f"{prefix}/{name}", *listed, int(n), epoch, step, flag))

    statistics = {name: getattr(estimate, name) for name in _PER_ACTION}
    statistics["subspace_deficit"] = estimate.subspace_deficit(exact_values, k)
    statistics["risk"] = estimate.risk(exact_values)
    every_flag = ",".join(sorted({part for flag in flags for part in flag.split(",") if part}))
    for action, n in enumerate(estimate.count):
        for name, statistic in statistics.items():
            add(f"action_{action}/{name}", statistic.map(partial(np.take, indices=action, axis=-1)), n, flags[action])
        values = estimate.singular_values.map(partial(np.take, indices=action, axis=-2))
        add(f"action_{action}/singular_values", values, n, flags[action])
    for name, statistic in statistics.items():
        add(name, statistic.map(lambda v: v.mean(-1)), estimate.count.sum(), every_flag)
    add("rankme_sv_uncentred", estimate.rankme_sv_uncentred, estimate.count.sum(), "")
    return rows

"""Detection of divergence: a run whose loss is not finite, or explodes, ends as ``diverged`` with a reason."""

from __future__ import annotations

import math
from typing import Any

import lightning as L

from jepa_scale import processes
from jepa_scale.callbacks.logging import publish
from jepa_scale.objectives.base import gather
from jepa_scale.records import Estimate
from jepa_scale.training.world_model import WorldModel

_START = 3
"""Number of first checks whose mean is the reference that growth is measured against."""
_SMALL = 0.1
"""Least reference of the latents' root mean square: untrained encoders map one-hot observations to hundredths, and
every objective then draws latents to deviations of about 1."""


class DivergenceGuard(L.Callback):
    """Check the run every ``every`` steps and stop it when it has diverged; log the epoch's mean training loss.

    A run has diverged if its loss is not finite or beyond ± ``threshold``; if its latents have a root mean square
    beyond ``spread`` times that at the start; or if its loss, for an objective that is bounded below, is beyond
    ``growth`` times that at the start. A loss can run away for thousands of steps before it reaches an absolute
    threshold, and an average over seeds that includes such a run is meaningless.

    The start is the mean over the first three checks, including the run's first step; it is saved with checkpoints.
    """

    def __init__(self, threshold: float, every: int = 25, growth: float = 10.0, spread: float = 100.0) -> None:
        self.threshold = threshold
        self.every = every
        """Steps between checks; reading a loss waits for the device, so not every step is checked."""
        self.growth, self.spread = growth, spread
        self.losses: list[float] = []
        """Losses at the first checks."""
        self.sizes: list[float] = []
        """Root mean squares of the latents at the first checks."""

    def state_dict(self) -> dict[str, list[float]]:
        """Return the values at the start, so that a resumed run is compared with the same ones."""
        return {"losses": list(self.losses), "sizes": list(self.sizes)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the saved values at the start."""
        self.losses, self.sizes = list(state_dict["losses"]), list(state_dict["sizes"])

    def idle_steps(self, trainer: L.Trainer, batch_idx: int) -> int:
        """Return how many steps, from a batch of the epoch on, end where the next check is."""
        return 1 if trainer.global_step == 0 else self.every - batch_idx % self.every

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check at the first step, every few steps and at the end of each epoch."""
        edge = trainer.global_step == 1 or batch_idx + 1 == trainer.num_training_batches
        if not isinstance(pl_module, WorldModel) or ((batch_idx + 1) % self.every and not edge):
            return
        # A sum over the epoch so far: a NaN at any step since the start of the epoch is still seen.
        total, loss = float(pl_module.loss_sum), float(pl_module.last_loss)
        # Over all processes, which must come to the same end; in float64, where squares of float32 do not overflow.
        size = float(gather(pl_module.last_latents.double().square().mean()[None]).mean().sqrt())
        problem = self.lost(total, loss, size, pl_module.objective.bounded_below, trainer.global_step)
        if sentence := processes.agreed(lambda: problem):
            pl_module.diverged = sentence
            trainer.should_stop = True

    def lost(self, total: float, loss: float, size: float, bounded_below: bool, step: int) -> str:
        """Return why the run has diverged, with numbers, else an empty text; store the first checks as its start.

        ``total`` is the sum of losses over the epoch so far, ``loss`` the last one, ``size`` the root mean square of
        its latents.
        """
        if not math.isfinite(total) or abs(loss) > self.threshold:
            shown = loss if math.isfinite(loss) else total
            return f"training loss {shown:.4g} at step {step} is not finite or beyond ±{self.threshold:g}"
        if len(self.losses) < _START:
            self.losses.append(loss)
            self.sizes.append(size)
            return ""
        loss_start, size_start = math.fsum(self.losses) / _START, max(math.fsum(self.sizes) / _START, _SMALL)
        if bounded_below and loss > self.growth * loss_start:
            return f"training loss {loss:.4g} at step {step} is beyond {self.growth:g} × {loss_start:.4g} at the start"
        if not size <= self.spread * size_start:
            return (
                f"latents of root mean square {size:.4g} at step {step} are beyond {self.spread:g} × {size_start:.4g} "
                "at the start"
            )
        return ""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check the weights that the epoch's last step left, and publish the epoch's mean training loss."""
        if not isinstance(pl_module, WorldModel):
            return
        finite = all(bool(weight.isfinite().all()) for weight in pl_module.parameters())
        if not pl_module.diverged and not processes.agreed(lambda: finite):
            pl_module.diverged = f"weights are not finite after step {trainer.global_step}"
            trainer.should_stop = True
        if not pl_module.diverged:
            steps = int(trainer.num_training_batches)
            mean = float(pl_module.loss_sum) / steps
            rows = steps * trainer.datamodule.batch_size  # type: ignore[attr-defined]
            publish(trainer, [Estimate("train/loss", mean, None, rows, trainer.current_epoch, trainer.global_step)])

"""Printing one line per epoch to follow a single run on the terminal."""

from __future__ import annotations

import lightning as L
from rich.console import Console

from jepa_scale.callbacks.logging import MetricsFile
from jepa_scale.records import Estimate

_SHOWN = ("train/loss", "spectrum/risk", "exact/risk", "spectrum/gap", "bound/best")


class EpochPrinter(L.Callback):
    """Print the epoch's main estimates; must come after the callbacks that publish them."""

    def __init__(self, console: Console, score: str) -> None:
        self.console = console
        self.names = (*_SHOWN, f"regret/{score}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the estimates just written to the run folder."""
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                parts = [_shown(logger.latest[name]) for name in self.names if name in logger.latest]
                head = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
                self.console.print(" · ".join([head, *parts]), highlight=False)


def _shown(estimate: Estimate) -> str:
    if estimate.value is None:
        return f"{estimate.name} – ({estimate.flag})"
    error = estimate.standard_error
    uncertainty = f" ± {error:.2g}" if isinstance(error, float) and error > 0 else ""
    return f"{estimate.name} {estimate.value:.3g}{uncertainty}"

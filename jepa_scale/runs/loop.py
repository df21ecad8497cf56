"""The loop over an epoch's batches that takes the place of Lightning's: its counters and hooks, without its overhead.

Lightning's own spends a millisecond a step on hooks, contexts and counters that a run of ours does not use. Here steps
are taken in rows, as many as may pass until a callback looks at a single step again; only then hooks are called. Who
takes the steps is told apart from the loop: a run alone does (``Alone``), or a cohort for several at once
(``runs.cohort``). Whatever needs Lightning's own loop gets it (``Alone.fits``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import lightning as L
import torch
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from jepa_scale import signals
from jepa_scale.data.loader import StepLoader
from jepa_scale.training.finetune import FineTune
from jepa_scale.training.pretrain import Pretrain
from jepa_scale.training.world_model import WorldModel

_EDGES = ("on_train_batch_start", "on_train_batch_end")
_INSIDE = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
"""Hooks at the ends of a step, and those inside it, which are not called here."""
_MODULE_HOOKS = (
    *_INSIDE,
    "on_train_batch_start",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "lr_scheduler_step",
)


class Stepper(Protocol):
    """Takes the training steps of a run."""

    batch: Any
    """Batch of the step that is next or was last, for callbacks; None where it is not the run's alone."""
    outputs: Any
    """What Lightning gives callbacks at the end of a step."""

    def begin(self, step: int) -> None:
        """Get ready for a step of the run, before the callbacks are called."""

    def take(self, index: int, steps: int) -> int:
        """Take so many steps, or fewer, and count them; ``index`` is the first batch's in the epoch."""

    def end(self, index: int) -> None:
        """Finish the last step, of batch ``index``, after the callbacks were called."""


def watching(trainer: L.Trainer) -> tuple[list[Any], str]:
    """Return the callbacks that look at single steps, and why one of them must see every step, else an empty text."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    watchers = [callback for callback in callbacks if _overrides(callback, L.Callback, (*_EDGES, *_INSIDE))]
    for callback in watchers:
        name = type(callback).__name__
        if not callable(getattr(callback, "idle_steps", None)):
            return watchers, f"its callback {name} looks at every step and has no idle_steps(trainer, batch_idx)"
        if _overrides(callback, L.Callback, _INSIDE):
            return watchers, f"its callback {name} looks into steps"
    return watchers, ""


def _overrides(one: Any, base: type, hooks: Sequence[str]) -> bool:
    # Some, as LambdaCallback, set hooks on the object.
    return any(hook in vars(one) or getattr(type(one), hook) is not getattr(base, hook) for hook in hooks)


def run_epoch(trainer: L.Trainer, stepper: Stepper, watchers: Sequence[Any]) -> None:
    """Do an epoch, or the rest of it, in place of ``trainer.fit_loop.epoch_loop.run``."""
    loop, batches = trainer.fit_loop.epoch_loop, int(trainer.num_training_batches)
    progress, connector = loop.batch_progress, trainer._logger_connector
    loop.reset()
    while not loop.done:
        try:
            index = loop.batch_idx + 1
            stepper.begin(trainer.global_step)
            progress.is_last_batch = index + 1 == batches
            progress.increment_ready()
            connector.on_batch_start(stepper.batch)
            call._call_callback_hooks(trainer, "on_train_batch_start", stepper.batch, index)
            most = batches - index if loop.max_steps < 0 else min(batches - index, loop.max_steps - trainer.global_step)
            last = index - 1 + stepper.take(index, min([most, *(one.idle_steps(trainer, index) for one in watchers)]))
            progress.is_last_batch = last + 1 == batches
            call._call_callback_hooks(trainer, "on_train_batch_end", stepper.outputs, stepper.batch, last)
            stepper.end(last)
            connector.on_batch_end()
            progress.increment_completed()
            connector.update_train_step_metrics()
            loop._batches_that_stepped += 1
            loop._save_loggers_on_train_batch_end()
            if trainer.received_sigterm and not loop._is_training_done:
                raise SIGTERMException
        finally:
            loop.on_iteration_done()


def count(trainer: L.Trainer, steps: int) -> None:
    """Count steps as Lightning does up to the hooks at the end of the last one; one more batch was ready before."""
    loop = trainer.fit_loop.epoch_loop
    optimizer = loop.automatic_optimization.optim_progress.optimizer
    tracker: Any
    for tracker in (loop.batch_progress.total, loop.batch_progress.current):
        tracker.ready += steps - 1
        tracker.started += steps
        tracker.processed += steps
        tracker.completed += steps - 1
    for tracker in (optimizer.zero_grad.total, optimizer.zero_grad.current):
        tracker.ready += steps
        tracker.started += steps
        tracker.completed += steps
    scheduled = loop.scheduler_progress if trainer.lr_scheduler_configs else None
    for progress in filter(None, (optimizer.step, scheduled)):
        for tracker in (progress.total, progress.current):
            tracker.ready += steps
            tracker.completed += steps
    loop._batches_that_stepped += steps - 1


class Alone:
    """Takes the steps of one run, each bit by bit that of Lightning's loop."""

    def __init__(self, trainer: L.Trainer, module: WorldModel) -> None:
        self.trainer, self.module = trainer, module
        self.batch: Any = None
        self.outputs: Any = None
        self._index = 0
        self._weights: list[Tensor] = []

    def attach(self) -> None:
        """Take the place of the trainer's loop over batches, in every epoch that fits."""
        loop = self.trainer.fit_loop.epoch_loop
        lightnings = loop.run

        def run(fetcher: Any) -> None:
            watchers, strange = watching(self.trainer)
            if strange or not self.fits():
                lightnings(fetcher)
            else:
                run_epoch(self.trainer, self, watchers)

        loop.run = run  # type: ignore[method-assign,assignment]

    def fits(self) -> bool:
        """Whether a step is nothing but loss, gradients, clipping, optimiser and schedule, on one device.

        It is asked before each epoch: callbacks may change what they find.
        """
        trainer, module, strategy = self.trainer, self.module, self.trainer.strategy
        loader = trainer.train_dataloader
        # A way of fine-tuning of another package may log from its step, for which Lightning notes where it is.
        plain = type(module) is Pretrain or (
            type(module) is FineTune and type(module.task).__module__.startswith("jepa_scale.")
        )
        return (
            plain
            and not _overrides(module, L.LightningModule, _MODULE_HOOKS)
            and type(module).configure_gradient_clipping is WorldModel.configure_gradient_clipping
            and trainer.gradient_clip_algorithm in (None, "norm")
            and module.automatic_optimization
            and type(strategy) is SingleDeviceStrategy
            and strategy.model is module
            and type(trainer.precision_plugin) is Precision
            and type(trainer.profiler) is PassThroughProfiler  # type: ignore[attr-defined]
            and isinstance(loader, StepLoader)
            # As then the number of a batch is that of the step.
            and len(loader) == trainer.num_training_batches
            and trainer.accumulate_grad_batches == 1
            and not trainer.fit_loop.epoch_loop.automatic_optimization._skip_backward
            and not trainer.enable_validation
            and len(trainer.optimizers) == 1
            and not isinstance(trainer.optimizers[0], torch.optim.LBFGS)
            and all(
                (one.interval, one.frequency, one.reduce_on_plateau) == ("step", 1, False)
                for one in trainer.lr_scheduler_configs
            )
        )

    def begin(self, step: int) -> None:
        """Take the batch of a step from the data."""
        loader = self.trainer.train_dataloader
        assert isinstance(loader, StepLoader)
        self.batch = loader.data.take(loader.chosen(step))

    def take(self, index: int, steps: int) -> int:
        """Take steps until the callbacks are to be called, or something asks to stop."""
        trainer = self.trainer
        (optimizer,) = trainer.optimizers
        schedules = [one.scheduler for one in trainer.lr_scheduler_configs]
        progress = trainer.fit_loop.epoch_loop.batch_progress
        self._weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for self._index in range(index, index + steps):
            if self._index > index:
                self.end(self._index - 1)
                progress.increment_completed()
                trainer.fit_loop.epoch_loop._batches_that_stepped += 1
                self.begin(trainer.global_step)
                progress.increment_ready()
            self.outputs = None
            optimizer.step(closure=self._closure)  # type: ignore[arg-type]
            if self.outputs is None:
                raise RuntimeError(f"expected {type(optimizer).__name__}.step(closure) to call its closure")
            for schedule in schedules:
                schedule.step()
            count(trainer, 1)
            if signals.request() or trainer.should_stop or trainer.received_sigterm:
                break
        return self._index - index + 1

    @torch.enable_grad()
    def _closure(self) -> Tensor:
        """Loss and clipped gradients of the batch, as an optimiser asks for them."""
        trainer, (optimizer,) = self.trainer, self.trainer.optimizers
        loss = self.module.training_step(self.batch, self._index)
        assert isinstance(loss, Tensor)
        optimizer.zero_grad()
        loss.backward()
        clip = trainer.gradient_clip_val
        if clip is not None and clip > 0:
            torch.nn.utils.clip_grad_norm_(self._weights, clip)
        self.outputs = {"loss": loss.detach()}
        return loss.detach()

    def end(self, index: int) -> None:
        """Let the module follow its step."""
        self.module.on_train_batch_end(self.outputs, self.batch, index)

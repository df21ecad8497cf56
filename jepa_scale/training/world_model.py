"""What is trained: a JEPA world model and all that estimates and planners ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from jepa_scale.models.policy import Policy
from jepa_scale.models.rollout import roll_out
from jepa_scale.objectives.base import Objective
from jepa_scale.records import Batch, View
from jepa_scale.training.optim import OptimizerSettings


class WorldModel(L.LightningModule):
    """Encoder f, predictor g and an objective; subclasses say how they are trained."""

    loss_sum: Tensor
    last_loss: Tensor
    last_latents: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        predictor: nn.Module,
        objective: Objective,
        optimizer: OptimizerSettings,
        rates: Mapping[str, float] | None = None,
        step_axis: int = -1,
        horizon: int = 1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.objective = objective
        self.optimizer_settings = optimizer
        self.rates = rates
        """Factors on the learning rate by parameter; None: 1 for all."""
        self.step_axis = step_axis
        """Axis of an action sequence that its steps are on: −1 for discrete actions (…, H), −2 for vectors."""
        self.horizon = horizon
        """H, steps of a training window."""
        self.context = int(getattr(predictor, "context", 1))
        """C, steps that the predictor can look back on; 1: it is Markov."""
        self.register_buffer("loss_sum", torch.zeros(()), persistent=False)
        self.diverged = ""
        """One sentence once the run is lost, else empty."""
        self.epochs_before = self.steps_before = 0
        """Of earlier stages of the run, which its estimates are counted on from."""
        self.trained = (0, 0)
        """Epochs and steps of the run, once trained."""
        self.saved: dict[str, Any] = {}
        """What checkpoints hold beside the weights: plain values by name."""
        self.compiled: dict[str, Callable[..., Tensor]] = {}
        """Functions of the parts that training calls in their place."""

    def compile_parts(self) -> None:
        """Compile encoder and predictor for training.

        Functions, not modules: names in checkpoints stay, and evaluation goes on calling the modules themselves.
        """
        self.compiled = {"encoder": torch.compile(self.encoder.forward)}
        step = self.predictor.forward if self.context == 1 else self.predictor.following
        self.compiled["predictor"] = torch.compile(step)  # type: ignore[arg-type]

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> WorldModel:
        """Return the model of a run's checkpoint with its weights, in evaluation mode, as ``jepa_scale.load`` does.

        The checkpoint holds the configuration that the model is built from: there is nothing to pass.

        Raises
        ------
        TypeError
            If something is passed.
        ValueError
            If the file is no checkpoint of a run, or a class of it cannot be found.
        """
        if args or kwargs:
            raise TypeError("expected a path alone: the checkpoint holds the configuration of its model")
        # By name: layers below do not import those above.
        return import_module("jepa_scale.api.models").load(checkpoint_path).module

    @property
    def policy(self) -> Policy | None:
        """π(z, z_g) → a_{0:H−1}, an amortised planner: (b, k), (b, k) → (b, H, size); None where none was trained."""
        return None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say whose weights these are."""
        checkpoint.update(self.saved)

    def _part(self, name: str, module: Any) -> Callable[..., Tensor]:
        return self.compiled.get(name, module) if self.training else module

    def encode(self, observations: Tensor) -> Tensor:
        """f(x): (…, D) → (…, k)"""
        return self._part("encoder", self.encoder)(observations)

    def predict(self, latents: Tensor, actions: Tensor) -> Tensor:
        """g(z, a), one step without a past: (…, k), (…,) or (…, size) → (…, k)"""
        if self.context == 1:
            return self._part("predictor", self.predictor)(latents, actions)
        return self.predictor(latents, actions)

    def embed_action(self, actions: Tensor) -> Tensor:
        """The actions as they are: predictors embed them by themselves."""
        return actions

    def roll_out(self, latents: Tensor, actions: Tensor) -> Tensor:
        """ẑ_1 … ẑ_T from ẑ_0 = ``latents`` (…, k) under ``actions`` (…, T) or (…, T, size): → (…, T, k)"""
        renew = (lambda z: self.encode(self.objective.decoded(z))) if self.objective.encodes_again else None
        predict = self.predict if self.context == 1 else self._part("predictor", self.predictor.following)
        return roll_out(predict, latents, actions, self.step_axis, renew, self.horizon, self.context)

    def readout(self, latents: Tensor) -> Tensor:
        """Coordinates in which a planner measures how far a predicted latent (…, k) is from the goal."""
        return self.objective.readout(latents)

    def goal(self, observations: Tensor, latents: Tensor) -> Tensor:
        """The same coordinates of a goal that was observed, (…, *shape), and encoded, (…, k)."""
        return self.objective.goal(observations, latents)

    def observe(self, batch: Batch) -> Tensor:
        """f(x_t) of every observation of a batch, (B, H+1, k), in one pass through the encoder."""
        return self.encode(batch.observations.flatten(0, 1)).unflatten(0, batch.observations.shape[:2])

    def pretraining_loss(self, batch: Batch, latents: Tensor) -> Tensor:
        """The objective of the first ``horizon`` steps of windows, rolled out from their first latent.

        ``latents`` are f(x_t), (B, H+1, k): → scalar.
        """
        actions = batch.actions[:, : self.horizon]
        seen = slice(0, actions.shape[1] + 1)
        predicted = self.roll_out(latents[:, 0], actions)
        kind = latents.device.type
        if torch.is_autocast_enabled(kind):
            # Moments and means over a batch lose in 8 bits what they are taken for.
            with torch.autocast(kind, enabled=False):
                view = View(batch.observations[:, seen], actions, latents[:, seen].float(), predicted.float())
                return self.objective(view)
        return self.objective(View(batch.observations[:, seen], actions, latents[:, seen], predicted))

    def note(self, loss: Tensor, latents: Tensor) -> None:
        """Keep what the guard against divergence looks at."""
        # Tensor attributes, not self.log: logging costs a third of a millisecond per step. A module looks through its
        # parts for each name that it is given by assignment.
        vars(self).update(last_latents=latents.detach(), last_loss=loss.detach())
        self.loss_sum.add_(self.last_loss)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's running loss."""
        self.loss_sum.zero_()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of all gradients together."""
        if self.trainer.precision != "bf16-mixed":
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            # Lightning refuses it to fused optimisers, for the sake of scaled gradients, which only 16 bits have.
            weights = [weight for held in optimizer.param_groups for weight in held["params"]]
            torch.nn.utils.clip_grad_norm_(weights, gradient_clip_val)

    def configure_optimizers(self) -> Any:
        """The injected optimiser over the trainer's whole budget."""
        steps = int(self.trainer.estimated_stepping_batches)
        return self.optimizer_settings.build(self.named_parameters(), steps, self.rates)

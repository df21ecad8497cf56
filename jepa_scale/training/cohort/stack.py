"""Training of several models of one architecture at once: their weights are stacked, and each step is taken by all."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from jepa_scale.data.loader import StepLoader
from jepa_scale.objectives.base import Objective
from jepa_scale.records import Batch
from jepa_scale.training.cohort.adamw import Steps
from jepa_scale.training.cohort.batches import Batches, StackedBatch
from jepa_scale.training.cohort.device import generators, in_full_precision, set_generators
from jepa_scale.training.cohort.numbers import NotStackable, numbers_of, parts_of, slots_of, state_of
from jepa_scale.training.cohort.static import StaticSteps
from jepa_scale.training.world_model import WorldModel


@dataclass(frozen=True)
class Trainee:
    """What the steps of one run read and change. It owns its state; a stack works on copies of the weights."""

    module: WorldModel
    optimizer: torch.optim.Optimizer
    schedule: Any
    """Of torch.optim.lr_scheduler, stepped after each step."""
    loader: StepLoader
    clip: float | None
    """Norm that all gradients together are clipped to; None for no clipping."""


class _Model(nn.Module):
    """Copies of a model's parts, under one function that ``functional_call`` can call."""

    def __init__(self, module: WorldModel) -> None:
        super().__init__()
        bare = copy.copy(module)
        # A trainer is not to be copied. The parts at once, as an objective may hold the encoder.
        bare.__dict__ = {**module.__dict__, "_trainer": None, "_buffers": {}, "compiled": {}}
        bare._modules = copy.deepcopy(dict(module._modules))
        self.model = bare

    def forward(self, what: str, *values: Any) -> Any:
        if what == "encode":
            return self.model.encode(*values)
        if what == "loss":
            latents, observations, actions = values
            return self.model.pretraining_loss(Batch(observations, actions), latents)
        return self.model.objective.after_step(self.model.encoder)


def _template(module: WorldModel) -> tuple[_Model, Mapping[tuple[str, str], Any]]:
    """A model that is called under ``vmap``, and its numbers before the first step."""
    model = _Model(module)
    for part in model.modules():
        if isinstance(part, Objective):
            part.stacked = True
        if type(part) is nn.Sequential:
            for before, after in pairwise(part):
                # Nobody else reads what is overwritten, and stacked it does not fit into the cache.
                if type(before) is nn.Linear and type(after) is nn.ReLU:
                    after.inplace = True
    return model, numbers_of(model.model)


_REFUSED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError)
"""What a part raises that ``torch.vmap`` does not take: itself it refuses by RuntimeError (an operator without a rule,
``.item()``, an ``if`` that depends on values) and ValueError (a result that is no tensor); TypeError and AttributeError
come of coefficients, which are tensors in a stack where they are floats alone, and LookupError of tables looked up by
those. A part's own mistake is among them too: its run alone meets it again, and says so."""


class _Unread:
    """Stands for observations that an objective does not look at; what it does with them fails.

    But for slicing, that is by TypeError, or AttributeError for what only tensors have.
    """

    __iter__ = None
    """By ``__getitem__`` a loop over them would never end."""

    def __getitem__(self, key: Any) -> _Unread:
        return self


class Stack:
    """Several trainees as one: their weights, buffers and coefficients stacked.

    A step does to every trainee what its own training step, clipping, AdamW, schedule and ``after_step`` do, on the
    same batch; only sums are taken in another order. All trainees are at the same step. On CUDA devices, or if
    ``static`` is true, what a step reads and changes stays where it is, so that it can be recorded.

    Raises
    ------
    NotStackable
        If the trainees differ in more than numbers.
    """

    def __init__(self, trainees: Sequence[Trainee], tabulate: bool = True, static: bool | None = None) -> None:
        self.trainees = list(trainees)
        modules = [trainee.module for trainee in trainees]
        self.template, self._numbers = _template(modules[0])
        kind = next(modules[0].parameters())
        self._device = kind.device
        self._slots = slots_of(modules)
        self._coefficients = [torch.tensor(slot.values, dtype=kind.dtype, device=kind.device) for slot in self._slots]
        try:
            parameters, buffers = stack_module_state([parts_of(module) for module in modules])
        except (RuntimeError, ValueError) as error:
            raise NotStackable(f"their weights differ in shape ({_line(error)})") from None
        self.parameters = {f"model.{name}": value for name, value in parameters.items()}
        self.buffers = {f"model.{name}": value for name, value in buffers.items()}
        self.leaves = [name for name, value in self.parameters.items() if value.requires_grad]
        self.batches = Batches([trainee.loader for trainee in trainees], kind, tabulate)
        self.alive = list(range(len(trainees)))
        """Trainees that still learn; the weights of the others stay as they are."""
        self._gradients: dict[str, Tensor] = {}
        """(M, …) clipped gradients by name, of the parameters that have any."""
        self._steps: list[Steps] = []
        self._static: StaticSteps | None = None
        self._stays = kind.device.type == "cuda" if static is None else static
        self.used: list[str] = []
        """Parameters that have gradients, as the trial has found."""
        self.losses = self.latents = torch.empty(0)
        """(M,) and (M, B, H+1, k) of the last step."""
        self._follows = type(modules[0].objective).after_step is not Objective.after_step
        self._reads = True

    def _all(self, what: str, *values: Any, shared: bool = False) -> Any:
        model = self.template.model

        def one(parameters: Any, buffers: Any, coefficients: Any, *own: Any) -> Any:
            for slot, value in zip(self._slots, coefficients, strict=True):
                setattr(model.get_submodule(slot.module), slot.name, value)
            found = functional_call(self.template, (parameters, buffers), (what, *own))
            return torch.zeros((), device=self._device) if found is None else found

        axes = [0 if isinstance(value, Tensor) and not shared else None for value in values]
        # Directions that a step draws from a generator of its number are the same for all; `check` looks after others.
        mapped = vmap(one, in_dims=(0, 0, 0, *axes), randomness="same")
        return mapped(self.parameters, self.buffers, self._coefficients, *values)

    def gradients(self, batch: StackedBatch) -> dict[str, Tensor]:
        """Gradients of a batch by name, (M, …); ``losses`` and ``latents`` are kept."""
        with sdpa_kernel(SDPBackend.MATH):
            if batch.places is None:
                seen = batch.observations
                assert seen is not None
                latents = self._all("encode", seen.flatten(1, 2)).unflatten(1, seen.shape[1:3])
            else:
                known = self._all("encode", self.batches.table, shared=True)
                latents = nn.functional.embedding(batch.places, known.flatten(0, 1))
            losses = self._all(
                "loss", latents, self.batches.looked_up(batch) if self._reads else _Unread(), batch.actions
            )
            self.losses, self.latents = losses.detach(), latents.detach()
            leaves = [self.parameters[name] for name in self.leaves]
            found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        return {name: value for name, value in zip(self.leaves, found, strict=True) if value is not None}

    @property
    def why_plain(self) -> str:
        """Why steps are not recorded although they are taken on a device; empty if they are, or are not to be."""
        return "" if self._static is None else self._static.graph.why_plain

    def follow(self) -> None:
        """Let every objective follow its encoder."""
        if self._follows:
            self._all("follow")

    def check(self, step: int) -> None:
        """Try a step on copies and compare every trainee with its own model alone; nothing is changed.

        Raises
        ------
        NotStackable
            If ``torch.vmap`` refuses a part, or losses, gradients or buffers are others than alone.
        """
        with in_full_precision(self._device):
            self._check(step)

    def _check(self, step: int) -> None:
        batch, generator = self.batches.take(step), generators(self._device)
        try:
            self._reads = self.batches.table is None or not self._blind(batch)
            found = self.gradients(batch)
            self.used = list(found)
            with torch.no_grad():
                self.follow()
        except torch.OutOfMemoryError:
            raise
        except _REFUSED as error:
            raise NotStackable(f"torch.vmap does not take its parts: {_line(error)}") from error
        finally:
            drawn = not all(map(torch.equal, generators(self._device), generator))
            set_generators(self._device, generator)
        if drawn:
            raise NotStackable("a step draws from torch's global generator, as dropout does")
        try:
            for m, trainee in enumerate(self.trainees):
                self._compare(m, trainee, step, found)
        except NotStackable:
            if self.batches.table is None:
                raise
            # Rows of a batch that are not independent, as where an encoder takes means over them.
            self.batches = Batches([trainee.loader for trainee in self.trainees], self.batches.like, tabulate=False)
            self._restart()
            self._check(step)
        finally:
            set_generators(self._device, generator)
            self._restart()

    def _blind(self, batch: StackedBatch) -> bool:
        """Whether the objective does without the observations themselves."""
        self._reads = False
        try:
            self.gradients(batch)
        except (TypeError, AttributeError):
            return False
        finally:
            self._restart()
        return True

    def _restart(self) -> None:
        self.template, self._numbers = _template(self.trainees[0].module)
        self.read()

    def _compare(self, m: int, trainee: Trainee, step: int, found: Mapping[str, Tensor]) -> None:
        model = _Model(trainee.module)
        data = trainee.loader.data.take(trainee.loader.chosen(step))
        observed, actions = self.batches.cast(data.observations), self.batches.cast(data.actions)
        latents = model("encode", observed.flatten(0, 1)).unflatten(0, observed.shape[:2])
        loss = model("loss", latents, observed, actions)
        weights = {name: value for name, value in model.named_parameters() if name in found}
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        with torch.no_grad():
            model("follow")
        after = dict(model.named_parameters()) | dict(model.named_buffers())
        stacked = self.parameters | self.buffers
        pairs = {
            "loss": (self.losses[m], loss),
            "gradients": (
                torch.cat([found[name][m].flatten() for name in weights]),
                torch.cat([torch.zeros(0) if one is None else one.flatten() for one in gradients]),
            ),
            "state after a step": tuple(
                torch.cat([side(name).flatten().double() for name in stacked])
                for side in (lambda name: stacked[name][m], lambda name: after[name])
            ),
        }
        tolerance = 1e-9 if loss.dtype == torch.float64 else 1e-3
        for what, (ours, theirs) in pairs.items():
            size = float(theirs.detach().norm())
            # What is lost alone as well is no difference.
            lost = not math.isfinite(size) and not bool(ours.isfinite().all())
            if not lost and not float((ours - theirs).detach().norm()) <= tolerance * (size + 1e-6):
                raise NotStackable(f"its {what} is another one under torch.vmap than alone")

    def advance(self, step: int, steps: int) -> None:
        """Take ``steps`` steps, of which ``step`` is the first, and give every trainee that is alive its new state.

        Raises
        ------
        NotStackable
            If they are to stay where they are on a device, and observations are in a file.
        """
        if self._stays:
            self._on_device().advance(step, steps)
            return
        sums = torch.stack([trainee.module.loss_sum for trainee in self.trainees])
        for number in range(step, step + steps):
            found = self.gradients(self.batches.take(number))
            with torch.no_grad():
                self._keep(found)
                for m in self.alive:
                    self._steps[m].take(number)
                self.follow()
                sums += self.losses
        self._write(steps, sums)

    def _on_device(self) -> StaticSteps:
        if self._static is None:
            self._static = StaticSteps(self)
        return self._static

    def _keep(self, found: Mapping[str, Tensor]) -> None:
        """Keep a step's gradients, clipped, where the optimisers' views of them are."""
        if not self._steps:
            # Laid out as the weights are, which the kernel takes for granted.
            self._gradients = {name: torch.empty_like(self.parameters[name]) for name in found}
            self._steps = [
                Steps(
                    one.module,
                    one.optimizer,
                    one.schedule,
                    {name: (self.parameters[name].detach()[m], kept[m]) for name, kept in self._gradients.items()},
                )
                for m, one in enumerate(self.trainees)
            ]
        if self.trainees[0].clip is None:
            for name, value in found.items():
                self._gradients[name].copy_(value)
            return
        norms = torch.stack(
            [torch.linalg.vector_norm(value, dim=tuple(range(1, value.ndim))) for value in found.values()]
        )
        factors = (self.trainees[0].clip / (norms.norm(dim=0) + 1e-6)).clamp(max=1.0)
        for name, value in found.items():
            torch.mul(value, factors.view(-1, *[1] * (value.ndim - 1)), out=self._gradients[name])

    @torch.no_grad()
    def read(self) -> None:
        """Take the weights and buffers of the trainees, which may have changed between epochs."""
        if self._static is not None:
            self._static.read()
            return
        for m, trainee in enumerate(self.trainees):
            for name, value in state_of(trainee.module).items():
                (self.parameters if name in self.parameters else self.buffers)[name][m].copy_(value)

    @torch.no_grad()
    def _write(self, steps: int, sums: Tensor) -> None:
        for m in self.alive:
            module = self.trainees[m].module
            for name, value in state_of(module).items():
                value.copy_((self.parameters if name in self.parameters else self.buffers)[name][m])
            self._steps[m].write(steps)
            module.loss_sum.copy_(sums[m])
            module.last_loss, module.last_latents = self.losses[m].clone(), self.latents[m].clone()
        self.write_numbers()

    def numbers(self) -> Mapping[tuple[str, str], Any]:
        """Plain numbers and texts of the model that stands for all, by module and attribute."""
        return numbers_of(self.template.model)

    def put_numbers(self, numbers: Mapping[tuple[str, str], Any]) -> None:
        """Set them."""
        for (part, name), number in numbers.items():
            setattr(self.template.model.get_submodule(part), name, number)

    def write_numbers(self) -> None:
        """Give the trainees that are alive the numbers that have changed, such as a count of the steps."""
        slots = {(slot.module, slot.name) for slot in self._slots}
        for (part, name), number in self.numbers().items():
            if (part, name) in slots or number is self._numbers.get((part, name)):
                continue
            for m in self.alive:
                setattr(self.trainees[m].module.get_submodule(part), name, number)


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

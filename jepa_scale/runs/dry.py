"""A dry pass: one small batch through everything that a run will do to its model, before the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from jepa_scale import processes
from jepa_scale.models.size import flops_per_step
from jepa_scale.records import Batch
from jepa_scale.runs.build import build_module
from jepa_scale.runs.errors import UserError, told
from jepa_scale.training.pretrain import Pretrain
from jepa_scale.worlds.base import SampledWorld

WINDOWS = 4
"""Number of windows that are tried."""

T = TypeVar("T")


def sample_batch(world: SampledWorld, horizon: int) -> Batch:
    """Draw a few windows from a world.

    Raises
    ------
    UserError
        If the world cannot be sampled, or what it gives has another shape than it declares.
    """
    drawn = _tried("world", world, lambda: world.sample(WINDOWS, horizon, 0), "sample(4, horizon, seed)")
    wanted = (WINDOWS, horizon + 1, *world.observation_shape)
    _shaped("world.sample", "observations", torch.as_tensor(drawn.observations), wanted)
    space = world.action_space
    _shaped("world.sample", "actions", torch.as_tensor(drawn.actions),
            (WINDOWS, horizon, *(() if space.discrete else (space.size,))))  # fmt: skip
    return Batch(torch.as_tensor(drawn.observations), torch.as_tensor(drawn.actions))


def dry_pass(config: Mapping[str, Any], world: Any, batch: Batch) -> None:
    """Encode, predict, count operations, take the loss with its gradients and build the optimiser, on one batch.

    Nothing is kept, and no random number of the run is drawn.

    Raises
    ------
    UserError
        If a part fails or returns another shape; one sentence says which.
    """
    k = config["model"]["k"]
    # Only the leading rank does this.
    with torch.random.fork_rng(devices=[]), processes.apart():
        module = build_module(config, world, torch.ones(world.action_space.count or 1))
        rows, first = len(batch.observations), batch.observations[:, 0]
        action = batch.actions[:, 0]
        module.eval()
        with torch.no_grad():
            z = _tried("encoder", module.encoder, lambda: module.encode(first), _seen(first))
            _shaped(f"encoder {_named(module.encoder)}", "latents", z, (rows, k))
            ahead = _tried("predictor", module.predictor, lambda: module.predict(z, action), _seen(z, action))
            _shaped(f"predictor {_named(module.predictor)}", "latents", ahead, (rows, k))
            _tried(
                "encoder",
                module.encoder,
                lambda: flops_per_step(module.encoder, module.predictor, 1, 1, first[:1], action[:1]),
                "a single row in evaluation mode",
            )
        _train(module, batch)


def _train(module: Pretrain, batch: Batch) -> None:
    module.train()
    loss = _tried(
        "objective",
        module.objective,
        lambda: module.pretraining_loss(batch, module.observe(batch)),
        "a batch in training mode, encoder and predictor included",
    )
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"objective {_named(module.objective)}: expected one number as its loss, got {shape}")
    if not loss.requires_grad:
        raise UserError(
            f"objective {_named(module.objective)}: expected a loss with gradients, got one without: it trains nothing"
        )
    _tried("objective", module.objective, loss.backward, "the gradients of its loss")
    _tried("optimizer", None, lambda: module.optimizer_settings.build(module.named_parameters(), 10, module.rates), "")


def _tried(name: str, part: Any, act: Callable[[], T], given: str) -> T:
    try:
        return act()
    except UserError:
        raise
    except Exception as error:
        of = f" {_named(part)}" if part is not None else ""
        on = f" on {given}" if given else ""
        raise UserError(f"{name}{of} fails{on}: {told(error)}") from error


def _shaped(name: str, what: str, found: Any, wanted: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor):
        raise UserError(f"{name}: expected a tensor of {what} {wanted}, got {type(found).__name__}")
    if tuple(found.shape) != wanted:
        raise UserError(f"{name}: expected {what} of shape {wanted}, got {tuple(found.shape)}")
    if what == "latents" and found.dtype != torch.float32:
        raise UserError(f"{name}: expected latents of float32, got {str(found.dtype).removeprefix('torch.')}")


def _seen(*parts: Tensor) -> str:
    return " and ".join(f"{tuple(part.shape)} {str(part.dtype).removeprefix('torch.')}" for part in parts)


def _named(part: Any) -> str:
    inner = getattr(part, "inner", part)
    return type(inner).__name__

"""Contracts of encoders, predictors and objectives."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from jepa_scale.objectives.base import Objective
from jepa_scale.records import ActionSpace, View
from jepa_scale.testing.saying import contract, require, require_shape

_ROWS = 8


def observations_like(shape: tuple[int, ...], *leading: int) -> Tensor:
    """Return observations to try a part on: normal vectors, or images of bytes."""
    generator = torch.Generator().manual_seed(0)
    if len(shape) == 3:
        return torch.randint(0, 256, (*leading, *shape), generator=generator, dtype=torch.uint8)
    return torch.randn(*leading, *shape, generator=generator)


def actions_like(space: ActionSpace, *leading: int) -> Tensor:
    """Return actions to try a part on."""
    generator = torch.Generator().manual_seed(1)
    if space.count is not None:
        return torch.randint(0, space.count, leading, generator=generator)
    return space.low + (space.high - space.low) * torch.rand(*leading, space.size, generator=generator)


@contract
def check_encoder(encoder: nn.Module, observation_shape: tuple[int, ...], k: int) -> None:
    """Check an encoder (…, *shape) → (…, k).

    Rows are encoded alone or in any number, with any leading axes, and do not see each other in evaluation mode; the
    same input gives the same latent; every parameter that takes gradients gets some in training.

    Parameters
    ----------
    encoder
        The module; its weights are not changed.
    observation_shape, k
        Shape of one observation, (D,) or (H, W, C) of bytes, and the latent width.

    Raises
    ------
    AssertionError
        On the first promise that is not kept.

    Examples
    --------
    >>> from jepa_scale.models.encoders.mlp import MLPEncoder
    >>> check_encoder(MLPEncoder((6,), k=4, hidden=16), observation_shape=(6,), k=4)
    """
    x = observations_like(observation_shape, _ROWS)
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        z = encoder(x)
        require_shape(z, (_ROWS, k), encoder, "latents")
        require(z.dtype == torch.float32, encoder, f"latents of float32, got {z.dtype}")
        require(bool(z.isfinite().all()), encoder, "finite latents")
        require(torch.equal(encoder(x), z), encoder, "the same latents for the same observations in evaluation mode")
        require_shape(encoder(x[:1]), (1, k), encoder, "the latent of a single row")
        _alike(encoder(x[2:3])[0], z[2], encoder, "rows that do not see each other in evaluation mode")
        folded = encoder(x.unflatten(0, (2, _ROWS // 2)))
        require_shape(folded, (2, _ROWS // 2, k), encoder, "latents over any leading axes")
        _alike(folded.flatten(0, 1), z, encoder, "the same latents over any leading axes")
    encoder.train()
    _learns(encoder, lambda: encoder(x))
    encoder.train(was_training)


@contract
def check_predictor(predictor: nn.Module, k: int, action_space: ActionSpace) -> None:
    """Check a predictor (…, k), actions → (…, k): integers (…,) of a discrete space, or (…, size).

    As of encoders, and different actions lead to different latents.

    Raises
    ------
    AssertionError
        On the first promise that is not kept.

    Examples
    --------
    >>> from jepa_scale.records import ActionSpace
    >>> class Add(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.move = torch.nn.Linear(2, 4)
    ...     def forward(self, latents, actions):
    ...         return latents + self.move(actions)
    >>> check_predictor(Add(), k=4, action_space=ActionSpace(None, 2))
    """
    z = torch.randn(_ROWS, k, generator=torch.Generator().manual_seed(2))
    a = actions_like(action_space, _ROWS)
    was_training = predictor.training
    predictor.eval()
    with torch.no_grad():
        ahead = predictor(z, a)
        require_shape(ahead, (_ROWS, k), predictor, "predicted latents")
        require(bool(ahead.isfinite().all()), predictor, "finite latents")
        _alike(predictor(z[3:4], a[3:4])[0], ahead[3], predictor, "rows that do not see each other in evaluation mode")
        folded = predictor(z.unflatten(0, (2, _ROWS // 2)), a.unflatten(0, (2, _ROWS // 2)))
        require_shape(folded, (2, _ROWS // 2, k), predictor, "predicted latents over any leading axes")
        _alike(folded.flatten(0, 1), ahead, predictor, "the same latents over any leading axes")
    predictor.train()
    _learns(predictor, lambda: predictor(z, a))
    if action_space.count is None or action_space.count > 1:
        predictor.eval()
        one, other = (torch.full_like(a, value) for value in _ends(action_space))
        with torch.no_grad():
            moved = bool((predictor(z, one) - predictor(z, other)).abs().max() > 1e-6)
        # It may start as the identity, and must leave it when it is trained.
        require(moved or _depends(predictor, z, a), predictor, "predictions that depend on the action once trained")
    predictor.train(was_training)


@contract
def check_objective(
    objective: Objective, k: int, observation_shape: tuple[int, ...], action_space: ActionSpace, horizon: int = 1
) -> None:
    """Check an objective: a finite scalar of a batch with gradients, whatever the order of its rows.

    Raises
    ------
    AssertionError
        On the first promise that is not kept.

    Examples
    --------
    >>> from jepa_scale.objectives.spectral import SpectralObjective
    >>> from jepa_scale.records import ActionSpace
    >>> loss = SpectralObjective("same_action", action_counts=torch.ones(3))
    >>> check_objective(loss, k=4, observation_shape=(6,), action_space=ActionSpace(3))
    """
    rows = 16
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(rows, horizon + 1, k, generator=generator, dtype=torch.float64)
    predicted = torch.randn(rows, horizon, k, generator=generator, dtype=torch.float64)
    x = observations_like(observation_shape, rows, horizon + 1)
    x = x.double() if x.is_floating_point() else x
    actions = actions_like(action_space, rows, horizon)
    actions = actions.double() if actions.is_floating_point() else actions
    was_training = objective.training
    objective.double().eval()

    def loss(order: Tensor, z: Tensor, ahead: Tensor) -> Tensor:
        return objective(View(x[order], actions[order], z[order], ahead[order]))

    straight, mixed = torch.arange(rows), torch.randperm(rows, generator=generator)
    z, ahead = latents.clone().requires_grad_(), predicted.clone().requires_grad_()
    value = loss(straight, z, ahead)
    require(isinstance(value, Tensor) and value.shape == (), objective, "one number as the loss of a batch")
    require(bool(value.isfinite()), objective, "a finite loss")
    require(
        not objective.bounded_below or float(value.detach()) >= 0, objective, "a loss ≥ 0, or bounded_below = False"
    )
    require(value.requires_grad, objective, "a loss with gradients")
    value.backward()
    reached = [part.grad is not None and bool(part.grad.abs().sum() > 0) for part in (z, ahead)]
    require(any(reached), objective, "gradients to the latents or to the predictions")
    _alike(loss(mixed, latents, predicted), value.detach(), objective, "a loss that the order of rows does not change")
    with torch.no_grad():
        read = objective.readout(latents[:, 0])
        seen = objective.goal(x[:, 0], latents[:, 0])
    require(read.shape == seen.shape, objective, f"readout and goal of one shape, got {read.shape} and {seen.shape}")
    objective.float().train(was_training)


def _alike(found: Tensor, wanted: Tensor, part: nn.Module, promise: str) -> None:
    require(torch.allclose(found, wanted, rtol=1e-4, atol=1e-5), part, promise)


def _learns(part: nn.Module, act: Callable[[], Tensor]) -> None:
    """Check that every parameter with gradients gets some, after a few steps away from where it starts."""
    saved = {name: value.clone() for name, value in part.state_dict().items()}
    target = torch.randn(act().shape, generator=torch.Generator().manual_seed(4))
    weights = [weight for weight in part.parameters() if weight.requires_grad]
    require(act().requires_grad, part, "outputs with gradients")
    for step in range(4):
        part.zero_grad()
        ((act() - target) ** 2).mean().backward()
        if step < 3:
            with torch.no_grad():
                for weight in weights:
                    if weight.grad is not None:
                        weight.sub_(weight.grad, alpha=0.05)
    still = [
        name
        for name, weight in part.named_parameters()
        if weight.requires_grad and (weight.grad is None or not bool(weight.grad.abs().sum() > 0))
    ]
    part.zero_grad()
    part.load_state_dict(saved)
    require(not still, part, f"gradients to every parameter, got none to {', '.join(still[:3])}")


def _ends(space: ActionSpace) -> tuple[float, float]:
    return (0, space.count - 1) if space.count is not None else (space.low, space.high)


def _depends(predictor: nn.Module, z: Tensor, a: Tensor) -> bool:
    """Whether predictions would depend on the action after a step of training."""
    saved = {name: value.clone() for name, value in predictor.state_dict().items()}
    target = torch.randn(z.shape, generator=torch.Generator().manual_seed(5))
    for _ in range(3):
        predictor.zero_grad()
        ((predictor(z, a) - target) ** 2).mean().backward()
        with torch.no_grad():
            for weight in predictor.parameters():
                if weight.grad is not None:
                    weight.sub_(weight.grad, alpha=0.1)
    with torch.no_grad():
        found = bool((predictor(z, a) - predictor(z, a.flip(0))).abs().max() > 1e-6)
    predictor.zero_grad()
    predictor.load_state_dict(saved)
    return found

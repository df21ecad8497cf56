"""Models to attack the theory with, from useless to exact."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.optimize import minimize

from jepa_scale.records import Negatives
from jepa_scale.theory.graph import FiniteWorld, negative_law, normalised_co_occurrence
from jepa_scale.theory.model import TabularModel, least_squares_maps, truncated_svd

Attack = Callable[[np.random.Generator, FiniteWorld, Negatives, int], TabularModel]
"""Generator, world, law of the negatives and width k → a model."""


def gaussian(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """Normal f and a normal linear g."""
    del negatives  # knows nothing of the world
    return TabularModel.linear(
        generator.normal(size=(world.states, k)), generator.normal(size=(world.actions, k, k)) / np.sqrt(k)
    )


def unit_norm(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """‖f‖ = ‖g‖ = 1, as Theorem 3.1 asks (E1): f on the sphere, g a rotation of it for each action."""
    del negatives  # knows nothing of the world
    encoder = generator.normal(size=(world.states, k))
    rotations = np.linalg.qr(generator.normal(size=(world.actions, k, k)))[0]
    return TabularModel.linear(encoder / np.linalg.norm(encoder, axis=1, keepdims=True), rotations)


def svd(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """The best shared encoder of width k with its least-squares predictor."""
    del generator  # nothing random
    return truncated_svd(world, k, negatives)


def noisy_svd(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """``svd`` with noise of a random size on g, from none to drowning."""
    best = truncated_svd(world, k, negatives)
    noise = 10 ** generator.uniform(-4, 0.5) * generator.normal(size=best.predictor.shape)
    return TabularModel(best.encoder, best.predictor + noise)


def whitened(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """E_q̄[f fᵀ] = I and the best linear g, with a little noise: latent and operator roll-out nearly agree."""
    best = truncated_svd(world, k, negatives)
    maps = least_squares_maps(world, best.encoder, negatives)
    # Half without noise, so that small R is not rare.
    noise = generator.choice([0.0, 10 ** generator.uniform(-4, -1)])
    return TabularModel.linear(best.encoder, maps + noise * generator.normal(size=maps.shape))


def gauged(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """``whitened`` seen in random coordinates, F → CF: the same GᵀF and R by a linear g, another latent roll-out."""
    flat = whitened(generator, world, negatives, k)
    assert flat.maps is not None
    gauge = generator.normal(size=(k, k)) + 0.5 * np.eye(k)
    # A nearly singular gauge would turn rounding into risk.
    left, values, right = np.linalg.svd(gauge)
    gauge = left @ (np.clip(values, 0.2, 5.0)[:, None] * right)
    inverse = np.linalg.inv(gauge)
    return TabularModel.linear(flat.encoder @ gauge.T, inverse.T @ flat.maps @ inverse)


def trained(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """Tabular f and linear g after a few L-BFGS steps on Σ_a π(a) R(a) from a random start."""
    matrices = normalised_co_occurrence(world, negatives)
    left, right = np.sqrt(world.context_law), np.sqrt(negative_law(world, negatives))
    states, actions, split = world.states, world.actions, world.states * k

    def risk(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        encoder = parameters[:split].reshape(states, k)
        maps = parameters[split:].reshape(actions, k, k)
        predictor = encoder @ maps.swapaxes(1, 2)
        difference = left[:, None] * (predictor @ encoder.T) * right[:, None, :] - matrices
        slope = 2 * world.policy[:, None, None] * left[:, None] * difference * right[:, None, :]
        towards = slope @ encoder
        by_encoder = (towards @ maps).sum(0) + (slope.swapaxes(1, 2) @ predictor).sum(0)
        by_maps = np.einsum("axi,xj->aij", towards, encoder)
        value = float(world.policy @ (difference**2).sum((1, 2)))
        return value, np.concatenate([by_encoder.ravel(), by_maps.ravel()])

    start = generator.normal(size=split + actions * k * k) / np.sqrt(k)
    steps = int(generator.choice([5, 40]))
    found = minimize(risk, start, jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    return TabularModel.linear(found[:split].reshape(states, k), found[split:].reshape(actions, k, k))


def ballast(generator: np.random.Generator, world: FiniteWorld, negatives: Negatives, k: int) -> TabularModel:
    """``noisy_svd`` with a coordinate that f does not see and that gives g the same length for every action (E3)."""
    model = noisy_svd(generator, world, negatives, k)
    squares = (model.predictor**2).sum(-1)
    rest = np.sqrt(generator.choice([1.0, 1e4]) * squares.max() - squares)
    # Half a hair too long: a distance no longer ranks as the inner product does.
    rest[0] += generator.choice([0.0, 1e-6]) * rest.max()
    return TabularModel(
        np.concatenate([model.encoder, np.zeros((world.states, 1))], axis=1),
        np.concatenate([model.predictor, rest[:, :, None]], axis=2),
    )


ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack for attack in (gaussian, unit_norm, svd, noisy_svd, whitened, gauged, trained, ballast)
}

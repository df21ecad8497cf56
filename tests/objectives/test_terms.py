"""Terms and losses against slow references; SIGReg's quadrature at the accuracy that it states."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from jepa_scale.objectives.collapse import covariance_penalty, epps_pulley, variance_hinge
from jepa_scale.objectives.input_level import InputPrediction
from jepa_scale.objectives.inverse import WithInverseDynamics
from jepa_scale.objectives.latent import LatentPrediction
from jepa_scale.objectives.sigreg import SIGReg
from jepa_scale.objectives.vicreg import VICReg
from jepa_scale.records import ActionSpace, View
from tests.reference import objectives as reference

ALONG = torch.ones(1, 1, dtype=torch.float64)
"""The one direction of a line."""


def view_of(seed, rows=7, horizon=2, k=3, actions=4):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    taken = torch.randint(0, actions, (rows, horizon), generator=generator)
    return View(draw(rows, horizon + 1, 5), taken, draw(rows, horizon + 1, k), draw(rows, horizon, k))


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_vicreg_terms_equal_loops(scale, generator):
    rows = scale * generator.normal(size=(9, 4)) @ generator.normal(size=(4, 4))
    tensor = torch.from_numpy(rows)
    assert float(variance_hinge(tensor)) == pytest.approx(reference.variance_hinge(rows), rel=1e-12, abs=1e-14)
    assert float(variance_hinge(tensor, 5.0)) == pytest.approx(reference.variance_hinge(rows, 5.0), rel=1e-12)
    assert float(covariance_penalty(tensor)) == pytest.approx(reference.covariance_penalty(rows), rel=1e-12)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5),
        np.full(3, 7.0),
        np.full(1, -7.0),
        np.array([-7.0, 7.0]),
        np.linspace(-7, 7, 40),
        np.random.default_rng(0).normal(size=256),
        2 * np.random.default_rng(1).normal(size=64),
    ],
    ids=["zero", "one point", "one row", "two far points", "uniform", "normal", "wide"],
)
def test_quadrature_equals_the_closed_form(values):
    """At the accuracy of its docstring, also where all rows are one point and the integrand does not decay."""
    found = float(epps_pulley(torch.from_numpy(values)[:, None], ALONG))
    assert found == pytest.approx(reference.epps_pulley(values), abs=1e-6)
    single = float(epps_pulley(torch.from_numpy(values)[:, None].float(), ALONG.float()))
    # 17 sums of float32 terms of at most 1.
    assert single == pytest.approx(found, abs=1e-6)


def test_the_closed_form_is_the_integral():
    values = np.random.default_rng(2).normal(size=6) * 1.5
    points = np.linspace(-12, 12, 20001)
    gap = np.abs(np.exp(1j * points[:, None] * values).mean(1) - np.exp(-(points**2) / 2)) ** 2
    # The integrand vanishes at both ends, where the trapezoidal rule is a plain sum.
    integral = (gap * np.exp(-(points**2) / 2)).sum() * (points[1] - points[0]) / math.sqrt(2 * math.pi)
    assert reference.epps_pulley(values) == pytest.approx(integral, abs=1e-12)


def test_projections_a_period_apart_look_like_one():
    period = 2 * math.pi * 16 / 5
    apart = torch.tensor([[0.0], [period]], dtype=torch.float64)
    assert float(epps_pulley(apart, ALONG)) == pytest.approx(float(epps_pulley(0 * apart, ALONG)), abs=1e-9)


def test_normal_rows_have_the_stated_value():
    """(1 − 1/√3)/B in the mean, over 4000 samples of 8 rows with their own standard error."""
    samples = torch.randn(8, 4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = torch.stack([epps_pulley(sample[:, None], ALONG) for sample in samples.mT])
    expected = (1 - 1 / math.sqrt(3)) / 8
    # |z| beyond 4 has odds of 6e-5.
    assert abs(float(found.mean()) - expected) < 4 * float(found.std()) / 4000**0.5
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_directions_are_averaged():
    rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    directions = SIGReg(3, slices=4).directions(0).double()
    one_by_one = [reference.epps_pulley((rows @ direction).tolist()) for direction in directions]
    assert float(epps_pulley(rows, directions)) == pytest.approx(np.mean(one_by_one), abs=1e-6)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_vicreg_is_the_sum_of_its_terms():
    view = view_of(0)
    latents, predicted = view.latents.numpy(), view.predicted.numpy()
    expected = (
        3.0 * reference.mean_square(predicted, latents[:, 1:])
        + 5.0 * reference.over_steps(reference.variance_hinge, latents)
        + 7.0 * reference.over_steps(reference.covariance_penalty, latents)
    )
    assert float(VICReg(3.0, 5.0, 7.0)(view)) == pytest.approx(expected, rel=1e-12)


def test_sigreg_is_the_sum_of_its_terms():
    view, objective = view_of(1), SIGReg(3, weight=4.0, slices=5)
    directions = objective.directions(0).double().numpy()
    sliced = [
        reference.epps_pulley((view.latents[:, step].numpy() @ direction).tolist())
        for step in range(3)
        for direction in directions
    ]
    expected = reference.mean_square(view.predicted.numpy(), view.latents[:, 1:].numpy()) + 4.0 * np.mean(sliced)
    assert float(objective(view)) == pytest.approx(expected, abs=4e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_latent_prediction_is_the_sum_of_its_terms(momentum):
    view, encoder = view_of(2), nn.Linear(5, 3).double()
    objective = LatentPrediction(encoder, 2.0, momentum)
    # The moving average starts as a copy; the encoder itself has made the view's latents.
    target = encoder(view.observations[:, 1:]) if momentum else view.latents[:, 1:]
    expected = reference.mean_square(view.predicted.numpy(), target.detach().numpy())
    expected += 2.0 * reference.over_steps(reference.variance_hinge, view.latents.numpy())
    assert float(objective(view)) == pytest.approx(expected, rel=1e-12)


def test_the_moving_average_moves_and_takes_no_gradient():
    encoder = nn.Linear(5, 3)
    objective = LatentPrediction(encoder, momentum=0.75)
    before = objective.target.weight.clone()
    with torch.no_grad():
        encoder.weight += 1
    objective.after_step(encoder)
    torch.testing.assert_close(objective.target.weight, before + 0.25)
    assert not any(parameter.requires_grad for parameter in objective.parameters())


def test_targets_of_latent_prediction_are_constants():
    view = view_of(3)
    latents, predicted = view.latents.clone().requires_grad_(), view.predicted.clone().requires_grad_()
    loss = LatentPrediction(nn.Identity(), variance=0.0)(View(view.observations, view.actions, latents, predicted))
    loss.backward()
    assert not latents.grad.any()
    torch.testing.assert_close(predicted.grad, 2 * (predicted - latents[:, 1:]).detach() / predicted.numel())


@pytest.mark.parametrize("mask", [None, np.array([False, False, True, False, True])])
def test_input_prediction_weighs_noise(mask):
    view = view_of(4)
    objective = InputPrediction(3, lambda k, size: nn.Linear(k, size), (5,), mask, noise_weight=0.25).double()
    decoded = objective.decoder(view.predicted).detach().numpy()
    with torch.no_grad():
        found = float(objective(view))
    weights = np.ones(5) if mask is None else np.where(mask, 0.25, 1.0)
    expected = sum(
        weight * reference.mean_square(decoded[..., [j]], view.observations[:, 1:, [j]].numpy()) / 5
        for j, weight in enumerate(weights)
    )
    # √0.25 is exact in float32, as which the weights are made.
    assert found == pytest.approx(expected, rel=1e-12)


def test_input_prediction_reads_bytes_as_numbers_to_one():
    objective = InputPrediction(3, lambda k, size: nn.Linear(k, size), (2, 2, 3), None)
    images = torch.randint(0, 256, (4, 2, 2, 2, 3), dtype=torch.uint8)
    assert objective.goal(images[:, 0], torch.zeros(4, 3)).shape == (4, 12)
    view = View(images, torch.zeros(4, 1), torch.zeros(4, 2, 3), torch.zeros(4, 1, 3))
    as_floats = View(images.float() / 255, view.actions, view.latents, view.predicted)
    torch.testing.assert_close(objective(view), objective(as_floats))
    assert objective.decoded(torch.zeros(6, 5, 3)).shape == (6, 5, 2, 2, 3)
    assert objective.readout(torch.zeros(6, 5, 3)).shape == (6, 5, 12)


def test_inverse_dynamics_tells_actions_apart():
    view = view_of(5)
    base = VICReg()
    objective = WithInverseDynamics(base, 3, lambda i, o: nn.Linear(i, o), ActionSpace(4), weight=2.0).double()
    pairs = torch.cat([view.latents[:, :-1], view.latents[:, 1:]], dim=-1)
    told = reference.cross_entropy(objective.head(pairs).tolist(), view.actions.tolist())
    assert objective(view).item() == pytest.approx(base(view).item() + 2.0 * told, rel=1e-12)


def test_inverse_dynamics_of_continuous_actions_does_not_depend_on_their_unit():
    view = view_of(6)
    unit = torch.rand(7, 2, 2, dtype=torch.float64) * 2 - 1
    losses = []
    for low, high in ((-1.0, 1.0), (5.0, 25.0)):
        torch.manual_seed(0)
        head = lambda i, o: nn.Linear(i, o)  # noqa: E731
        objective = WithInverseDynamics(VICReg(), 3, head, ActionSpace(None, 2, low, high)).double()
        actions = (low + high) / 2 + unit * (high - low) / 2
        losses.append(objective(View(view.observations, actions, view.latents, view.predicted)).item())
        pairs = torch.cat([view.latents[:, :-1], view.latents[:, 1:]], dim=-1)
        told = reference.mean_square(objective.head(pairs).detach().numpy(), unit.numpy())
        assert losses[-1] - float(objective.base(view)) == pytest.approx(told, rel=1e-9)
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: VICReg(variance=-1.0),
        lambda: SIGReg(3, weight=-0.1),
        lambda: SIGReg(3, slices=0),
        lambda: LatentPrediction(nn.Identity(), variance=-1.0),
        lambda: LatentPrediction(nn.Identity(), momentum=1.0),
        lambda: InputPrediction(3, nn.Linear, (5,), None, noise_weight=-1.0),
        lambda: WithInverseDynamics(VICReg(), 3, nn.Linear, ActionSpace(4), weight=-1.0),
    ],
)
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match=r"expected .* got "):
        make()

"""Numbers without an environment: of a perfect model, of blind and collapsed ones, in one space for all encoders."""

import numpy as np
import pytest
import torch
from torch import nn

from jepa_scale.callbacks.offline import offline_estimates
from jepa_scale.callbacks.prediction import _windows
from jepa_scale.worlds.point_mass import PointMass
from tests.callbacks.test_prediction import _Simulator, _State, module_of

WORLD = PointMass(nuisance_size=0, noise_size=0)
HORIZON = 4


@pytest.fixture(scope="module")
def heldout():
    return WORLD.sample(60, 12, seed=3)


class _Blind(nn.Module):
    """Goes on as before, whatever the action."""

    def forward(self, latents, actions):
        return WORLD.step(latents, torch.zeros_like(actions), torch.zeros(*latents.shape[:-1], 0))


class _Constant(nn.Module):
    def forward(self, observations):
        return torch.ones(*observations.shape[:-1], 3)


class _Same(nn.Module):
    def forward(self, latents, actions):
        return latents


class _Scaled(nn.Module):
    def forward(self, observations):
        return 100 * observations[..., :4]


class _ScaledSimulator(nn.Module):
    def forward(self, latents, actions):
        return 100 * _Simulator()(latents / 100, actions)


def values(encoder, predictor, heldout):
    rows = offline_estimates(module_of(encoder, predictor), heldout, _windows(heldout, HORIZON), HORIZON, 2, 9)
    return {row.name: row for row in rows}


def test_a_perfect_predictor_adds_nothing_to_what_the_encoder_loses(heldout):
    rows = values(_State(), _Simulator(), heldout)
    for step in range(1, HORIZON + 1):
        model, encoder = (rows[f"observed/{name}/horizon_{step}"] for name in ("model", "encoder"))
        assert model.value == pytest.approx(encoder.value, abs=1e-6)
        assert encoder.value < 0.02 < 0.9 < rows[f"observed/copy/horizon_{step}"].value
        assert (model.epoch, model.step) == (2, 9)
    mean = np.mean([rows[f"observed/copy/horizon_{step}"].value for step in range(1, HORIZON + 1)])
    assert rows["observed/copy/mean"].value == pytest.approx(mean)
    assert rows["hindsight/rank"].value > 0.999


def test_a_predictor_that_ignores_actions_ranks_by_chance(heldout):
    rows = values(_State(), _Blind(), heldout)
    assert rows["hindsight/rank"].value == 0.5
    assert rows["observed/model/mean"].value > 10 * rows["observed/encoder/mean"].value


def test_a_collapsed_encoder_predicts_the_mean(heldout):
    rows = values(_Constant(), _Same(), heldout)
    assert rows["observed/model/mean"].value == pytest.approx(1, abs=0.05)
    assert rows["hindsight/rank"].value == 0.5


def test_the_scale_of_latents_does_not_matter(heldout):
    once, scaled = values(_State(), _Simulator(), heldout), values(_Scaled(), _ScaledSimulator(), heldout)
    assert scaled["observed/model/mean"].value == pytest.approx(once["observed/model/mean"].value, rel=0.05, abs=1e-6)
    assert scaled["hindsight/rank"].value == pytest.approx(once["hindsight/rank"].value)


def test_a_copy_against_one_window_at_a_time(heldout):
    rows, begins = _windows(heldout, HORIZON)
    places = zip(rows, begins, strict=True)
    seen = np.stack([heldout.observations[row, first : first + HORIZON + 1] for row, first in places])
    flat = seen.reshape(-1, seen.shape[-1]).astype(float)
    seen = (seen - flat.mean(0)) / flat.std(0)
    change = seen[:, 2] - seen[:, 0]
    expected = np.square(change).sum(1).mean() / np.square(change - change.mean(0)).sum(1).mean()
    assert values(_State(), _Simulator(), heldout)["observed/copy/horizon_2"].value == pytest.approx(expected)


def test_one_trajectory_is_ranked_among_none():
    alone = WORLD.sample(1, 40, seed=3)
    rows = values(_State(), _Simulator(), alone)
    assert "hindsight/rank" not in rows
    assert rows["observed/model/mean"].standard_error is None
    assert isinstance(rows["observed/model/mean"].value, float)

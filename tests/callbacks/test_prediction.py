"""Prediction error by horizon: step by step, of a model that is perfect, and where there is nothing to predict."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from jepa_scale.callbacks.base import Context
from jepa_scale.callbacks.prediction import horizon_of, prediction_errors, prediction_estimates
from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.objectives.latent import LatentPrediction
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Trajectories
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.training.optim import AdamWOneCycle
from jepa_scale.training.pretrain import Pretrain
from jepa_scale.worlds.point_mass import PointMass

WORLD = PointMass(nuisance_size=2, noise_size=1)


class _State(nn.Module):
    def forward(self, observations):
        return observations[..., :4]


class _Simulator(nn.Module):
    def forward(self, latents, actions):
        return WORLD.step(latents, actions, torch.zeros(*latents.shape[:-1], 0))


def module_of(encoder, predictor, horizon=1):
    return Pretrain(
        encoder, predictor, LatentPrediction(nn.Identity()), AdamWOneCycle(), step_axis=-2, horizon=horizon
    )  # fmt: skip


def rows_of(module, trajectories, horizon):
    return {row.name: row for row in prediction_estimates(module, trajectories, horizon, 3, 7)}


def test_a_perfect_model_errs_nowhere():
    rows = rows_of(module_of(_State(), _Simulator()), WORLD.sample(40, 9, seed=1), 4)
    for step in range(1, 5):
        # float32 states of size 1, squared rounding errors of some steps.
        assert rows[f"prediction/horizon_{step}"].value < 1e-12
        assert rows[f"prediction/copy/horizon_{step}"].value > 1e-4
        assert rows[f"prediction/horizon_{step}"].n == 80, "two windows of four steps fit into nine"
        assert rows[f"prediction/horizon_{step}"].epoch == 3


def test_against_one_window_at_a_time():
    module = build(compose(["world=point_mass", "planner=cem", "objective=latent", "predictor=gru", "model.k=3",
                            "model.hidden=8", "data.n=64", "data.batch_size=32", "data.heldout=700", "data.test=700",
                            "optimizer.base_k=null", "logger=none"])).module.eval()  # fmt: skip
    trajectories = PointMass().sample(37, 7, seed=2)
    found = prediction_errors(module, trajectories, 3)
    with torch.no_grad():
        for step in (1, 2, 3):
            predicted, seen, start = [], [], []
            for row in range(37):
                for first in (0, 3):
                    z = module.encode(torch.as_tensor(trajectories.observations[row, first]))
                    start.append(z)
                    for action in trajectories.actions[row, first : first + step]:
                        z = module.predict(z, torch.as_tensor(action))
                    predicted.append(z)
                    seen.append(module.encode(torch.as_tensor(trajectories.observations[row, first + step])))
            predicted, seen, start = (torch.stack(part).double() for part in (predicted, seen, start))
            spread = ((seen - seen.mean(0)) ** 2).sum()
            model, copy = (float(((part - seen) ** 2).sum() / spread) for part in (predicted, start))
            assert found.model.value[step - 1] == pytest.approx(model, rel=1e-4)
            assert found.copy.value[step - 1] == pytest.approx(copy, rel=1e-4)


def test_a_model_that_stands_still_is_the_copy():
    class Still(nn.Module):
        def forward(self, latents, actions):
            return latents

    rows = rows_of(module_of(_State(), Still()), WORLD.sample(40, 6, seed=1), 3)
    for step in (1, 2, 3):
        assert rows[f"prediction/horizon_{step}"].value == rows[f"prediction/copy/horizon_{step}"].value


def test_a_collapsed_encoder_has_no_relative_error():
    class Constant(nn.Module):
        def forward(self, observations):
            return torch.ones_like(observations[..., :4]) / 3

    rows = rows_of(module_of(Constant(), _Simulator()), WORLD.sample(40, 6, seed=1), 2)
    assert rows["prediction/horizon_1"].value is None
    assert rows["prediction/horizon_1"].flag == "constant"


def test_predictions_that_are_not_numbers_are_refused():
    class Lost(nn.Module):
        def forward(self, latents, actions):
            return latents / 0

    with pytest.raises(NotFiniteError, match="over 2 steps"):
        prediction_errors(module_of(_State(), Lost()), WORLD.sample(40, 6, seed=1), 2)


def test_windows_that_are_not_usable_are_left_out():
    whole = WORLD.sample(40, 6, seed=1)
    usable = np.ones((40, 6), dtype=bool)
    usable[:30, 4] = False
    broken = Trajectories(whole.observations, whole.actions, whole.states, 1, "uniform", usable)
    broken.actions[:30, 4] = math.nan
    rows = rows_of(module_of(_State(), _Simulator()), broken, 3)
    assert rows["prediction/horizon_1"].n == 50
    assert rows["prediction/horizon_3"].value < 1e-12
    usable[:, 1::2] = False
    context = Context(WORLD, "pooled", CEM(horizon=3), 4)
    assert horizon_of(context, module_of(_State(), _Simulator()), broken) == 1


def test_the_horizon_is_twice_what_is_planned_or_trained_on():
    trajectories = WORLD.sample(2, 20, seed=1)
    for planner, trained, expected in ((CEM(horizon=3), 1, 6), (CEM(horizon=3), 5, 10), (NoPlanner(), 2, 4)):
        module = module_of(_State(), _Simulator(), trained)
        assert horizon_of(Context(WORLD, "pooled", planner, 4), module, trajectories) == expected
    assert horizon_of(Context(WORLD, "pooled", CEM(horizon=30), 4), module, trajectories) == 20

"""The contracts catch what breaks them: a part with one fault each."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from jepa_scale.data.external import npz
from jepa_scale.objectives.base import Objective
from jepa_scale.planners.cem import CEM
from jepa_scale.records import ActionSpace
from jepa_scale.testing import (
    check_encoder,
    check_objective,
    check_planner,
    check_predictor,
    check_reader,
    check_world,
)
from jepa_scale.worlds.point_mass import PointMass
from jepa_scale.worlds.torus import Torus


class Encoder(nn.Module):
    def __init__(self, fault=""):
        super().__init__()
        self.net, self.fault = nn.Linear(6, 4), fault
        self.idle = nn.Linear(6, 4) if fault == "idle" else None

    def forward(self, x):
        z = self.net(x)
        match self.fault:
            case "pooled":
                return z - z.mean(0, keepdim=True)
            case "random":
                return z + torch.randn_like(z)
            case "nan":
                return z / 0 * 0
            case "flat":
                return z.reshape(-1, 4)
        return z


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("pooled", "rows that do not see each other"), ("random", "the same latents for the same observations"),
        ("nan", "finite latents"), ("flat", "over any leading axes"), ("idle", "gradients to every parameter"),
    ],
)  # fmt: skip
def test_faults_of_encoders(fault, message):
    with pytest.raises(AssertionError, match=f"Encoder: expected .*{message}"):
        check_encoder(Encoder(fault), (6,), 4)


def test_a_sound_encoder_passes_and_is_left_as_it_was():
    encoder = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4))
    before = [weight.clone() for weight in encoder.parameters()]
    check_encoder(encoder, (6,), 4)
    assert all(torch.equal(one, other) for one, other in zip(before, encoder.parameters(), strict=True))
    assert encoder.training
    assert all(weight.grad is None for weight in encoder.parameters())


def test_a_predictor_that_ignores_actions():
    class Deaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(4, 4)

        def forward(self, z, a):
            return self.net(z)

    with pytest.raises(AssertionError, match="Deaf: expected predictions that depend on the action"):
        check_predictor(Deaf(), 4, ActionSpace(3))


class Loss(Objective):
    def __init__(self, fault):
        super().__init__()
        self.fault = fault

    def forward(self, view):
        error = (view.predicted - view.latents[:, 1:]).square().flatten(1).sum(1)
        return {
            "rows": lambda: error,
            "order": lambda: (error * torch.arange(len(error))).mean(),
            "negative": lambda: -error.mean(),
            "constant": lambda: torch.ones(()),
            "": lambda: error.mean(),
        }[self.fault]()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("rows", "one number"),
        ("order", "the order of rows"),
        ("negative", "a loss ≥ 0"),
        ("constant", "with gradients"),
    ],
)
def test_faults_of_objectives(fault, message):
    check_objective(Loss(""), 4, (6,), ActionSpace(3))
    with pytest.raises(AssertionError, match=message):
        check_objective(Loss(fault), 4, (6,), ActionSpace(3))


def test_faults_of_planners():
    class Wild(CEM):
        def best(self, state):
            return super().best(state) * 100

    class Lazy(CEM):
        def step(self, state, cost, drawn, space):
            cost(super().best(state)[:, None])
            return state

    with pytest.raises(AssertionError, match=r"Wild: expected plans inside \[-1.0, 3.0\]"):
        check_planner(Wild())
    with pytest.raises(AssertionError, match="Lazy: expected plans better than the first guess"):
        check_planner(Lazy())


def test_faults_of_worlds():
    @dataclasses.dataclass(frozen=True)
    class Leaky(Torus):
        def kernel(self):
            return super().kernel() * 0.9

    @dataclasses.dataclass(frozen=True)
    class Forgetful(Torus):
        def sample(self, trajectories, length, seed):
            return super().sample(trajectories, length, int(np.random.default_rng().integers(1000)))

    class Still(PointMass):
        def step(self, states, actions, normals):
            return states

    with pytest.raises((AssertionError, ValueError)):
        check_world(Leaky())
    with pytest.raises(AssertionError, match=r"one seed, one sample|to be a prefix"):
        check_world(Forgetful())
    with pytest.raises(AssertionError, match="Still: expected actions that matter"):
        check_world(Still())


def test_faults_of_readers(tmp_path):
    generator = np.random.default_rng(0)
    np.savez(
        tmp_path / "one.npz", observations=generator.normal(size=(10, 3)),
        actions=generator.uniform(-1, 1, size=(10, 2)), ep_len=[5, 5],
    )  # fmt: skip

    def runs_on(path):
        episodes = npz.read(path)
        return dataclasses.replace(episodes, usable=np.ones_like(episodes.usable))

    check_reader(npz.read, tmp_path / "one.npz")
    with pytest.raises(AssertionError, match="no usable action in the last row of an episode"):
        check_reader(runs_on, tmp_path / "one.npz")


def test_whatever_a_part_raises_is_an_assertion():
    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.net = nn.BatchNorm1d(6), nn.Linear(6, 4)

        def forward(self, x):
            return self.net(self.norm(x))

    with pytest.raises(AssertionError, match="Rows: expected to work on what its contract says, got RuntimeError"):
        check_encoder(Rows(), (6,), 4)
    with pytest.raises(AssertionError, match="Encoder: expected an instance, not a class"):
        check_encoder(Encoder, (6,), 4)

    class Double(Encoder):
        def forward(self, x):
            return super().forward(x).double()

    with pytest.raises(AssertionError, match=r"Double: expected latents of float32, got torch\.float64"):
        check_encoder(Double(), (6,), 4)
    with pytest.raises(AssertionError, match="object: expected to work"):
        check_world(object())
    with pytest.raises(AssertionError, match="outputs with gradients"):
        check_encoder(Encoder().requires_grad_(False), (6,), 4)

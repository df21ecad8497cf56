"""Every encoder and predictor of conf/ keeps its promises."""

import pytest
import torch

from jepa_scale.records import Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose, conf_dir

PAIRS = [
    (group, leaf.stem) for group in ("encoder", "predictor") for leaf in sorted((conf_dir() / group).glob("*.yaml"))
]


VECTORS = [pair for pair in PAIRS if pair not in (("encoder", "cnn"), ("encoder", "vit_tiny"))]


@pytest.fixture(params=VECTORS, ids="-".join)
def module(request, tiny_overrides):
    group, name = request.param
    return build(compose([*tiny_overrides, f"{group}={name}"])).module


def test_shapes_over_any_leading_axes(module):
    observations = torch.randn(2, 3, 32)
    latents = module.encode(observations)
    assert latents.shape == (2, 3, 4)
    predicted = module.predict(latents, torch.randint(0, 5, (2, 3)))
    assert predicted.shape == (2, 3, 4)


def test_rows_do_not_see_each_other(module):
    observations, actions = torch.randn(6, 32), torch.randint(0, 5, (6,))
    whole = module.predict(module.encode(observations), actions)
    single = module.predict(module.encode(observations[2:3]), actions[2:3])
    torch.testing.assert_close(whole[2:3], single)


def test_the_action_matters(module):
    latents = module.encode(torch.randn(4, 32))
    first = module.predict(latents, torch.zeros(4, dtype=torch.int64))
    second = module.predict(latents, torch.ones(4, dtype=torch.int64))
    assert (first - second).abs().max() > 1e-6


def test_every_parameter_learns(module):
    batch = Batch(torch.randn(64, 2, 32), torch.randint(0, 5, (64, 1)))
    module.training_step(batch, 0).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())

import pytest
import torch
from torch import nn

from jepa_scale.models.encoders.cnn import CNNEncoder
from jepa_scale.models.encoders.mlp import MLPEncoder
from jepa_scale.models.layers import perceptron
from jepa_scale.models.predictors.mlp import MLPPredictor
from jepa_scale.models.predictors.residual_linear import ResidualLinearPredictor
from jepa_scale.models.size import ModelSize, flops_per_step, parameters
from jepa_scale.records import ActionSpace


def test_the_latent_is_the_bottleneck_at_every_width():
    assert [ModelSize.of(k).hidden for k in (1, 64, 65, 512)] == [128, 128, 130, 1024]
    assert ModelSize.of(4, 16).hidden == 16


@pytest.mark.parametrize(("k", "hidden"), [(0, None), (-3, None), (4, 0)])
def test_sizes_below_one_are_refused(k, hidden):
    with pytest.raises(ValueError, match=r"model\."):
        ModelSize.of(k, hidden)


def test_counts_by_hand():
    encoder = MLPEncoder((5,), k=2, hidden=3, depth=1)
    predictor = MLPPredictor(k=2, action_space=ActionSpace(4), hidden=3, depth=1)
    weights = 5 * 3 + 3 * 2, 6 * 3 + 3 * 2
    assert parameters(encoder, predictor) == sum(weights) + 3 + 2 + 3 + 2
    row = torch.zeros(1, 5), torch.zeros(1, dtype=torch.int64)
    assert flops_per_step(encoder, predictor, 10, 1, *row) == 6 * 10 * (2 * weights[0] + weights[1])
    assert flops_per_step(encoder, predictor, 10, 3, *row) == 6 * 10 * (4 * weights[0] + 3 * weights[1])


def test_convolutions_are_counted():
    """Pixels that a strided 3 × 3 kernel lands on, times its size; padded borders count as if they were there."""
    encoder = CNNEncoder((32, 32, 3), k=4, hidden=8)
    blocks = 2 * 9 * 32 * 32
    per_image = 256 * 9 * 3 * 16 + 64 * (9 * 16 * 32 + blocks) + 16 * (9 * 32 * 32 + blocks) + 512 * 8 + 8 * 4
    predictor = ResidualLinearPredictor(4, ActionSpace(None, 2), 8)
    row = torch.zeros(1, 32, 32, 3), torch.zeros(1, 2)
    assert flops_per_step(encoder, predictor, 1, 1, *row) == 6 * (2 * per_image + 4 * 4 + 2 * 4)


def test_depth_zero_is_linear():
    assert [type(layer) for layer in perceptron(3, 8, 2, 0)] == [nn.Linear]
    with pytest.raises(ValueError, match="depth"):
        perceptron(3, 8, 2, -1)

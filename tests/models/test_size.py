import pytest
from torch import nn

from jepa_scale.models.encoders.mlp import MLPEncoder
from jepa_scale.models.layers import perceptron
from jepa_scale.models.predictors.mlp import MLPPredictor
from jepa_scale.models.size import ModelSize, flops_per_step, parameters


def test_the_latent_is_the_bottleneck_at_every_width():
    assert [ModelSize.of(k).hidden for k in (1, 64, 65, 512)] == [128, 128, 130, 1024]
    assert ModelSize.of(4, 16).hidden == 16


@pytest.mark.parametrize(("k", "hidden"), [(0, None), (-3, None), (4, 0)])
def test_sizes_below_one_are_refused(k, hidden):
    with pytest.raises(ValueError, match=r"model\."):
        ModelSize.of(k, hidden)


def test_counts_by_hand():
    encoder, predictor = MLPEncoder(5, k=2, hidden=3, depth=1), MLPPredictor(k=2, actions=4, hidden=3, depth=1)
    weights = 5 * 3 + 3 * 2, 6 * 3 + 3 * 2
    assert parameters(encoder, predictor) == sum(weights) + 3 + 2 + 3 + 2
    assert flops_per_step(encoder, predictor, 10) == 6 * 10 * (2 * weights[0] + weights[1])


def test_depth_zero_is_linear():
    assert [type(layer) for layer in perceptron(3, 8, 2, 0)] == [nn.Linear]
    with pytest.raises(ValueError, match="depth"):
        perceptron(3, 8, 2, -1)

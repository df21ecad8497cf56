"""Width-aware parametrisation: what stays the same in a step when the model gets wider."""

import math

import pytest
import torch

from jepa_scale.models.encoders.mlp import MLPEncoder
from jepa_scale.models.predictors.mlp import MLPPredictor
from jepa_scale.models.size import ModelSize
from jepa_scale.objectives.spectral import SpectralObjective
from jepa_scale.records import ActionSpace
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.training.optim import AdamWOneCycle
from jepa_scale.training.width import Factors, factors, scale_initial, width_factors

WIDTHS = (16, 64, 256)
STEPS = 5


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        (("hidden", "fixed"), Factors(1, 1)),
        (("hidden", "hidden"), Factors(1, 1 / 9)),
        (("latent", "hidden"), Factors(1 / 2, 1 / 18)),
        (("hidden", "latent"), Factors(2, 1 / 2)),
        (("latent", "fixed"), Factors(1 / 2, 1 / 2)),
        (("fixed", "latent", "latent"), Factors(1, 1 / 4)),
        (("latent",), Factors(1 / 2, 1 / 2)),
        (("hidden",), Factors(1, 1)),
        ((), Factors(1, 1)),
    ],
)
def test_factors_by_hand(axes, expected):
    """Four times the latent width, nine times the hidden one."""
    found = factors(axes, 4.0, 9.0)
    assert (found.initial, found.rate) == pytest.approx((expected.initial, expected.rate))


def test_parameters_with_unknown_fans_are_refused():
    with pytest.raises(ValueError, match=r"got 4 axes: set optimizer\.base_k=null"):
        factors(("hidden", "hidden", "fixed", "fixed"), 2.0, 2.0)


@pytest.mark.parametrize(
    ("encoder", "predictor", "name", "rate"),
    [
        ("mlp", "mlp", "encoder.net.0.weight", 1.0),
        ("mlp", "mlp", "encoder.net.4.weight", 1 / 2 / math.sqrt(8)),
        ("mlp", "mlp", "predictor.net.0.weight", 1 / math.sqrt(8)),
        ("mlp", "mlp", "predictor.net.2.weight", 1 / 2),
        ("linear", "bilinear", "encoder.net.0.weight", 1 / math.sqrt(8)),
        ("linear", "bilinear", "predictor.operators", 1 / 8),
    ],
)
def test_every_part_of_the_configuration_finds_its_rates(encoder, predictor, name, rate):
    """k = 128 against 16: the hidden width is 256 against 128."""
    module = build(compose(["model.k=128", f"encoder={encoder}", f"predictor={predictor}", "logger=none"])).module
    assert module.rates[name] == pytest.approx(rate)
    assert set(module.rates) == {name for name, _ in module.named_parameters()}
    by_lr = {
        id(parameter): group["lr"]
        for group in module.optimizer_settings.groups(module.named_parameters(), module.rates)
        for parameter in group["params"]
    }
    assert by_lr[id(dict(module.named_parameters())[name])] == pytest.approx(0.0035 * rate)


def test_at_the_base_width_nothing_changes():
    aware, standard = (
        build(compose(["model.k=16", f"optimizer.base_k={base}", "logger=none"])).module for base in ("16", "null")
    )
    for (name, one), (_, other) in zip(aware.named_parameters(), standard.named_parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)
    assert standard.rates is None
    assert len(aware.optimizer_settings.groups(aware.named_parameters(), aware.rates)) == 1


def test_decay_is_the_same_in_every_group():
    settings = AdamWOneCycle(lr=0.01, weight_decay=0.1)
    parameters = [(name, torch.nn.Parameter(torch.zeros(2))) for name in "ab"]
    groups = settings.groups(parameters, {"a": 1.0, "b": 0.25})
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.0025])
    assert [group["lr"] * group["weight_decay"] for group in groups] == pytest.approx([0.001, 0.001])


def test_probing_draws_nothing():
    before = torch.random.get_rng_state()
    width_factors(lambda size: torch.nn.Linear(size.k, size.hidden), ModelSize(4, 8), ModelSize(2, 4))
    assert torch.equal(before, torch.random.get_rng_state())


class Net(torch.nn.Module):
    """Encoder and predictor whose hidden width grows with k; the default's floor of 128 would hide it."""

    def __init__(self, size):
        super().__init__()
        self.encoder = MLPEncoder((32,), size.k, size.hidden)
        self.predictor = MLPPredictor(size.k, ActionSpace(5), size.hidden)


def growth(base):
    """Changes at the widest over changes at the narrowest model, after a few steps of Adam from the start.

    Root mean squares over inputs of the change of hidden units and of the inner product of a prediction with a latent,
    which is what the loss sees.
    """
    moved = {}
    for k in WIDTHS:
        size, settings = ModelSize(k, 8 * k), AdamWOneCycle(lr=1e-3, base_k=base)
        generator = torch.Generator().manual_seed(0)
        x, following = (torch.randn(256, 32, generator=generator) for _ in range(2))
        actions = torch.randint(0, 5, (256,), generator=generator)
        objective = SpectralObjective("pooled", torch.bincount(actions, minlength=5))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            net = Net(size)
        rates = None
        if base is not None:
            by_name = width_factors(Net, size, ModelSize(base, 8 * base))
            scale_initial(net, by_name)
            rates = {name: found.rate for name, found in by_name.items()}
        optimizer = torch.optim.AdamW(settings.groups(net.named_parameters(), rates), lr=1e-3)

        def seen(net=net, x=x, following=following, actions=actions):
            predicted = net.predictor(net.encoder(x), actions)
            return net.encoder.net[:3](x).detach(), (predicted * net.encoder(following)).sum(-1).detach()

        before = seen()
        for _ in range(STEPS):
            loss = objective.one_step(net.predictor(net.encoder(x), actions), net.encoder(following), actions)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        moved[k] = [float((new - old).square().mean().sqrt()) for new, old in zip(seen(), before, strict=True)]
    return [wide / narrow for wide, narrow in zip(moved[WIDTHS[-1]], moved[WIDTHS[0]], strict=True)]


def test_a_step_moves_models_of_every_width_alike():
    """Sixteen times the width. A factor of 2 is left for what is finite at k = 16."""
    assert all(1 / 2 < ratio < 2 for ratio in growth(16))


def test_without_it_a_step_moves_a_wide_model_further():
    hidden, _ = growth(None)
    assert hidden > 4

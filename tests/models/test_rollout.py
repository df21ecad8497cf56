"""Roll-outs, of predictors with and without a past."""

import pytest
import torch

from jepa_scale.models.layers import Normalised
from jepa_scale.models.predictors.transformer import TransformerPredictor
from jepa_scale.models.rollout import roll_out
from jepa_scale.records import ActionSpace, Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose

SPACES = {"discrete": ActionSpace(5), "continuous": ActionSpace(None, 2)}


def predictor_of(kind, **more):
    """As if it were trained: AdaLN's zeros are drawn."""
    torch.manual_seed(0)
    predictor = TransformerPredictor(4, SPACES[kind], 16, units=8, heads=2, **more)
    for block in predictor.blocks:
        torch.nn.init.normal_(block.modulation.weight)
        torch.nn.init.normal_(block.modulation.bias)
    return predictor


def actions_of(kind, *shape):
    generator = torch.Generator().manual_seed(1)
    if kind == "discrete":
        return torch.randint(0, 5, shape, generator=generator)
    return 2 * torch.rand(*shape, 2, generator=generator) - 1


@pytest.mark.parametrize("kind", SPACES)
def test_it_starts_as_the_identity(kind):
    predictor = TransformerPredictor(4, SPACES[kind], 16)
    latents, actions = torch.randn(6, 3, 4), actions_of(kind, 6, 3)
    assert torch.equal(predictor.following(latents, actions), latents)
    assert torch.equal(predictor(latents, actions), latents)


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("later", [1, 2])
def test_what_comes_later_does_not_change_an_earlier_prediction(kind, later):
    predictor, latents, actions = predictor_of(kind), torch.randn(6, 3, 4), actions_of(kind, 6, 3)
    whole = predictor.following(latents, actions)
    other_latents, other_actions = latents.clone(), actions.clone()
    other_latents[:, later] += 1
    other_actions[:, later] = 0 if kind == "continuous" else (actions[:, later] + 1) % 5
    changed = predictor.following(other_latents, other_actions)
    torch.testing.assert_close(changed[:, :later], whole[:, :later], rtol=0, atol=0)
    assert (changed[:, later] - whole[:, later]).abs().amax(-1).min() > 1e-3
    torch.testing.assert_close(predictor.following(latents[:, :later], actions[:, :later]), whole[:, :later])


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("earlier", [0, 1])
def test_what_came_earlier_matters(kind, earlier):
    """Its latent and its action, each alone."""
    predictor, latents, actions = predictor_of(kind), torch.randn(6, 3, 4), actions_of(kind, 6, 3)
    whole = predictor.following(latents, actions)[:, -1]
    other = latents.clone()
    other[:, earlier] += 1
    assert (predictor.following(other, actions)[:, -1] - whole).abs().amax(-1).min() > 1e-4
    taken = actions.clone()
    taken[:, earlier] = 0 if kind == "continuous" else (actions[:, earlier] + 1) % 5
    assert (predictor.following(latents, taken)[:, -1] - whole).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("kind", SPACES)
@pytest.mark.parametrize("context", [2, 3])
def test_a_roll_out_is_given_the_last_steps(kind, context):
    """Written out: the window grows to C and then slides."""
    predictor, start, actions = predictor_of(kind, context=context), torch.randn(2, 3, 4), actions_of(kind, 2, 3, 5)
    axis = -1 if kind == "discrete" else -2
    found = roll_out(predictor.following, start, actions, axis, context=context)
    latents = [start]
    for step in range(5):
        first = max(0, step + 1 - context)
        window = torch.stack(latents[first:], dim=2)
        latents.append(predictor.following(window, actions[:, :, first : step + 1])[:, :, -1])
    torch.testing.assert_close(found, torch.stack(latents[1:], dim=2))


def test_a_markov_predictor_is_called_once_a_step():
    seen = []

    def predict(latents, actions):
        seen.append(latents.shape)
        return latents + actions[..., None]

    reached = roll_out(predict, torch.zeros(6, 2), torch.arange(3.0).expand(6, 3), -1)
    assert seen == [(6, 2)] * 3
    assert reached[0, :, 0].tolist() == [0, 1, 3]


def test_latents_are_renewed_where_windows_end():
    reached = roll_out(lambda z, a: z + 1, torch.zeros(1, 1), torch.zeros(1, 5), -1, lambda z: z + 100, every=2)
    assert reached.flatten().tolist() == [1, 2, 103, 104, 205]


def test_a_normalised_predictor_keeps_its_past():
    predictor, latents, actions = predictor_of("discrete"), torch.randn(6, 3, 4), actions_of("discrete", 6, 3)
    normalised = Normalised(predictor, 4)
    assert normalised.context == 3
    found = normalised.following(latents, actions)
    torch.testing.assert_close(found, torch.nn.functional.layer_norm(predictor.following(latents, actions), (4,)))


def test_windows_beyond_the_context_and_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="at most context=3 steps, got 4"):
        predictor_of("discrete").following(torch.randn(6, 4, 4), actions_of("discrete", 6, 4))
    with pytest.raises(ValueError, match="heads that divide units"):
        TransformerPredictor(4, SPACES["discrete"], 16, units=10, heads=4)


@pytest.mark.parametrize("normalise", [False, True])
def test_training_and_exact_planning_use_the_past(tiny_overrides, normalise):
    """Every plan's end is that of its own roll-out; with one step it is the plain prediction."""
    from jepa_scale.callbacks.planning import every_end

    overrides = ["predictor=transformer", "predictor.units=8", "predictor.heads=2", "data.horizon=3",
                 "planner.horizon=2", "world=torus", "world.side=3", f"model.normalise={normalise}"]  # fmt: skip
    parts = build(compose([*tiny_overrides, *overrides]))
    module, known = parts.module, parts.context.exact
    for name, parameter in module.predictor.named_parameters():
        if "modulation" in name:
            torch.nn.init.normal_(parameter)
    latents = module.encode(torch.eye(9))
    ends = every_end(known, module, latents)
    assert ends.shape == (25, 9, 4)
    for plan in (0, 7, 24):
        actions = torch.tensor([plan // 5, plan % 5]).expand(9, 2)
        torch.testing.assert_close(ends[plan], module.roll_out(latents, actions)[:, -1])
    batch = parts.data.windows.take(torch.arange(8))
    module.training_step(Batch(batch.observations, batch.actions), 0).backward()
    positions = next(p for name, p in module.predictor.named_parameters() if name.endswith("positions"))
    assert (positions.grad.abs().sum(1) > 0).all(), "all steps of a window are trained"

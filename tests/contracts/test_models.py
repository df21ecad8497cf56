"""Every encoder and predictor of conf/ keeps its promises."""

import pytest
import torch

from jepa_scale.records import ActionSpace, Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.testing import check_encoder, check_predictor

PAIRS = [
    (group, leaf.stem) for group in ("encoder", "predictor") for leaf in sorted((conf_dir() / group).glob("*.yaml"))
]

IMAGES = {
    "cnn": [],
    "vit_tiny": ["encoder.units=24", "encoder.heads=3", "encoder.depth=2"],
}
"""Encoders of images, with what makes them tiny."""

VECTORS = [pair for pair in PAIRS if pair[0] == "predictor" or pair[1] not in IMAGES]


def after_three_steps(module, batch):
    """A predictor that starts as the identity learns in all its parts only once it has left it."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module.training_step(batch, 0).backward()
        optimizer.step()
    return module


@pytest.fixture(params=VECTORS, ids="-".join)
def module(request, tiny_overrides):
    group, name = request.param
    return build(compose([*tiny_overrides, f"{group}={name}"])).module


def vectors(rows=64):
    generator = torch.Generator().manual_seed(0)
    return Batch(
        torch.randn(rows, 2, 32, generator=generator), torch.randint(0, 5, (rows, 1), generator=generator)
    )  # fmt: skip


def test_the_contracts_of_both(module):
    check_encoder(module.encoder, (32,), 4)
    check_predictor(module.predictor, 4, ActionSpace(5))


def test_roll_outs_over_any_leading_axes(module):
    latents = module.encode(torch.randn(2, 3, 32))
    assert module.roll_out(latents, torch.randint(0, 5, (2, 3, 5))).shape == (2, 3, 5, 4)


def test_the_action_matters(module):
    after_three_steps(module, vectors())
    latents = module.encode(torch.randn(4, 32))
    first = module.predict(latents, torch.zeros(4, dtype=torch.int64))
    second = module.predict(latents, torch.ones(4, dtype=torch.int64))
    assert (first - second).abs().max() > 1e-6


def test_the_first_step_of_a_roll_out_is_the_prediction(module):
    after_three_steps(module, vectors())
    latents, actions = module.encode(torch.randn(4, 32)), torch.randint(0, 5, (4, 3))
    reached = module.roll_out(latents, actions)
    torch.testing.assert_close(reached[:, 0], module.predict(latents, actions[:, 0]))
    shorter = module.roll_out(latents, actions[:, :2])
    torch.testing.assert_close(reached[:, :2], shorter)


def test_every_parameter_learns(module):
    after_three_steps(module, vectors())
    module.zero_grad()
    module.training_step(vectors(), 0).backward()
    # A predictor with a past reads the first of its positions alone in a window of one step.
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def images_of(name):
    sizes = ["world.size=16", "world=two_rooms", "planner=cem", "objective=vicreg", "predictor=gru"]
    config = compose(["logger=none", "data.n=64", "data.heldout=640", "data.test=640", "data.batch_size=8", "model.k=4",
                      "model.hidden=16", *sizes, f"encoder={name}", *IMAGES[name]])  # fmt: skip
    return build(config)


@pytest.mark.parametrize("name", IMAGES)
def test_encoders_of_images(name):
    parts = images_of(name)
    module, batch = parts.module, parts.data.windows.take(torch.arange(8))
    assert batch.observations.dtype == torch.uint8
    latents = module.encode(batch.observations)
    assert latents.shape == (8, 2, 4)
    assert module.encode(batch.observations[0, 0]).shape == (4,)
    torch.testing.assert_close(module.encode(batch.observations[3, 1]), latents[3, 1])
    torch.testing.assert_close(module.encode(batch.observations.float() / 255), latents)
    module.training_step(batch, 0).backward()
    still = [label for label, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert still == []


@pytest.mark.parametrize("name", IMAGES)
def test_encoders_of_images_see_where_things_are(name):
    """A picture and the same picture moved are two."""
    module = images_of(name).module
    image = torch.zeros(16, 16, 3)
    image[4:8, 4:8] = 1
    assert (module.encode(image) - module.encode(image.roll(6, 1))).abs().max() > 1e-5


@pytest.mark.parametrize("name", IMAGES)
def test_encoders_of_images_refuse_vectors(name, tiny_overrides):
    from jepa_scale.runs.errors import UserError

    with pytest.raises(UserError, match="encoder: expected images"):
        build(compose([*tiny_overrides, f"encoder={name}"]))

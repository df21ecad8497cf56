"""Every way of fine-tuning in conf/finetune keeps its promises."""

import copy
from functools import lru_cache

import pytest
import torch

from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.runs.schema import INJECTED
from jepa_scale.runs.stages import finetuning

NAMES = sorted(leaf.stem for leaf in (conf_dir() / "finetune").glob("*.yaml") if leaf.stem != "none")
SETTINGS = [
    "logger=none", "data.n=600", "data.heldout=640", "data.test=640", "data.batch_size=64", "model.k=4",
    "model.hidden=16", "world=point_mass", "planner=cem", "planner.candidates=16", "predictor=gru", "data.horizon=3",
    "objective=vicreg", "optimizer.base_k=null", "stages=[pretrain,finetune]", "finetune.schedule.steps_per_epoch=4",
]  # fmt: skip


@lru_cache(maxsize=len(NAMES))
def built(name):
    config = compose([*SETTINGS, f"finetune={name}"])
    parts = finetuning(config, build(config))
    parts.module.task.prepare(parts.module, parts.data.windows, 0)
    return parts


@pytest.fixture(params=NAMES)
def parts(request):
    return built(request.param)


def trained(parts, steps=3):
    module = copy.deepcopy(parts.module)
    optimizer = module.optimizer_settings.build(module.named_parameters(), 10, module.rates)["optimizer"]
    losses = []
    for batch in list(parts.data.train_dataloader())[:steps]:
        optimizer.zero_grad()
        loss = module.training_step(batch, 0)
        loss.backward()
        optimizer.step()
        module.on_train_batch_end(None, None, 0)
        losses.append(float(loss.detach()))
    return module, losses


def test_losses_are_numbers_and_the_same_again(parts):
    first, losses = trained(parts)
    second, again = trained(parts)
    assert all(torch.tensor(loss).isfinite() for loss in losses)
    assert losses == again
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters(), strict=True))


def test_only_what_the_schedule_names_and_its_own_networks_move(parts):
    module, _ = trained(parts)
    before = dict(parts.module.named_parameters())
    moved = {name for name, weight in module.named_parameters() if not torch.equal(weight, before[name])}
    asked = [part for part in parts.module.task.schedule.trained if part != "encoder_last"]
    allowed = ("task.", *(f"{part}." for part in asked))
    assert moved
    assert all(name.startswith(allowed) for name in moved)
    for part in asked:
        assert any(name.startswith(f"{part}.") for name in moved)


def test_frozen_parts_take_no_gradient(parts):
    schedule = parts.module.task.schedule
    if not any(part.startswith("encoder") for part in schedule.trained):
        assert not parts.module.sees
        assert not any(weight.requires_grad for weight in parts.module.encoder.parameters())


def test_the_windows_are_as_long_as_it_asks(parts):
    asked = parts.module.task.horizon or 3
    assert parts.data.windows.horizon == asked
    assert parts.data.n == 600


def test_everything_that_it_adds_is_in_the_checkpoint(parts):
    held = parts.module.state_dict()
    assert all(f"task.{name}" in held for name in parts.module.task.state_dict())


def test_plans_and_distances_have_the_shapes_that_planners_expect(parts):
    module = parts.module
    latents = torch.zeros(5, 4)
    if module.policy is not None:
        assert module.policy(latents, latents).shape == (5, parts.context.planner.horizon, 2)
    assert module.readout(latents).shape == module.goal(torch.zeros(5, 36), latents).shape


def test_a_configuration_cannot_set_what_the_run_supplies():
    for name in NAMES:
        leaf = compose([*SETTINGS, f"finetune={name}"])["finetune"]
        assert not set(leaf) & set(INJECTED["finetune"])

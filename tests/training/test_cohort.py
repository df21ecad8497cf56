"""Training stacked is training alone: every objective, encoder and predictor of conf/, step by step, in float64."""

import pytest
import torch

from jepa_scale.records import Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.training.cohort.stack import Stack, Trainee

STEPS = 12
TINY = [
    "logger=none", "data.n=400", "data.heldout=640", "data.test=640", "data.batch_size=32", "model.k=4",
    "model.hidden=16", "trainer.steps_per_epoch=8", "callbacks=none",
]  # fmt: skip
PIXELS = ["world=two_rooms", "planner=none", "data.n=80", "data.batch_size=8"]
SMALL = {"cnn": PIXELS, "vit_tiny": [*PIXELS, "encoder.units=12", "encoder.depth=1"]}
CONTINUOUS = ["world=point_mass", "planner=none", "data.horizon=3"]


def leaves(group):
    return sorted(leaf.stem for leaf in (conf_dir() / group).glob("*.yaml"))


CASES = {
    **{f"objective-{name}": [f"objective={name}", "data.horizon=2"] for name in leaves("objective")},
    **{f"continuous-{name}": [f"objective={name}", *CONTINUOUS] for name in leaves("objective")},
    **{f"predictor-{name}": [f"predictor={name}", "data.horizon=2"] for name in leaves("predictor")},
    **{f"encoder-{name}": [f"encoder={name}", *SMALL.get(name, [])] for name in leaves("encoder")},
    "same_action": ["objective.negatives=same_action"],
    "normalised": ["model.normalise=true"],
    "noisy": ["world.noise_std=0.5", "world=point_mass", "planner=none"],
    "one_rate": ["optimizer.base_k=null"],
    "unclipped": ["trainer.gradient_clip=null"],
    "wide": ["model.k=24"],
}
MEMBERS = [
    ["seed=0", "optimizer.lr=0.002", "optimizer.weight_decay=0.1"],
    ["seed=1", "data.n=70", "optimizer.lr=0.03"],
    ["seed=2", "data.n=300"],
]
"""Members that differ in all that a cohort's may."""
COEFFICIENTS = {
    "spectral": [], "latent": ["objective.variance=3"], "ema": ["objective.momentum=0.9"],
    "input_level": [], "sigreg": ["objective.weight=2"], "vicreg": ["objective.covariance=4"],
    "vicreg_inverse": ["objective.weight=0.3", "objective.base.variance=2"],
}  # fmt: skip


def trainees(overrides, members=MEMBERS):
    """Trainees of the members in float64, as they are before the first step."""
    made = []
    for own in members:
        config = compose([*TINY, *overrides, *own])
        parts = build(config)
        module = parts.module.double()
        built = module.optimizer_settings.build(module.named_parameters(), 16, module.rates)
        schedule, loader = built["lr_scheduler"]["scheduler"], parts.data.train_dataloader()
        if loader.data.observations.values.dtype == torch.uint8:
            # Encoders take bytes to float32; what they take them to is also an observation.
            loader.data.observations.values = loader.data.observations.values.double() / 255
        made.append(Trainee(module, built["optimizer"], schedule, loader, config["trainer"]["gradient_clip"]))
    return made


def alone(trainee, steps):
    """Train as PyTorch's own loop does."""
    module = trainee.module
    for step in range(steps):
        batch = trainee.loader.data.take(trainee.loader.chosen(step))
        loss = module.training_step(Batch(*(cast(values) for values in (batch.observations, batch.actions))), step)
        trainee.optimizer.zero_grad()
        loss.backward()
        if trainee.clip is not None:
            torch.nn.utils.clip_grad_norm_(module.parameters(), trainee.clip)
        trainee.optimizer.step()
        trainee.schedule.step()
        module.on_train_batch_end(None, None, step)


def cast(values):
    return values.double() if values.is_floating_point() else values


def state_of(trainee):
    """All numbers of a trainee by name."""
    found = {f"weight/{name}": value for name, value in trainee.module.state_dict().items() if torch.is_tensor(value)}
    for number, moments in trainee.optimizer.state_dict()["state"].items():
        found |= {f"moments/{number}/{name}": value for name, value in moments.items()}
    for number, group in enumerate(trainee.optimizer.param_groups):
        found |= {f"group/{number}/{name}": torch.tensor(group[name], dtype=torch.float64) for name in ("lr", "betas")}
    found |= {"loss": trainee.module.last_loss, "latents": trainee.module.last_latents, "sum": trainee.module.loss_sum}
    found["last_epoch"] = torch.tensor(trainee.schedule.last_epoch)
    return found


def assert_same(stacked, solo, tolerance=1e-9):
    ours, theirs = state_of(stacked), state_of(solo)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(
            ours[name], value, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("case", CASES)
def test_stacked_training_is_solo_training(case):
    overrides = CASES[case]
    members = [list(own) for own in MEMBERS]
    members[1] += COEFFICIENTS.get(case.partition("-")[2], [])
    solo, together = trainees(overrides, members), trainees(overrides, members)
    stack = Stack(together)
    stack.check(0)
    stack.advance(0, 5)
    stack.advance(5, STEPS - 5)
    for one, other in zip(together, solo, strict=True):
        alone(other, STEPS)
        assert_same(one, other)

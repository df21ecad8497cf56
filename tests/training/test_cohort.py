"""Training stacked is training alone: every objective, encoder and predictor of conf/, step by step, in float64."""

import copy
import itertools

import pytest
import torch

from jepa_scale.records import Batch
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose, conf_dir
from jepa_scale.training.cohort.stack import NotStackable, Stack, Trainee, _Unread

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


def test_batches_and_weights_of_members_are_those_of_runs_alone_bit_by_bit():
    solo, together = trainees([]), trainees([])
    stack = Stack(together)
    for step in (0, 3, 17):
        batch = stack.batches.take(step)
        for m, trainee in enumerate(solo):
            own = trainee.loader.data.take(trainee.loader.chosen(step))
            assert torch.equal(batch.actions[m], own.actions)
            assert torch.equal(stack.batches.looked_up(batch)[m], own.observations.double())
    for m, trainee in enumerate(solo):
        for name, value in trainee.module.named_parameters():
            assert torch.equal(stack.parameters[f"model.{name}"][m], value)


def test_a_finite_worlds_observations_are_encoded_once():
    """32 windows of 2 steps show 64 observations; of the nuisance world there are 200."""
    few, many = Stack(trainees([], MEMBERS[:2])), Stack(trainees(["data.horizon=8"], MEMBERS[:2]))
    assert few.batches.table is None, "more work"
    assert len(many.batches.table) <= 200
    many.check(0)
    assert many._reads is False, "the spectral objective does not look at observations themselves"
    noisy = Stack(trainees(["data.horizon=8", "world=point_mass", "planner=none"], MEMBERS[:2]))
    assert noisy.batches.table is None


@pytest.mark.parametrize("objective", leaves("objective"))
def test_the_table_gives_the_gradients_of_the_batch(objective):
    overrides = ["data.horizon=8", f"objective={objective}"]
    stacks = [Stack(trainees(overrides, MEMBERS[:2]), tabulate) for tabulate in (True, False)]
    for stack in stacks:
        stack.check(0)
    assert [stack.batches.table is None for stack in stacks] == [False, True]
    found = [stack.gradients(stack.batches.take(0)) for stack in stacks]
    for name, value in found[1].items():
        torch.testing.assert_close(found[0][name], value, rtol=1e-9, atol=1e-11)


def test_a_lost_member_touches_no_other_and_is_left_as_it_is():
    members = [MEMBERS[0], ["seed=1", "optimizer.lr=1e200"], MEMBERS[2]]
    together, solo = trainees([], members), trainees([], members)
    stack = Stack(together)
    stack.check(0)
    stack.advance(0, 4)
    assert not bool(together[1].module.last_loss.isfinite())
    lost = {name: value.clone() for name, value in state_of(together[1]).items()}
    stack.alive = [0, 2]
    stack.advance(4, 4)
    for name, value in state_of(together[1]).items():
        assert torch.equal(value.nan_to_num(7), lost[name].nan_to_num(7)), name
    for m in (0, 2):
        alone(solo[m], 8)
        assert_same(together[m], solo[m])


class Dropping(torch.nn.Sequential):
    """An encoder with dropout."""

    def __init__(self, observation_shape, k, hidden):
        super().__init__(torch.nn.Linear(observation_shape[0], k), torch.nn.Dropout(0.5))


class Coupled(torch.nn.Linear):
    """An encoder whose rows are not independent."""

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)

    def forward(self, observations):
        latents = super().forward(observations)
        return latents - 0.5 * latents.mean(0)


class Looking(torch.nn.Linear):
    """An encoder that looks at a value."""

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)

    def forward(self, observations):
        latents = super().forward(observations)
        return latents if float(latents.sum()) > 0 else -latents


class Hidden(torch.nn.Linear):
    """An encoder with a number that nothing sees from outside."""

    made = itertools.count(1)

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)
        self.settings = [float(next(self.made))]

    def forward(self, observations):
        return super().forward(observations) * self.settings[0]


class Tabled(torch.nn.Linear):
    """An encoder that looks its own number up in a table, of which a tensor is no key."""

    made = itertools.count(1)

    def __init__(self, observation_shape, k, hidden):
        super().__init__(observation_shape[0], k)
        self.number = float(next(self.made))

    def forward(self, observations):
        return super().forward(observations) * {float(key): 1 / key for key in range(1, 100)}[self.number]


def test_a_loop_over_observations_that_are_not_there_ends():
    with pytest.raises(TypeError, match="not iterable"):
        list(_Unread())


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (Dropping, "global generator"),
        (Looking, "does not take its parts"),
        (Tabled, "does not take its parts"),
        (Hidden, "loss is another one"),
    ],
)
def test_what_cannot_be_stacked_is_named(encoder, reason, monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    together = trainees([f"encoder._target_={__name__}.{encoder.__name__}"])
    before = [copy.deepcopy(trainee.module.state_dict()) for trainee in together]
    with pytest.raises(NotStackable, match=reason):
        Stack(together).check(0)
    for trainee, state in zip(together, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in trainee.module.state_dict().items())


def test_rows_that_are_not_independent_are_encoded_as_a_batch(monkeypatch):
    monkeypatch.setenv("JEPA_SCALE_ALLOW", __name__)
    overrides = [f"encoder._target_={__name__}.Coupled", "data.horizon=8"]
    together, solo = trainees(overrides, MEMBERS[:2]), trainees(overrides, MEMBERS[:2])
    stack = Stack(together)
    stack.check(0)
    assert stack.batches.table is None
    stack.advance(0, 5)
    for one, other in zip(together, solo, strict=True):
        alone(other, 5)
        assert_same(one, other)

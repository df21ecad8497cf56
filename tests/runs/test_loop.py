"""The loop of a run alone is Lightning's to the last bit, and is used where nothing needs Lightning's own."""

import itertools
import os
import signal

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LambdaCallback

from jepa_scale import signals
from jepa_scale.runs import loop
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import Interrupted
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.loop import Alone
from jepa_scale.runs.run import run
from jepa_scale.training.finetuning.policy import AmortisedPlanner
from jepa_scale.training.pretrain import Pretrain

TINY = [
    "logger=none", "callbacks=none", "trainer.epochs=2", "trainer.steps_per_epoch=27", "data.n=600", "data.heldout=640",
    "data.test=640", "data.batch_size=32", "model.k=4", "model.hidden=16",
]  # fmt: skip
POINT_MASS = [
    *TINY, "world=point_mass", "planner=cem", "planner.candidates=16", "evaluation.episodes=2", "data.horizon=3",
    "evaluation.required_steps=[5]", "evaluation.same_cost_episodes=0", "optimizer.base_k=null",
    "finetune.schedule.epochs=2", "finetune.schedule.steps_per_epoch=12",
]  # fmt: skip
RUNS = {
    "spectral": TINY,
    "without clipping": [*TINY, "trainer.gradient_clip=null"],
    "sigreg": [*TINY, "objective=sigreg", "planner.score=distance"],
    "ema, saved inside epochs": [*TINY, "objective=ema", "planner.score=distance", "trainer.checkpoint_every=7"],
    "sgd, cosine": [
        *TINY, "optimizer._target_=torch.optim.SGD", "optimizer.lr=0.1",
        "optimizer.scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR",
    ],
    "rprop": [*TINY, "optimizer._target_=torch.optim.Rprop", "optimizer.lr=0.001"],
    "vicreg, then amortised": [*POINT_MASS[:-2], "objective=vicreg", "finetune=amortised", *POINT_MASS[-2:]],
    "vicreg, then value": [*POINT_MASS[:-2], "objective=vicreg", "finetune=value", *POINT_MASS[-2:]],
    "diverged": [*TINY, "optimizer.lr=1e6"],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_request():
    signals.clear()
    yield
    signals.clear()


@pytest.fixture
def epochs(monkeypatch):
    """Numbers of the epochs that were not done by Lightning's loop."""
    done, original = [], loop.run_epoch

    def noted(trainer, *arguments):
        done.append(trainer.current_epoch)
        original(trainer, *arguments)

    monkeypatch.setattr(loop, "run_epoch", noted)
    return done


def by_lightning(monkeypatch, *arguments, **keywords):
    with monkeypatch.context() as patched:
        patched.setattr(Alone, "fits", lambda self: False)
        return run(*arguments, **keywords)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) or bool(one.isnan().any() and torch.equal(one.isnan(), other.isnan()))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def assert_same(one, other):
    """Bit by bit: estimates, and checkpoints with weights, moments, schedules and every counter of Lightning's."""
    rows = [
        sorted(RunFolder(folder).read_metrics(), key=lambda row: (row["epoch"], row["name"])) for folder in (one, other)
    ]
    assert rows[0] == rows[1]
    checkpoints = [sorted(path.name for path in (folder / "checkpoints").glob("*")) for folder in (one, other)]
    assert checkpoints[0] == checkpoints[1]
    for name in checkpoints[0]:
        ours, theirs = (torch.load(folder / "checkpoints" / name, weights_only=True) for folder in (one, other))
        for states in (ours, theirs):
            states["jepa_scale_progress"]["generators"] = [
                {"torch": held["torch"]} for held in states["jepa_scale_progress"]["generators"]
            ]
        assert ours.keys() == theirs.keys()
        for part in ours:
            assert same(ours[part], theirs[part]), (name, part)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_ends_as_by_lightnings_own_loop(name, tmp_path, monkeypatch, epochs):
    config = compose(RUNS[name])
    torch.manual_seed(0)
    theirs = by_lightning(monkeypatch, config, tmp_path / "theirs")
    assert not epochs
    torch.manual_seed(0)
    ours = run(config, tmp_path / "ours")
    assert epochs == ([0] if name == "diverged" else [0, 1] * len(config["stages"]))
    assert (ours.status, ours.reason, ours.final) == (theirs.status, theirs.reason, theirs.final)
    assert_same(tmp_path / "ours", tmp_path / "theirs")


def stop_at(steps):
    """Callback of a user that asks to stop, by a signal, after so many steps; it does not look at others."""

    class Stopping(L.Callback):
        def idle_steps(self, trainer, batch_idx):
            return steps - trainer.global_step if trainer.global_step < steps else 1000

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if trainer.global_step == steps:
                os.kill(os.getpid(), signal.SIGTERM)

    return Stopping()


def test_what_one_loop_saves_inside_an_epoch_the_other_continues(tmp_path, monkeypatch, epochs):
    """After 34 of 54 steps, with all counters, as Lightning continues what it has saved itself."""
    config = compose(TINY)
    loops = {"ours": run, "theirs": lambda *arguments, **more: by_lightning(monkeypatch, *arguments, **more)}
    held = {number: signal.getsignal(number) for number in signals.SIGNALS}
    for first, then in itertools.product(loops, repeat=2):
        folder = tmp_path / f"{first}, {then}"
        torch.manual_seed(0)
        signals.install()
        try:
            with pytest.raises(Interrupted):
                loops[first](config, folder, extra=[stop_at(34)])
        finally:
            for number, handler in held.items():
                signal.signal(number, handler)
            signals._installed = False
            signals.clear()
        assert torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 34
        loops[then](config, folder)
    assert epochs == [0, 1, 1, 0, 1, 1]
    for folder in tmp_path.iterdir():
        assert_same(folder, tmp_path / "theirs, theirs")


def test_a_signal_is_answered_before_the_next_step(tmp_path, monkeypatch):
    """Not only where a callback looks at a step: with large models ten of them are longer than a queue waits."""
    original = Pretrain.training_step

    def step(self, batch, index):
        if self.trainer.global_step == 12:
            signals.ask(signal.SIGUSR1)
        return original(self, batch, index)

    monkeypatch.setattr(Pretrain, "training_step", step)
    with pytest.raises(Interrupted):
        run(compose(TINY), tmp_path / "run")
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 13


class Noting(L.Callback):
    """Looks at every fifth step of an epoch, and says so or not."""

    def __init__(self):
        self.seen = []

    def note(self, *facts):
        self.seen.append(facts)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx % 5 == 0:
            progress = trainer.fit_loop.epoch_loop.batch_progress
            self.note(trainer.global_step, batch_idx, float(batch.observations.sum()), progress.state_dict())

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx % 5 == 4:
            progress = trainer.fit_loop.epoch_loop.batch_progress
            self.note(trainer.global_step, batch_idx, float(batch.observations.sum()), progress.state_dict())
            self.note(float(outputs["loss"]), float(module.encoder.net[0].weight.detach().sum()), module.global_step)
            module.log("mine", outputs["loss"], on_step=True, on_epoch=False)


class Idle(Noting):
    def idle_steps(self, trainer, batch_idx):
        return 5 - batch_idx % 5


def test_a_callback_that_says_when_it_looks_sees_what_lightning_shows(tmp_path, epochs):
    plain, idle = Noting(), Idle()
    for callback in (plain, idle):
        torch.manual_seed(0)
        run(compose(TINY), tmp_path / type(callback).__name__, extra=[callback])
    assert epochs == [0, 1], "of the second run alone"
    assert len(idle.seen) > 20
    assert idle.seen == plain.seen
    assert_same(tmp_path / "Noting", tmp_path / "Idle")


def test_a_limit_on_steps_holds(tmp_path, monkeypatch, epochs):
    class Limit(L.Callback):
        def on_train_start(self, trainer, module):
            trainer.fit_loop.epoch_loop.max_steps = 35

    config = compose([*TINY, "trainer.checkpoint_every=11"])
    for name, do in (("theirs", lambda *a, **k: by_lightning(monkeypatch, *a, **k)), ("ours", run)):
        torch.manual_seed(0)
        do(config, tmp_path / name, extra=[Limit()])
    assert epochs == [0, 1]
    assert torch.load(tmp_path / "ours/checkpoints/last.ckpt", weights_only=True)["global_step"] == 35
    assert_same(tmp_path / "ours", tmp_path / "theirs")


def test_a_callback_that_stops_training_stops_it_at_that_step(tmp_path, epochs):
    class Stop(Idle):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            if batch_idx == 9:
                trainer.should_stop = True

    run(compose(TINY), tmp_path / "run", extra=[Stop()])
    assert epochs == [0]
    assert {row["step"] for row in RunFolder(tmp_path / "run").read_metrics()} == {10}


class Inside(L.Callback):
    idle_steps = Idle.idle_steps

    def on_after_backward(self, trainer, module):
        pass


@pytest.mark.parametrize(
    "callback",
    [
        pytest.param(lambda: Noting(), id="looks at every step"),
        pytest.param(lambda: LambdaCallback(on_train_batch_end=lambda *arguments: None), id="hook on the object"),
        pytest.param(lambda: Inside(), id="looks into steps"),
    ],
)
def test_a_callback_that_must_see_every_step_gets_lightnings_loop(callback, tmp_path, epochs):
    assert run(compose(TINY), tmp_path / "run", extra=[callback()]).status == "finished"
    assert not epochs


def test_what_a_callback_changes_between_epochs_is_noticed(tmp_path, epochs):
    """Gradients are accumulated in the second epoch: 27 batches in pairs are 14 steps."""
    run(compose(TINY), tmp_path / "run", extra=[GradientAccumulationScheduler({1: 2})])
    assert epochs == [0]
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 27 + 14


NEEDS = {
    "lbfgs": [*TINY, "optimizer._target_=torch.optim.LBFGS", "optimizer.lr=0.01"],
    "16 bits": [*TINY, "trainer.precision=bf16-mixed"],
}


@pytest.mark.parametrize("name", NEEDS)
def test_what_needs_lightnings_loop_gets_it(name, tmp_path, epochs):
    run(compose(NEEDS[name]), tmp_path / "run")
    assert not epochs


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_before_optimizer_step", "lr_scheduler_step"])
def test_a_hook_of_the_module_itself_is_called(hook, tmp_path, monkeypatch, epochs):
    calls, original = [], getattr(Pretrain, hook)

    def noted(self, *arguments):
        calls.append(hook)
        return original(self, *arguments)

    monkeypatch.setattr(Pretrain, hook, noted, raising=False)
    run(compose(TINY), tmp_path / "run")
    assert len(calls) == 54
    assert not epochs


def test_another_packages_fine_tuning_may_log_from_its_step(tmp_path, monkeypatch, epochs):
    monkeypatch.setattr(AmortisedPlanner, "__module__", "theirs")
    run(compose(RUNS["vicreg, then amortised"]), tmp_path / "run")
    assert epochs == [0, 1], "of pretraining alone"

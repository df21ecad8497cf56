"""Stopping at a signal: between which steps, and that what goes on afterwards is the same run to the last bit."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from jepa_scale import signals
from jepa_scale.callbacks.checkpoint import RunCheckpoint, generators, restore_generators
from jepa_scale.callbacks.planning import PlanningCallback
from jepa_scale.runs.checkpoint import read_checkpoint
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import Interrupted
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run
from jepa_scale.training.finetune import FineTune
from jepa_scale.training.pretrain import Pretrain

TINY = [
    "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=4", "data.n=600", "data.heldout=640", "data.test=640",
    "data.batch_size=32", "model.k=4", "model.hidden=16",
]  # fmt: skip
POINT_MASS = [
    *TINY, "world=point_mass", "planner=cem", "planner.candidates=16", "evaluation.episodes=2",
    "evaluation.required_steps=[5]", "evaluation.same_cost_episodes=0", "predictor=gru", "data.horizon=3",
    "optimizer.base_k=null", "model.normalise=true", "finetune.schedule.epochs=2",
    "finetune.schedule.steps_per_epoch=3",
]  # fmt: skip
RUNS = {
    "spectral": TINY,
    "sigreg": [*TINY, "objective=sigreg", "planner.score=distance"],
    "ema, then amortised": [*POINT_MASS[:-2], "objective=ema", "finetune=amortised", *POINT_MASS[-2:]],
    "vicreg, then rollout": [*POINT_MASS[:-2], "objective=vicreg", "finetune=rollout", *POINT_MASS[-2:]],
    "vicreg, then value": [*POINT_MASS[:-2], "objective=vicreg", "finetune=value", *POINT_MASS[-2:]],
    "vicreg, then distill": [
        *POINT_MASS[:-2], "objective=vicreg", "finetune=distill", "finetune.pairs=40", *POINT_MASS[-2:],
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_request():
    held = {number: signal.getsignal(number) for number in signals.SIGNALS}
    signals.clear()
    yield
    signals.clear()
    for number, handler in held.items():
        signal.signal(number, handler)
    signals._installed = False


def result(folder):
    """All that a run leaves, but for the times it took."""
    record = json.loads((folder / "record.json").read_text())
    del record["times"], record["config"]["trainer"]["checkpoint_every"]
    rows = sorted(RunFolder(folder).read_metrics(), key=lambda row: (row["epoch"], row["name"]))
    return record, rows


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def check_same_end(whole, broken, generators=False):
    """``generators``: also those that nothing draws from, where both runs began with the same."""
    (record, rows), (expected, others) = result(broken), result(whole)
    assert rows == others
    assert record == expected
    for checkpoint in sorted((whole / "checkpoints").glob("*.ckpt")):
        ours, theirs = (
            torch.load(path, weights_only=False) for path in (checkpoint, broken / "checkpoints" / checkpoint.name)
        )
        for progress in (ours["jepa_scale_progress"], theirs["jepa_scale_progress"]):
            kept = ("torch", "numpy") if generators else ()
            progress["generators"] = [{name: states[name] for name in kept} for states in progress["generators"]]
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "jepa_scale_progress", "callbacks"):
            assert same(ours[part], theirs[part]), (checkpoint.name, part)


def seed_all(seed):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002


def ask_at_each_step(monkeypatch, kind):
    original = kind.training_step

    def step(self, batch, index):
        if kind is Pretrain and self.trainer.global_step == 0:
            seed_all(1)
        # The global generators must go on where they were as well; from Python's own beartype draws what it checks.
        noise = torch.randn(()) + np.random.random()  # noqa: NPY002
        signals.ask(signal.SIGUSR1)
        return original(self, batch, index) * (1 + 1e-3 * noise)

    monkeypatch.setattr(kind, "training_step", step)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_stopped_before_every_step_ends_as_if_it_had_not_been(name, tmp_path, monkeypatch):
    config = compose(RUNS[name])
    for kind in (Pretrain, FineTune):
        ask_at_each_step(monkeypatch, kind)
    with monkeypatch.context() as deaf:
        deaf.setattr(signals, "request", lambda: 0)
        run(config, tmp_path / "whole")
    stops = []
    while not (tmp_path / "broken/record.json").exists():
        signals.clear()
        with contextlib.suppress(Interrupted):
            run(config, tmp_path / "broken")
            break
        stage = max((tmp_path / "broken/checkpoints").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
        stops.append((stage.name, read_checkpoint(stage).step))
        # Another process would not have these either.
        seed_all(2)
    first = [step for file, step in stops if "finetune" not in config["stages"] or file == "pretrained.ckpt"]
    assert first == list(range(1, 9))
    if "finetune" in config["stages"]:
        assert [step for file, step in stops if file == "last.ckpt"] == list(range(1, 7))
    check_same_end(tmp_path / "whole", tmp_path / "broken", generators=True)
    written = [json.loads(line) for line in (tmp_path / "broken/metrics.jsonl").read_text().splitlines()[1:]]
    keys = [(row["name"], row["epoch"]) for line in written for row in line]
    assert len(keys) == len(set(keys)), "what is stopped, not killed, writes nothing twice"


@pytest.mark.parametrize("every", [1, 3])
def test_checkpoints_inside_an_epoch_are_gone_on_from(every, tmp_path, monkeypatch):
    """Killed in the middle of a step: at most ``checkpoint_every`` steps are done again."""
    config = compose([*TINY, "trainer.steps_per_epoch=8", f"trainer.checkpoint_every={every}"])
    run(config, tmp_path / "whole")
    original, steps = Pretrain.training_step, []

    class Killed(BaseException):
        pass

    def step(self, batch, index):
        steps.append(self.trainer.global_step)
        if len(steps) == 14:
            raise Killed
        return original(self, batch, index)

    monkeypatch.setattr(Pretrain, "training_step", step)
    with pytest.raises(Killed):
        run(config, tmp_path / "broken")
    saved = read_checkpoint(tmp_path / "broken").step
    assert saved == {1: 13, 3: 12}[every]
    run(config, tmp_path / "broken")
    assert steps[14] == saved
    check_same_end(tmp_path / "whole", tmp_path / "broken")


def test_how_often_a_run_saves_is_no_part_of_it(tmp_path):
    from jepa_scale.runs.identity import run_id

    often = compose([*TINY, "trainer.checkpoint_every=2"])
    assert run_id(often) == run_id(compose(TINY))
    assert run_id(compose([*TINY, "trainer.compile=true"])) != run_id(compose(TINY))
    older = {
        **often,
        "trainer": {k: v for k, v in often["trainer"].items() if k not in ("checkpoint_every", "compile")},
    }
    assert run_id(older) == run_id(often)
    assert run(older, tmp_path / "run") == run(often, tmp_path / "run")


def test_a_signal_during_estimates_is_answered_once_they_are_saved(tmp_path, monkeypatch):
    config = compose(TINY)
    run(config, tmp_path / "whole")
    original = PlanningCallback.estimates

    def estimates(self, trainer, module):
        signals.ask(signal.SIGTERM)
        return original(self, trainer, module)

    with monkeypatch.context() as told:
        told.setattr(PlanningCallback, "estimates", estimates)
        for epoch in (1, 2):
            signals.clear()
            with pytest.raises(Interrupted) as caught:
                run(config, tmp_path / "broken")
            assert caught.value.request == 1
            assert read_checkpoint(tmp_path / "broken").step == 4 * epoch
            assert {row["epoch"] for row in RunFolder(tmp_path / "broken").read_metrics()} == set(range(epoch))
    signals.clear()
    run(config, tmp_path / "broken")
    check_same_end(tmp_path / "whole", tmp_path / "broken")


def test_a_signal_after_training_changes_nothing(tmp_path, monkeypatch):
    from jepa_scale.runs import run as module

    original = module.split_estimates

    def late(*arguments):
        signals.ask(signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(module, "split_estimates", late)
    assert run(compose(TINY), tmp_path / "run").status == "finished"


def test_a_stop_before_any_step_leaves_the_age_of_what_was_saved(tmp_path, monkeypatch):
    """By it a worker tells whether a run comes further from one start to the next."""
    config, run_folder = compose(TINY), tmp_path / "run"
    signals.ask(signal.SIGTERM)
    with pytest.raises(Interrupted, match="before the first step of its stage: the same command goes on"):
        run(config, run_folder)
    assert not RunFolder(run_folder).checkpoint_path.exists()
    with monkeypatch.context() as told:
        signals.clear()
        ask_at_each_step(told, Pretrain)
        with pytest.raises(Interrupted, match="the same command goes on from there"):
            run(config, run_folder)
    before = RunFolder(run_folder).checkpoint_path.stat().st_mtime_ns
    with pytest.raises(Interrupted):
        run(config, run_folder)
    assert RunFolder(run_folder).checkpoint_path.stat().st_mtime_ns == before
    assert read_checkpoint(run_folder).step == 1


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_real_signal_in_the_middle_of_a_step(number, tmp_path, monkeypatch):
    """Our handlers stay in place while Lightning trains, and afterwards."""
    signals.install()
    original = Pretrain.training_step

    def step(self, batch, index):
        if self.trainer.global_step == 2:
            os.kill(os.getpid(), number)
        return original(self, batch, index)

    with monkeypatch.context() as told:
        told.setattr(Pretrain, "training_step", step)
        with pytest.raises(Interrupted):
            run(compose(TINY), tmp_path / "run")
    assert read_checkpoint(tmp_path / "run").step == 3
    assert signal.getsignal(number) is signals._note
    assert signals.request() == 1 + signals.SIGNALS.index(number)


def test_the_warning_before_a_time_limit_outweighs_the_end():
    signals.ask(signal.SIGUSR1)
    signals.ask(signal.SIGTERM)
    assert signals.request() == 2


def test_handlers_are_for_the_main_thread():
    thread = threading.Thread(target=signals.install)
    thread.start()
    thread.join()
    assert not signals.installed()


def test_a_divergence_goes_before_a_signal(tmp_path, monkeypatch):
    """Nothing of a lost model is saved, and its record is written."""
    signals.ask(signal.SIGTERM)
    monkeypatch.setattr(signals, "request", lambda: int(len(calls) > 3))
    calls = []
    original = Pretrain.training_step

    def step(self, batch, index):
        calls.append(index)
        return original(self, batch, index) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(Pretrain, "training_step", step)
    record = run(compose(TINY), tmp_path / "run")
    assert record.status == "diverged"
    assert not (tmp_path / "run/checkpoints/last.ckpt").exists()


def test_generators_are_restored(tmp_path):
    torch.save(generators(), tmp_path / "states")

    def draws():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), np.random.randn(), random.random()  # noqa: NPY002

    first = draws()
    restore_generators(torch.load(tmp_path / "states", weights_only=True))
    assert draws() == first


def test_a_checkpoint_is_whole_or_not_at_all(tmp_path, monkeypatch):
    config = compose([*TINY, "trainer.checkpoint_every=1"])

    class Killed(BaseException):
        pass

    original = RunCheckpoint.save

    def save(self, trainer):
        if trainer.global_step == 3:
            self.path.with_suffix(".tmp").write_bytes(b"half a check")
            raise Killed
        original(self, trainer)

    with monkeypatch.context() as told:
        told.setattr(RunCheckpoint, "save", save)
        with pytest.raises(Killed):
            run(config, tmp_path / "run")
    assert read_checkpoint(tmp_path / "run").step == 2
    run(config, tmp_path / "run")
    run(config, tmp_path / "whole")
    check_same_end(tmp_path / "whole", tmp_path / "run")


def test_a_signal_in_the_last_moments_of_a_process_does_not_kill_it():
    """Python gives handlers back before it takes modules apart; what is deleted then still meets signals."""
    program = (
        "import os, signal\nfrom jepa_scale import signals\nsignals.install()\n"
        "class Late:\n    def __init__(self):\n        self.kill, self.own = os.kill, os.getpid()\n"
        "        self.number, self.write = signal.SIGUSR1, os.write\n"
        "    def __del__(self):\n        self.kill(self.own, self.number)\n        self.write(1, b'sent')\n"
        "late = Late()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"sent")

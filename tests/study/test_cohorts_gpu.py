"""Cohorts of runs on GPUs: how many by a rule, which device each worker uses, and what happens when memory is short."""

import json
import os

import pytest
import torch

from jepa_scale.runs import device_memory
from jepa_scale.runs.build import build_world
from jepa_scale.runs.cohort import most_in_memory, step_flops
from jepa_scale.runs.config import compose
from jepa_scale.studies import sweep
from jepa_scale.studies.cohorts import MOST_ON_GPU, SMALL, SMALL_ON_GPU, Cohorts, why_alone
from jepa_scale.studies.launching.devices import device_of, devices_for
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.worker import work
from tests.study.test_cohorts import TINY, points_of
from tests.study.test_queue import states

GPU = "trainer.accelerator=gpu"
PIXELS = ["world=two_rooms", "planner=none", "encoder=cnn", GPU]
GIB = 2**30


@pytest.fixture
def memory(monkeypatch):
    """Set the bytes of a GPU that is not there."""
    return lambda size: monkeypatch.setattr(device_memory, "device_memory", lambda: size)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ([GPU], ""),
        (["trainer.accelerator=cuda"], ""),
        (["trainer.accelerator=auto"], "trains on auto, and cohorts do on cpu and gpu"),
        (["trainer.accelerator=mps"], "trains on mps"),
        ([GPU, "trainer.devices=2"], "several processes"),
        ([GPU, "trainer.precision=bf16-mixed"], "bf16-mixed"),
    ],
)
def test_runs_on_one_gpu_may_join(overrides, reason):
    why = why_alone(compose([*TINY, *overrides]))
    assert reason in why
    assert bool(reason) == bool(why)


def seeds(*overrides):
    return points_of(*[[f"seed={seed}", *overrides] for seed in range(3)])


def test_small_models_are_many_on_a_gpu(memory):
    memory(24 * GIB)
    points = seeds(GPU)
    assert Cohorts("auto", 1, points).most(next(iter(points)), 500) == MOST_ON_GPU
    assert Cohorts("auto", 2, points).most(next(iter(points)), 60) == 30, "workers share what waits"


def test_convolutions_are_stacked_on_a_gpu_alone(memory):
    memory(24 * GIB)
    points = seeds(*PIXELS, "data.batch_size=256")
    (config, *_) = [point.config for point in points.values()]
    assert SMALL < step_flops(config) < SMALL_ON_GPU
    assert Cohorts("auto", 1, points).most(next(iter(points)), 500) == min(most_in_memory(config), MOST_ON_GPU) > 8


def test_memory_limits_a_cohort_and_is_shared_by_the_workers_of_a_device(memory):
    points = seeds(GPU)
    (config, *_) = [point.config for point in points.values()]
    memory(80 * device_memory.member_bytes(config))
    name = next(iter(points))
    assert most_in_memory(config) == 40
    assert Cohorts("auto", 4, points, neighbours=1).most(name, 500) == 40
    assert Cohorts("auto", 4, points, neighbours=4).most(name, 500) == 10
    assert Cohorts("auto", 4, points).most(name, 500) == 10


def test_bytes_of_a_member_grow_with_what_takes_them():
    sizes = [
        device_memory.member_bytes(compose([*TINY, *own]))
        for own in ([], ["data.batch_size=64"], ["data.batch_size=64", "model.hidden=64"], [*PIXELS, "model.hidden=64"])
    ]
    assert sizes == sorted(set(sizes))


def test_the_estimate_counts_what_a_backward_pass_keeps():
    """Two observations of D numbers for a linear encoder, as they are and as it is given them, and little else."""
    config = compose([*TINY, "encoder=linear", "predictor=residual_linear", "model.k=2", "data.horizon=1"])
    weights, saved = device_memory._counted(json.dumps(dict(config), sort_keys=True, default=str))
    (size,) = build_world(config).observation_shape
    assert weights == 4 * (size * 2 + 2 + 2 * 2 + 2 + 5 * 2)
    assert 4 * 2 * 2 * size < saved < 4 * (2 * 2 * size + 20)


# Which device.


def configs(*overrides):
    return [compose([*TINY, *overrides])]


def test_workers_use_devices_in_turn(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = devices_for(configs(GPU))
    assert [device_of(worker, devices) for worker in range(3)] == [{"CUDA_VISIBLE_DEVICES": one} for one in "010"]
    assert devices_for(configs()) == devices_for(configs(GPU, "trainer.devices=2")) == []
    assert device_of(1, []) == {}


@pytest.mark.parametrize(
    ("told", "devices"), [("3, GPU-8f2", ["3", "GPU-8f2"]), ("", []), ("MIG-1", ["MIG-1"])], ids=["two", "none", "part"]
)
def test_devices_are_those_that_this_process_may_use(told, devices, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert devices_for(configs(GPU)) == devices


def test_there_is_a_worker_for_each_device_unless_a_number_is_given():
    assert LocalLauncher(cohort="auto").on_devices(3).processes == 3
    assert LocalLauncher(5, "auto").on_devices(3).processes == 5
    assert LocalLauncher(cohort="auto").on_devices(0) == LocalLauncher(cohort="auto")
    assert LocalLauncher().on_devices(3) == LocalLauncher()


def test_worker_processes_are_told_their_device_and_how_many_share_it(tmp_path, monkeypatch):
    started = []

    def note(command, **settings):
        started.append((settings["env"].get("CUDA_VISIBLE_DEVICES"), command[-1]))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(sweep.subprocess, "Popen", note)
    launcher = LocalLauncher(3, "auto")
    for index in range(3):
        sweep._Worker(tmp_path, index, f"worker-{index}", 1, launcher, ["4", "7"]).log.close()
    sweep._Worker(tmp_path, 0, "worker-0", 1, launcher, []).log.close()
    assert started == [("4", "2"), ("7", "2"), ("4", "2"), (None, "3")]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


# Memory that is short.


def test_runs_that_did_not_fit_wait_as_if_not_tried(tmp_path, monkeypatch, capsys):
    """Of five claimed two fit: the other three are claimed again, by twos, at their first attempt."""
    monkeypatch.setenv("JEPA_SCALE_ALLOW", "tests.runs.test_cohort")
    points = points_of(
        *[[f"seed={seed}", "data.n=100", "encoder._target_=tests.runs.test_cohort.Full"] for seed in range(5)]
    )
    queue = Queue(tmp_path, "study")
    queue.plan(list(points.values()), {})
    work(tmp_path, queue, points, "me", cohort=8)
    assert states(queue) == ["COMPLETE"] * 5 + ["FAIL"] * 3
    assert {trial.user_attrs["attempt"] for trial in queue.trials()} == {1}
    sizes = [json.loads(path.read_text())["times"].get("cohort", 1) for path in tmp_path.glob("runs/*/record.json")]
    assert sorted(sizes) == [1, 2, 2, 5, 5]
    assert capsys.readouterr().err.count("at most 2 fit into memory") == 1
    assert not (tmp_path / "errors").exists()

"""Cohorts on a GPU: trajectories of runs alone, recorded steps, and what cannot be recorded. Run with -m gpu."""

import pytest
import torch

from jepa_scale.runs.cohort import Job, run_cohort
from jepa_scale.runs.config import compose
from jepa_scale.runs.device_memory import member_bytes
from jepa_scale.runs.run import run
from jepa_scale.training.cohort.stack import Stack
from tests.training.test_cohort import CASES, MEMBERS, PIXELS, STEPS, alone, assert_same, trainees

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
TINY = [
    "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=30", "data.n=600", "data.heldout=640", "data.test=640",
    "data.batch_size=32", "model.k=4", "model.hidden=16",
]  # fmt: skip


def on_gpu(overrides, members=MEMBERS):
    """Trainees whose modules and data are on the device; their optimisers hold no state yet."""
    made = trainees(overrides, members)
    for one in made:
        one.module.cuda()
        one.loader.data = one.loader.data.to(torch.device("cuda"))
    return made


@pytest.mark.parametrize("case", CASES)
def test_recorded_training_is_solo_training(case):
    solo, together = on_gpu(CASES[case]), on_gpu(CASES[case])
    stack = Stack(together)
    stack.check(0)
    for step, steps in ((0, 1), (1, 4), (5, STEPS - 5)):
        stack.advance(step, steps)
    assert stack.why_plain == ""
    for one, other in zip(together, solo, strict=True):
        alone(other, STEPS)
        assert_same(one, other)


def test_replay_is_the_plain_step():
    together, plain = on_gpu([]), on_gpu([])
    stacks = [Stack(together), Stack(plain)]
    for stack in stacks:
        stack.check(0)
        stack.advance(0, 1)
    graph = stacks[1]._static.graph
    graph.ready, graph.why_plain = True, "asked for"
    for stack in stacks:
        stack.advance(1, 20)
    assert stacks[0].why_plain == ""
    for one, other in zip(together, plain, strict=True):
        assert_same(one, other)


def test_a_replayed_step_is_one_launch():
    stack = Stack(on_gpu([]))
    stack.check(0)
    stack.advance(0, 4)
    steps = stack._static
    torch.cuda.synchronize()
    with torch.profiler.profile() as profile:
        for _ in range(5):
            steps.graph.take()
        torch.cuda.synchronize()
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls.get("cudaGraphLaunch") == 5
    assert not any("LaunchKernel" in name for name in calls)


def test_steps_of_an_epoch_do_not_wait_for_the_device():
    stack = Stack(on_gpu(["trainer.steps_per_epoch=30"]))
    stack.check(0)
    stack.advance(0, 4)
    steps = stack._static
    inputs = steps.rows.draw(4, 8).cuda(), steps.adam.rates(4, 8).cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for chosen, rates in zip(*inputs, strict=True):
            steps.chosen.copy_(chosen)
            steps.rates.copy_(rates)
            steps.graph.take()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("overrides", [[], ["encoder=cnn", *PIXELS]], ids=["finite", "pixels"])
def test_a_cohort_ends_where_runs_alone_do(overrides, tmp_path):
    configs = [compose([*TINY, *overrides, "trainer.accelerator=gpu", *own]) for own in (["seed=0"], ["seed=1"])]
    outcomes = run_cohort([Job(one, tmp_path / f"member-{one['seed']}") for one in configs])
    assert [outcome.error for outcome in outcomes] == [None, None]
    for config, outcome in zip(configs, outcomes, strict=True):
        record = run(config, tmp_path / f"alone-{config['seed']}")
        assert outcome.record.final["train/loss"] == pytest.approx(record.final["train/loss"], rel=1e-2)


@pytest.mark.parametrize("overrides", [[], ["encoder=cnn", *PIXELS, "data.batch_size=32"]], ids=["finite", "pixels"])
def test_memory_is_estimated_from_above(overrides):
    members = 8
    config = compose([*TINY, *overrides])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    stack = Stack(on_gpu(overrides, [[f"seed={seed}"] for seed in range(members)]))
    stack.check(0)
    stack.advance(0, 4)
    taken = torch.cuda.max_memory_allocated() - before
    # Those trainees are in float64, and a few megabytes are the libraries' own.
    assert taken <= 2 * members * member_bytes(config) + 2**27

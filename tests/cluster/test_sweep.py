"""Studies on a real SLURM, whose jobs are signalled, requeued, preempted and killed."""

import contextlib
import functools
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.view.status import status_of

pytestmark = pytest.mark.cluster

# 12 cells × 3 seeds; runs that take longer to start than to train, and save often.
SWEEP = """\
name: tiny
question: Does every run end once, whatever happens to its jobs?
dials: {data.n: [300, 400, 500, 600], model.k: [2, 3, 4]}
seeds: [0, 1, 2]
laws: [generic]
bootstrap_draws: 20
overrides:
  - world=lowrank
  - logger=none
  - trainer.epochs=3
  - trainer.steps_per_epoch=200
  - trainer.checkpoint_every=20
  - data.heldout=1600
  - data.test=1600
  - data.batch_size=64
  - model.hidden=16
"""
RUNS = 36
SLURM = ("launcher=slurm", "launcher.time=30", "launcher.signal_seconds=30")


def processes(module, **environment):
    """Processes of this machine that run a module, with these variables; newest last."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            held = (entry / "environ").read_bytes().split(b"\0")
            if words[1:4] == [b"-P", b"-m", module.encode()] and all(
                f"{name}={value}".encode() in held for name, value in environment.items()
            ):
                found.append(int(entry.name))
    return sorted(found)


def running(study):
    """Owner by run of the runs that workers are at."""
    return {
        run.point.run_id: run.owner.removeprefix("slurm:") for run in status_of(study).runs if run.state == "running"
    }


def checkpoint_of(study, run):
    return study / "runs" / run / "checkpoints" / "last.ckpt"


def steps_in(path):
    with contextlib.suppress(Exception):
        return int(torch.load(path, weights_only=True)["global_step"])
    return 0


def in_training(cluster, study, spared=(), most=500, seconds=240):
    """A run, and its worker, that has saved something in this life of its job, of at most so many steps."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        jobs = cluster.jobs()
        for run, owner in running(study).items():
            folder = study / "runs" / run
            ready = checkpoint_of(study, run).exists() and not (folder / "record.json").exists()
            # One that is about to end would end before anything reaches it.
            if (
                ready
                and run not in spared
                and jobs.get(owner) == "RUNNING"
                and steps_in(checkpoint_of(study, run)) < most
            ):
                return run, owner
        time.sleep(0.1)
    raise AssertionError("no run was seen in training")


def logs(study):
    return "\n".join(path.read_text() for path in sorted((study / "workers").glob("*.log")))


def completed(study):
    """How often each run was told as complete."""
    queue = Queue(study, "tiny")
    return Counter(trial.user_attrs["run"] for trial in queue.trials() if trial.state.name == "COMPLETE")


def ended(cluster, study, seconds=900):
    cluster.wait(lambda: not cluster.jobs(), seconds, f"all jobs end\n{cluster.jobs()}")
    return status_of(study)


def same_tables(one, other):
    first, second = (pq.read_table(folder / "table.parquet").to_pydict() for folder in (one, other))
    order = [np.argsort(table["run_id"]) for table in (first, second)]
    assert set(first) == set(second)
    for name in sorted(set(first) - {"wall_seconds"}):
        left, right = (np.array(table[name])[places] for table, places in zip((first, second), order, strict=True))
        np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SWEEP)
    return path


def test_nothing_is_lost_whatever_happens_to_the_jobs(cluster, command, sweep, tmp_path):
    study = tmp_path / "study"
    # Long enough to be met in training: 600 steps take less than a second.
    sweep.write_text(SWEEP.replace("steps_per_epoch=200", "steps_per_epoch=1000"))
    said = command("sweep", str(sweep), *SLURM, "launcher.partition=low", "workers=8", "--folder", str(study))
    (job,) = re.findall(r"job (\d+): 8 workers", said)
    # Again at once: nothing is missing.
    assert "nothing to submit: 8 workers live" in command(
        "sweep", str(sweep), *SLURM, "launcher.partition=low", "workers=8", "--folder", str(study)
    )
    saved = {}

    def strike(how):
        run, task = in_training(cluster, study, saved, most=2500)
        saved[run] = steps_in(checkpoint_of(study, run))
        how(run, task)
        return task

    def kill(module):
        def do(run, task):
            array, element = task.split("_")
            for process in processes(module, SLURM_ARRAY_JOB_ID=array, SLURM_ARRAY_TASK_ID=element):
                os.kill(process, signal.SIGKILL)

        return do

    requeued = [
        strike(lambda run, task: cluster.run("scancel", "--signal=USR1", task)),
        strike(lambda run, task: cluster.run("scancel", "--batch", "--signal=USR1", task)),
        strike(lambda run, task: cluster.run("scontrol", "requeue", task)),
        strike(lambda run, task: cluster.run("scontrol", "requeue", task)),
    ]
    strike(kill("jepa_scale.runs.distributed.process"))
    dead = strike(kill("jepa_scale.integrations.slurm.supervise"))
    # All of them that live, at their runs again.
    tasks = [f"{job}_{element}" for element in range(8)]
    alive = [task for task in tasks if task != dead]
    cluster.wait(lambda: all(cluster.jobs().get(task) == "RUNNING" for task in alive), 120, "requeued workers are back")
    in_training(cluster, study, saved, most=2500)
    before = len(completed(study))
    cluster.run(
        "sbatch", "--partition=main", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null", "--wrap=sleep 3"
    )
    found = ended(cluster, study)
    assert before < RUNS, "the preemption came before the end"

    assert found.counts["done"] == RUNS, found.runs
    assert completed(study) == Counter(point.point.run_id for point in found.runs), "each exactly once"
    assert all(cluster.restarts(task) >= 1 for task in requeued)
    assert all(cluster.restarts(task) >= 1 for task in alive), "each was requeued when it was preempted"
    assert sum(cluster.restarts(task) for task in tasks) >= 4 + len(alive)
    assert cluster.state(dead) == "FAILED" or cluster.restarts(dead) >= 1
    # From the last checkpoint, not from the start.
    said = logs(study)
    again = 0
    for run, steps in saved.items():
        # What a worker logs of a run goes on until it names the next.
        lives = re.findall(rf"run {run}: n=(.*?)(?=run \w+: |\Z)", said, re.DOTALL)
        later = [int(step) for life in lives for step in re.findall(r"goes on from step (\d+)\s+of\s+3000", life)]
        again += len(lives) >= 2
        assert steps == 0 or len(lives) == 1 or max(later, default=0) >= steps, (run, steps, later)
    assert again >= 4, "of six; one that ends just then has nothing to go on with"

    alone = tmp_path / "alone"
    command("sweep", str(sweep), "launcher=local", "workers=2", "--folder", str(alone))
    assert f"{RUNS} runs" in command("collect", str(study))
    same_tables(study, alone)
    assert not list(study.glob("journal.damaged-*"))


def test_runs_of_two_ranks_are_requeued_at_any_moment_and_none_hangs(cluster, command, sweep, tmp_path):
    study, chance = tmp_path / "study", random.Random(3)
    sweep.write_text(
        SWEEP.replace("[300, 400, 500, 600]", "[300, 400]")
        .replace("[2, 3, 4]", "[2, 3]")
        .replace("[0, 1, 2]", "[0, 1]")
    )
    command(
        "sweep", str(sweep), "trainer.devices=2", *SLURM, "workers=4", "launcher.collect=false", "--folder", str(study)
    )
    struck, waits = set(), {}
    end = time.monotonic() + 900
    while len(struck) < 8 and time.monotonic() < end:
        for run, task in running(study).items():
            if run in struck or (study / "runs" / run / "record.json").exists():
                continue
            # Half of them while they start, which is when there may be no handler yet, half while they train.
            ready = len(waits) % 2 == 0 if run not in waits else waits[run][0]
            waits.setdefault(run, (ready, time.monotonic() + chance.uniform(0, 2)))
            if time.monotonic() < waits[run][1] or (not ready and not checkpoint_of(study, run).exists()):
                continue
            cluster.run("scancel", "--signal=USR1", task)
            struck.add(run)
        time.sleep(0.2)
    found = ended(cluster, study)
    assert len(struck) == 8
    assert found.counts["done"] == 8, (found, logs(study))
    assert set(completed(study).values()) == {1}
    said = logs(study)
    again = Counter(re.findall(r"run (\w+): n=", said))
    assert sum(count >= 2 for count in again.values()) >= 6, "a signal that comes as a run ends finds nothing to stop"
    assert "goes on from step" in said


def test_arrays_above_the_largest_size_are_split(cluster, command, sweep, tmp_path):
    study = tmp_path / "study"
    held = ("launcher.options=[--hold]", "launcher.collect=false")
    said = command("sweep", str(sweep), *SLURM, *held, "workers=30", "--folder", str(study))
    assert re.findall(r"job \d+: (\d+) workers", said) == ["12", "12", "6"]
    assert len(cluster.jobs()) == 30
    shown = command("status", str(study))
    assert f"{RUNS} waiting for a worker" in shown
    assert "jobs: 30 pending (JobHeldUser)" in shown or "jobs: 30 pending (JobHeldAdmin)" in shown
    assert "30 tasks were cancelled" in command("cancel", str(study))
    assert cluster.jobs() == {}


def test_what_sbatch_refuses_is_said_and_submitted_when_it_is_mended(cluster, command, sweep, tmp_path):
    study = tmp_path / "study"
    wrong = command("sweep", str(sweep), *SLURM, "launcher.partition=gone", "--folder", str(study), code=2)
    assert "invalid partition specified: gone" in wrong
    assert "run the same command again" in wrong
    assert cluster.jobs() == {}
    assert "no job is left for the runs that wait" in command("status", str(study))
    right = command(
        "sweep", str(sweep), *SLURM, "launcher.options=[--hold]", "workers=3", "launcher.collect=false",
        "--folder", str(study),
    )  # fmt: skip
    assert f"3 workers (cpu1) for {RUNS} runs" in right
    command("cancel", str(study))


def test_gpus_are_asked_for_by_the_class_of_the_runs(cluster, command, sweep, tmp_path):
    study = tmp_path / "study"
    command(
        "sweep", str(sweep), "trainer.accelerator=gpu", "trainer.devices=2", *SLURM, "launcher.options=[--hold]",
        "workers=1", "launcher.collect=false", "--folder", str(study),
    )  # fmt: skip
    (task,) = cluster.jobs()
    assert "gres:gpu:2" in cluster.run("scontrol", "show", "job", task.partition("_")[0])
    command("cancel", str(study))


def test_cancelling_leaves_runs_that_go_on_later(cluster, command, sweep, tmp_path):
    study = tmp_path / "study"
    sweep.write_text(SWEEP.replace("[0, 1, 2]", "[0]").replace("[300, 400, 500, 600]", "[300]"))
    submit = ("sweep", str(sweep), *SLURM, "workers=2", "launcher.collect=false", "--folder", str(study))
    command(*submit)
    in_training(cluster, study)
    assert "2 tasks were cancelled" in command("cancel", str(study))
    time.sleep(8)
    assert cluster.jobs() == {}, "none has had itself started again"
    assert "cancelled" in command("status", str(study))
    command(*submit)
    found = ended(cluster, study)
    assert found.counts["done"] == 3
    assert set(completed(study).values()) == {1}


def test_a_corrupted_run_folder_fails_that_run_alone(cluster, command, sweep, tmp_path):
    study = tmp_path / "study"
    sweep.write_text(SWEEP.replace("[0, 1, 2]", "[0]").replace("[300, 400, 500, 600]", "[300]"))
    held = ("sweep", str(sweep), *SLURM, "workers=1", "launcher.collect=false", "--folder", str(study))
    command(*held, "launcher.options=[--hold]")
    broken = sorted((study / "runs").iterdir())[0]
    (broken / "config.yaml").write_text("model: {k: [")
    checkpoint = sorted((study / "runs").iterdir())[1] / "checkpoints"
    checkpoint.mkdir()
    (checkpoint / "last.ckpt").write_bytes(b"no checkpoint")
    cluster.run("scontrol", "release", *(name.partition("_")[0] for name in cluster.jobs()))
    found = ended(cluster, study)
    assert found.counts["done"] == 2
    (failed,) = (run for run in found.runs if run.state == "failed")
    assert failed.point.run_id == broken.name
    assert "cannot be read" in failed.reason
    missing = command("collect", str(study), code=1)
    assert f"2 runs in {study / 'table.parquet'}, 1 missing" in missing
    assert "cannot be read" in missing
    # Deleted, as the message says: the same command does what is missing.
    shutil.rmtree(broken)
    command(*held)
    assert ended(cluster, study).counts["done"] == 3


def test_a_cohort_is_requeued_and_killed_and_loses_no_member(cluster, command, sweep, tmp_path):
    """Of two workers with three runs each one is requeued twice, and of the other the process is killed."""
    study = tmp_path / "study"
    sweep.write_text(
        SWEEP.replace("[300, 400, 500, 600]", "[300, 400]")
        .replace("[2, 3, 4]", "[3]")
        .replace("steps_per_epoch=200", "steps_per_epoch=1000")
    )
    command(
        "sweep", str(sweep), *SLURM, "workers=2", "launcher.cohort=3", "launcher.collect=false", "--folder", str(study)
    )

    def members(task):
        return [run for run, owner in running(study).items() if owner == task]

    def all_train(task, least=0):
        """Every member has saved more than ``least`` steps, in a process of this life of the job."""
        array, element = task.split("_")
        ids = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": element}
        if not processes("jepa_scale.runs.distributed.together", **ids):
            return False
        steps = [steps_in(checkpoint_of(study, run)) for run in members(task)]
        return len(steps) == 3 and min(steps) > least

    cluster.wait(lambda: len(running(study)) == 6, 240, "both workers have their runs")
    first, second = sorted(set(running(study).values()))
    mine, others = members(first), members(second)
    cluster.wait(lambda: all_train(second), 240, "the second cohort trains")
    array, element = second.split("_")
    ids = {"SLURM_ARRAY_JOB_ID": array, "SLURM_ARRAY_TASK_ID": element}
    for process in processes("jepa_scale.runs.distributed.together", **ids):
        os.kill(process, signal.SIGKILL)
    saved = [0]
    for number, how in enumerate((("scancel", "--batch", "--signal=USR1"), ("scontrol", "requeue")), 1):
        cluster.wait(lambda: all_train(first, saved[-1]), 240, "the first cohort trains, further than before")
        assert max(steps_in(checkpoint_of(study, run)) for run in mine) < 3000, "the strike comes before the end"
        cluster.run(*how, first)
        again = functools.partial(lambda times: cluster.restarts(first) == times, number)
        cluster.wait(again, 120, "the first worker is requeued")
        saved.append(max(steps_in(checkpoint_of(study, run)) for run in mine))
    found = ended(cluster, study)
    said = logs(study)
    assert found.counts["done"] == 6, (found.runs, said)
    assert set(completed(study).values()) == {1}
    assert cluster.restarts(first) == 2
    records = {run.point.run_id: run.point.folder(study).read_record() for run in found.runs}
    assert {records[run].times["cohort"] for run in mine} == {3}
    assert all("cohort" not in records[run].times for run in others), "one of them may be what its process died of"
    assert said.count("3 runs together") == 4, "two at first, and one after each requeue"
    later = [int(step) for step in re.findall(r"goes on from step (\d+)\s+of\s+3000", said)]
    assert len(later) >= 9
    assert min(later) > 0

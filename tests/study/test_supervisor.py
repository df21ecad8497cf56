"""A cluster's worker, with commands of SLURM's and runs' processes that behave as told."""

import dataclasses
import errno
import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from jepa_scale.files import NotWritten
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.identity import run_id
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.launching.cancel import cancel_study
from jepa_scale.studies.launching.launcher import take_launcher
from jepa_scale.studies.launching.submission import Array, Submission, mark_cancelled, read_submission
from jepa_scale.studies.manifest import read_plan, write_plan
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.view.status import status_of
from tests.study.fake_slurm import FakeSlurm
from tests.study.test_queue import record, states

STUDY = "name: study\nquestion: Why?\ndials: {data.n: [300], model.k: [2]}\nseeds: [0]\n"
SHARED = {
    "planner": {"score": "density"}, "model": {"k": 2}, "stages": ["pretrain"], "logger": {}, "objective": {},
    "trainer": {"accelerator": "cpu", "devices": 1, "precision": "32-true"},
    "optimizer": {"_target_": "jepa_scale.training.optim.AdamWOneCycle"},
}  # fmt: skip
CONFIGS = [{**SHARED, "data": {"n": 300 + index}} for index in range(10)]
RUN = [run_id(config) for config in CONFIGS]


def finished(index, **more):
    """Record of a run."""
    dials = {"n": 300 + index, "k": 2, "seed": 0, "parameters": 1, "flops_per_step": 1}
    return dataclasses.replace(
        record(RUN[index], **more), config=CONFIGS[index], dials=dials, times={"wall_seconds": 10.0}
    )


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    root = tmp_path / "slurm"
    root.mkdir()
    fake = FakeSlurm(root)
    for index, run in enumerate(RUN):
        (root / f"{run}.json").write_text(json.dumps(finished(index).to_dict()))
    monkeypatch.setenv("PATH", fake.environment["PATH"])
    fake.lives("7_0|RUNNING|50:00|n1")
    return fake


@pytest.fixture
def study(tmp_path, slurm):
    """A study of four runs that are planned and wait."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "study.yaml").write_text(STUDY)
    points = [DesignPoint(300 + index, 2, 0, CONFIGS[index], RUN[index]) for index in range(4)]
    write_plan(folder, points)
    for point in points:
        (folder / "runs" / point.run_id).mkdir(parents=True)
    Queue(folder, "study").plan(points, {})
    launcher = SlurmLauncher(python=str(slurm.root / "python"), linger=0, attempts=2, signal_seconds=0)
    Submission(launcher, (Array("7", "cpu1", 1, "now"),)).write(folder)
    return folder


def command(study):
    return [sys.executable, "-m", "jepa_scale.integrations.slurm.supervise", str(study), "cpu1"]


def worked(study, slurm, code=0):
    """What a worker says that works until it has nothing more to do."""
    done = subprocess.run(command(study), env=slurm.environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def started(slurm):
    return [line.split()[0] for line in slurm.started]


def test_a_worker_does_every_run_once_and_ends(study, slurm):
    worked(study, slurm)
    assert started(slurm) == [RUN[0], RUN[1], RUN[2], RUN[3]]
    assert all(line.endswith("finish 1") for line in slurm.started), "told that they are supervised"
    assert states(Queue(study, "study")) == ["COMPLETE"] * 4
    step = next(line for line in slurm.asked if line.startswith("srun"))
    assert "--nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=1 --kill-on-bad-exit=1" in step
    assert "--group study" in step


def test_a_run_that_fails_is_told_with_its_error_and_the_worker_ends_non_zero(study, slurm):
    slurm.behaves(RUN[1], "fail")
    said = worked(study, slurm, code=1)
    assert started(slurm) == [RUN[0], RUN[1], RUN[2], RUN[3]], "the others are done all the same"
    assert f"run {RUN[1]}: ValueError: the world is flat" in said
    assert "the world is flat" in (study / "errors" / f"{RUN[1]}.txt").read_text()
    found = status_of(study)
    assert found.counts["failed"] == 1
    assert [run.reason for run in found.runs if run.state == "failed"] == ["ValueError: the world is flat"]


def test_a_process_that_is_killed_is_tried_again_until_the_limit(study, slurm):
    slurm.behaves(RUN[0], "killed")
    slurm.behaves(RUN[1], "killed", "killed", "killed")
    worked(study, slurm)
    assert started(slurm).count(RUN[0]) == 2
    assert started(slurm).count(RUN[1]) == 2
    assert status_of(study).counts == {"done": 3, "failed": 1, "running": 0, "waiting": 0, "lost": 0, "left": 0}
    assert "gave no reason, at attempt 2 of 2" in status_of(study).runs[1].reason


def test_a_run_that_was_stopped_has_exactly_its_task_started_again_and_goes_on_first(study, slurm):
    slurm.behaves(RUN[1], "stop")
    # SLURM ends a worker that has asked for its own requeue.
    slurm._put("scontrol", "kill -TERM $PPID")
    worked(study, slurm, code=75)
    assert [line for line in slurm.asked if line.startswith("scontrol")] == ["scontrol requeue 7_0"]
    assert started(slurm) == [RUN[0], RUN[1]]
    assert states(Queue(study, "study")) == ["COMPLETE", "RUNNING", "WAITING", "WAITING"]
    worked(study, slurm)
    assert started(slurm) == [RUN[0], RUN[1], RUN[1], RUN[2], RUN[3]]
    assert states(Queue(study, "study")) == ["COMPLETE"] * 4


@pytest.fixture
def cohorts(study):
    """The study's workers take three runs together."""
    submission = read_submission(study)
    dataclasses.replace(submission, launcher=dataclasses.replace(submission.launcher, cohort=3, workers=1)).write(study)
    return study


def test_runs_of_a_cohort_are_claimed_and_trained_together(cohorts, slurm):
    said = worked(cohorts, slurm)
    assert [line.endswith("together") for line in slurm.started] == [True] * 3 + [False]
    assert started(slurm) == RUN[:4]
    assert "3 runs together" in said
    assert states(Queue(cohorts, "study")) == ["COMPLETE"] * 4
    steps = [line for line in slurm.asked if line.startswith("srun")]
    assert [line.count("runs.distributed.together") for line in steps] == [1, 0]
    assert not list((cohorts / "workers").glob("*.ends"))


def test_a_member_that_fails_or_must_go_alone_leaves_the_others(cohorts, slurm):
    slurm.behaves(RUN[0], "fail")
    slurm.behaves(RUN[1], "alone")
    said = worked(cohorts, slurm, code=1)
    assert f"run {RUN[0]}: ValueError: the world is flat" in said
    assert [line for line in slurm.started if line.startswith(RUN[1])] == [
        f"{RUN[1]} alone 1 together", f"{RUN[1]} finish 1",
    ]  # fmt: skip
    assert status_of(cohorts).counts == {"done": 3, "failed": 1, "running": 0, "waiting": 0, "lost": 0, "left": 0}


def test_runs_like_one_that_must_go_alone_go_alone_from_then_on(cohorts, slurm):
    submission = read_submission(cohorts)
    pairs = dataclasses.replace(submission.launcher, cohort=2)
    dataclasses.replace(submission, launcher=pairs).write(cohorts)
    slurm.behaves(RUN[1], "alone")
    worked(cohorts, slurm)
    assert [line.endswith("together") for line in slurm.started] == [True, True, False, False, False]
    assert started(slurm) == [RUN[0], RUN[1], RUN[1], RUN[2], RUN[3]]


def test_a_cohort_that_is_stopped_goes_on_together_after_the_requeue(cohorts, slurm):
    """One of its members has ended before the signal."""
    slurm.behaves(RUN[1], "stop")
    slurm.behaves(RUN[2], "stop")
    slurm._put("scontrol", "kill -TERM $PPID")
    worked(cohorts, slurm, code=75)
    assert states(Queue(cohorts, "study")) == ["COMPLETE", "RUNNING", "RUNNING", "WAITING"]
    worked(cohorts, slurm)
    assert [line.endswith("together") for line in slurm.started] == [True] * 5 + [False]
    assert started(slurm) == [*RUN[:3], *RUN[1:4]]
    assert [trial.user_attrs["attempt"] for trial in Queue(cohorts, "study").trials()] == [1] * 4


def test_a_cohort_whose_job_may_not_be_requeued_gives_its_runs_back(cohorts, slurm):
    for run in RUN[:3]:
        slurm.behaves(run, "stop")
    slurm.refuses("scontrol", "Requested operation is presently disabled")
    worked(cohorts, slurm, code=1)
    assert sorted(states(Queue(cohorts, "study"))) == ["FAIL"] * 3 + ["WAITING"] * 4


def test_members_of_a_killed_cohort_are_tried_again_alone(cohorts, slurm):
    slurm.behaves(RUN[1], "killed", "killed", "killed")
    worked(cohorts, slurm)
    ways = {run: [line.endswith("together") for line in slurm.started if line.startswith(run)] for run in RUN[:3]}
    assert ways == {RUN[0]: [True], RUN[1]: [True, False], RUN[2]: [False]}
    counts = status_of(cohorts).counts
    assert (counts["done"], counts["failed"]) == (3, 1)


def test_a_requeued_cohort_that_comes_no_further_is_taken_apart(cohorts, slurm):
    """Ended with its job again and again, so that nothing says which run it is."""
    for run in RUN[:2]:
        slurm.behaves(run, *["stop without saving"] * 2)
    slurm._put("scontrol", "kill -TERM $PPID")
    for _ in range(2):
        worked(cohorts, slurm, code=75)
    worked(cohorts, slurm)
    ways = {run: [line.endswith("together") for line in slurm.started if line.startswith(run)] for run in RUN[:2]}
    assert ways == {run: [True, True, False] for run in RUN[:2]}
    assert states(Queue(cohorts, "study")) == ["COMPLETE"] * 4


def test_cohorts_of_a_cluster_are_an_option_of_its_launcher(study):
    assert SlurmLauncher(cohort="auto").cohort == "auto"
    assert SlurmLauncher().cohort == "off"
    with pytest.raises(ValueError, match="cohort: expected off, auto, or a number of runs from 1 to 1024, got 0"):
        SlurmLauncher(cohort=0)
    launcher, others = take_launcher("slurm", ["launcher.cohort=6", "model.k=4"])
    assert (launcher.cohort, others) == (6, ["model.k=4"])
    Submission(launcher).write(study)
    assert read_submission(study).launcher == launcher


def test_a_signal_is_handed_on_and_the_checkpoint_waited_for(study, slurm):
    slurm.behaves(RUN[0], "wait")
    slurm._put("scontrol", "kill -TERM $PPID")
    process = subprocess.Popen(command(study), env=slurm.environment, stdout=subprocess.PIPE, text=True)
    waits(slurm)
    process.send_signal(signal.SIGUSR1)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 75, said
    assert (study / "runs" / RUN[0] / "checkpoints" / "last.ckpt").exists()
    assert "scontrol requeue 7_0" in slurm.asked


def test_a_signal_during_imports_is_survived(study, slurm):
    slurm._put("scontrol", "kill -TERM $PPID")
    # As the batch script has it: ignored until there is a handler.
    shell = ["sh", "-c", "trap '' USR1 TERM; echo ready; exec \"$@\"", "sh"]
    process = subprocess.Popen([*shell, *command(study)], env=slurm.environment, stdout=subprocess.PIPE, text=True)
    process.stdout.readline()
    for _ in range(20):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.02)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert slurm.started == [] or "scontrol requeue 7_0" in slurm.asked


@pytest.mark.parametrize("state", ["COMPLETING", "CANCELLED"])
def test_a_task_that_slurm_is_ending_is_not_brought_back_to_life(study, slurm, state):
    slurm.behaves(RUN[0], "stop")
    slurm.lives(f"7_0|{state}|50:00|n1")
    worked(study, slurm, code=75)
    assert not [line for line in slurm.asked if line.startswith("scontrol")]


def test_a_run_whose_job_may_not_be_requeued_waits_for_another_worker(study, slurm):
    slurm.behaves(RUN[0], "stop")
    slurm.refuses("scontrol", "Requested operation is presently disabled")
    worked(study, slurm, code=1)
    assert states(Queue(study, "study")) == ["FAIL", "WAITING", "WAITING", "WAITING", "WAITING"]
    worked(study, slurm)
    assert started(slurm).count(RUN[0]) == 2


def test_a_cancelled_study_is_not_gone_on_with(study, slurm):
    mark_cancelled(study)
    said = worked(study, slurm)
    assert "cancelled" in said
    assert slurm.started == []


def test_a_run_that_never_comes_further_is_given_up(study, slurm):
    slurm.behaves(RUN[0], *["stop without saving"] * 9)
    slurm._put("scontrol", "kill -TERM $PPID")
    for _ in range(5):
        worked(study, slurm, code=75)
    said = worked(study, slurm, code=1)
    assert f"run {RUN[0]}: begun 6 times without having come further" in said
    assert started(slurm).count(RUN[0]) == 5
    assert status_of(study).counts["done"] == 3


def test_no_other_run_is_begun_that_would_not_fit(study, slurm):
    slurm.lives("7_0|RUNNING|0:11|n1")
    slurm._put("scontrol", "kill -TERM $PPID")
    said = worked(study, slurm)
    assert "11 s are left, another run needs about 12 s" in said
    assert started(slurm) == [RUN[0]], "the first one is tried in any case"
    assert "scontrol requeue 7_0" in slurm.asked, "for a new limit, as runs wait"


def waits(slurm):
    """Wait until a run's process does."""
    end = time.monotonic() + 30
    while not (slurm.root / "waiting").exists() and time.monotonic() < end:
        time.sleep(0.05)


def test_a_worker_does_runs_that_were_planned_since_it_started(study, slurm):
    slurm.behaves(RUN[0], "pause")
    process = subprocess.Popen(command(study), env=slurm.environment, stdout=subprocess.PIPE, text=True)
    waits(slurm)
    more = DesignPoint(309, 2, 0, CONFIGS[9], RUN[9])
    (study / "runs" / RUN[9]).mkdir()
    write_plan(study, [*read_plan(study), more])
    Queue(study, "study").plan([more], {}, lambda owner: True)
    (slurm.root / "go").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert started(slurm) == [RUN[0], RUN[1], RUN[2], RUN[3], RUN[9]]
    assert status_of(study).counts["done"] == 5


def test_an_idle_worker_does_not_besiege_slurm(study, slurm):
    submission = read_submission(study)
    dataclasses.replace(submission, launcher=dataclasses.replace(submission.launcher, linger=4)).write(study)
    queue = Queue(study, "study")
    queue.claim("worker-0")
    worked(study, slurm)
    asked = [line for line in slurm.asked if line.startswith("squeue")]
    assert len(asked) <= 4, "one before each of the later runs, one for dead owners"


def test_runs_of_dead_owners_are_taken_over_and_those_of_living_ones_are_not(study, slurm):
    queue = Queue(study, "study")
    for owner in ("slurm:3_1", "slurm:4_0", "worker-0"):
        queue.claim(owner)
    slurm.lives("7_0|RUNNING|50:00|n1", "4_0|PENDING|50:00|(BeginTime)")
    said = worked(study, slurm)
    assert sorted(started(slurm)) == sorted([RUN[0], RUN[3]])
    assert f"run {RUN[0]}: its worker is gone" in said
    assert {trial.user_attrs["worker"] for trial in queue.running()} == {"slurm:4_0", "worker-0"}


def test_nobody_is_taken_for_dead_while_squeue_does_not_answer(study, slurm):
    Queue(study, "study").claim("slurm:3_1")
    slurm.refuses("squeue", "Unable to contact slurm controller")
    said = worked(study, slurm)
    assert "Unable to contact" in said
    assert sorted(started(slurm)) == sorted(RUN[1:4])
    found = status_of(study)
    assert found.counts["running"] == 1
    assert "Unable to contact" in found.unknown


def test_status_queues_the_runs_of_dead_workers_again(study, slurm):
    Queue(study, "study").claim("slurm:3_1")
    assert status_of(study).counts == {"done": 0, "failed": 0, "running": 0, "waiting": 4, "lost": 0, "left": 0}


def test_a_run_whose_taker_died_before_it_signed_waits_again_once_no_worker_lives(study, slurm):
    queue = Queue(study, "study")
    queue._claims.take(queue.trials()[0]._trial_id)
    assert status_of(study).counts["running"] == 1, "a worker lives, and may be just about to"
    slurm.lives()
    assert status_of(study).counts["waiting"] == 4


def test_a_corrupted_record_fails_that_run_alone(study, slurm):
    (study / "runs" / RUN[2] / "record.json").write_text("{")
    slurm.behaves(RUN[2], "leave it")
    said = worked(study, slurm, code=1)
    assert "record.json is corrupted" in said
    assert "record.json is corrupted" in status_of(study).runs[2].reason
    assert status_of(study).counts["done"] == 3
    assert states(Queue(study, "study")).count("COMPLETE") == 3


def test_status_tells_diverged_runs_and_how_far_the_others_are(study, slurm):
    queue = Queue(study, "study")
    lost = queue.claim("worker-0")
    queue.finish(lost.trial_id, record(RUN[0], status="diverged"))
    diverged = finished(0, status="diverged")
    (study / "runs" / RUN[0] / "record.json").write_text(json.dumps(diverged.to_dict()))
    queue.claim("slurm:7_0")
    (study / "runs" / RUN[1] / "metrics.jsonl").write_text('[{"name": "a", "epoch": 0}]\n[{"name": "a", "epoch": 4}]\n')
    found = status_of(study)
    assert (found.counts["done"], found.diverged) == (1, 1)
    assert [run.epochs for run in found.runs if run.state == "running"] == [5]


def test_cancelling_ends_jobs_and_leaves_their_runs_waiting(study, slurm):
    Queue(study, "study").claim("slurm:7_0")
    assert cancel_study(study) == (1, 1)
    assert "scancel --quiet 7" in slurm.asked
    assert states(Queue(study, "study")) == ["FAIL", "WAITING", "WAITING", "WAITING", "WAITING"]
    assert status_of(study).cancelled
    slurm.lives()
    assert cancel_study(study) == (0, 0)
    assert status_of(study).cancelled, "still"


def test_jobs_that_were_not_submitted_for_this_folder_are_not_cancelled(study, slurm, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(study, copied)
    with pytest.raises(UserError, match="name jobs 7, which the cluster does not know as submitted for this folder"):
        cancel_study(copied)
    assert not any(line.startswith("scancel") for line in slurm.asked)
    assert not status_of(copied).cancelled


def test_where_no_job_is_left_nothing_is_cancelled(study, slurm):
    slurm.lives()
    assert cancel_study(study) == (0, 0)
    assert not status_of(study).cancelled
    Queue(study, "study").claim("slurm:7_0")
    assert cancel_study(study) == (0, 1)
    assert not status_of(study).cancelled


def test_a_worker_says_what_it_lacks(tmp_path, slurm):
    for environment, said in ((slurm.environment, "no launch.json"), ({"PATH": "/bin"}, "is started by SLURM")):
        done = subprocess.run(command(tmp_path), env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        assert said in done.stderr


def loaded_by(module):
    script = f"import sys, {module}; print(*sys.modules)"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.split()


def test_it_is_there_before_anything_heavy_could_be_loaded():
    assert not {"torch", "lightning", "wandb", "hydra"} & set(loaded_by("jepa_scale.integrations.slurm.supervisor"))
    assert not {"optuna", "numpy", "scipy"} & set(loaded_by("jepa_scale.integrations.slurm.supervise"))


def test_status_on_a_full_disk_shows_what_is_lost(study, slurm, monkeypatch):
    Queue(study, "study").claim("slurm:9_0")

    def full(*_, **__):
        raise NotWritten(errno.ENOSPC, "No space left on device", str(study / "journal.log"))

    monkeypatch.setattr(Queue, "reap", full)
    with pytest.warns(UserWarning, match="no space is left"):
        found = status_of(study)
    assert (found.counts["lost"], found.counts["waiting"]) == (1, 3)

"""Where workers run, and submitting them to commands that stand in for SLURM's."""

import re
import subprocess

import pytest
import yaml

from jepa_scale.cli.app import main
from jepa_scale.integrations.slurm.launcher import SlurmLauncher
from jepa_scale.integrations.slurm.submitting import chunks, dry_run, submit_study, worker_script
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.launching.launcher import take_launcher
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.launching.submission import mark_cancelled, read_submission
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.spec import parse_spec, read_spec
from jepa_scale.studies.view.status import status_of
from tests.study.fake_slurm import FakeSlurm
from tests.study.test_supervisor import loaded_by

STUDY = {
    "name": "tiny",
    "question": "Does it run?",
    "dials": {"data.n": [300, 600], "model.k": [2, 4]},
    "seeds": [0],
    "laws": ["generic"],
    "bootstrap_draws": 20,
    "overrides": [
        "world=lowrank", "logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=5", "data.heldout=1600",
        "data.test=1600", "data.batch_size=64", "model.hidden=16",
    ],
}  # fmt: skip


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    (tmp_path / "slurm").mkdir()
    fake = FakeSlurm(tmp_path / "slurm")
    monkeypatch.setenv("PATH", fake.environment["PATH"])
    return fake


@pytest.fixture
def spec():
    return parse_spec(STUDY, "test")


def submitted(spec, study, **settings):
    said = []
    submission = submit_study(spec, study, SlurmLauncher(**{"collect": False, **settings}), said.append)
    return submission, "\n".join(said)


def test_settings_come_from_the_leaf_the_file_and_the_command_line_in_this_order():
    launcher, others = take_launcher(
        {"name": "slurm", "workers": 3, "partition": "a", "time": "2:00:00"},
        [
            "model.hidden=8",
            "launcher.partition=b",
            "workers=5",
            "launcher.time=1-00:00:00",
            "launcher.options=[--hold]",
        ],
    )
    assert others == ["model.hidden=8"]
    assert isinstance(launcher, SlurmLauncher)
    assert (launcher.workers, launcher.partition, launcher.time) == (5, "b", "1-00:00:00")
    assert launcher.options == ("--hold",)
    assert launcher.signal_seconds == 120, "of the leaf"


def test_another_launcher_does_not_take_the_files_settings():
    launcher, _ = take_launcher({"name": "slurm", "partition": "a"}, ["launcher=local", "workers=2"])
    assert launcher == LocalLauncher(2)
    launcher, _ = take_launcher({"name": "slurm", "partition": "a"}, ["launcher=slurm"])
    assert launcher.partition == "a"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["launcher=moon"], "expected one of local, slurm, got 'moon'"),
        (["launcher=slurm", "launcher.partitoin=a"], "did you mean 'launcher.partition'"),
        (["launcher=slurm", "workers=0"], "workers: expected a whole number from 1 to 100000, got 0"),
        (["workers=two"], "workers: expected a whole number from 1 to 100000, got 'two'"),
        (["launcher=slurm", "launcher.time=soon"], "time: expected minutes"),
        (["launcher=slurm", "launcher.signal_seconds=-1"], "signal_seconds: expected a whole number from 0"),
        (["launcher=slurm", "launcher.options=[hold]"], "options: expected options of sbatch"),
        (["launcher=slurm", "launcher.minutes=0"], "minutes: expected a number above 0"),
        (["launcher=slurm", "launcher.storage='sqlite:///a.db'"], "SQLite hands one run to two workers"),
        (["launcher=slurm", "launcher.partition=[a]"], "partition: expected a text"),
    ],
)
def test_wrong_settings_are_refused(overrides, said):
    with pytest.raises(UserError, match=re.escape(said)):
        take_launcher("local", overrides)


def directives(script):
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_a_script_asks_for_what_its_runs_need(tmp_path):
    launcher = SlurmLauncher(
        partition="gpu", account="mine", gpu_type="a100", memory_per_cpu="4G", cpus_per_task=8, signal_seconds=60,
        options=("--exclude=node7",), setup=("module load cuda",), python="/opt/python",
    )  # fmt: skip
    script = worker_script(tmp_path / "a study", "name", launcher, "gpu4", 12)
    assert {
        "--job-name=jepa-name", "--array=0-11", "--ntasks-per-node=4", "--nodes=1", "--gres=gpu:a100:4", "--requeue",
        "--open-mode=append", "--signal=B:USR1@60", "--cpus-per-task=8", "--mem-per-cpu=4G", "--partition=gpu",
        "--account=mine", "--time=01:00:00", "--exclude=node7", f'--output="{tmp_path}/a study/workers/%A_%a.log"',
        f'--comment="jepa-scale {tmp_path}/a study"',
    } == set(directives(script))  # fmt: skip
    lines = script.splitlines()
    assert lines.index("trap '' USR1 TERM") < lines.index("module load cuda") < len(lines) - 1
    assert lines[-1] == f"exec /opt/python -P -m jepa_scale.integrations.slurm.supervise '{tmp_path}/a study' gpu4"
    assert "{{" not in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert not [
        line for line in directives(worker_script(tmp_path, "name", SlurmLauncher(), "cpu2", 1)) if "gres" in line
    ]


@pytest.mark.parametrize(
    ("tasks", "most", "sizes"), [(5, 10, [5]), (10, 10, [10]), (25, 10, [10, 10, 5]), (3, 1, [1] * 3)]
)
def test_no_array_is_above_the_largest(tasks, most, sizes):
    assert chunks(tasks, most) == sizes


def test_runs_are_planned_into_their_folders_and_workers_submitted_once(spec, slurm, tmp_path):
    study = tmp_path / "study"
    submission, said = submitted(spec, study, workers=3)
    assert "job 1: 3 workers (cpu1) for 4 runs" in said
    assert read_submission(study) == submission
    points = read_plan(study)
    assert len(points) == 4
    assert all((study / "runs" / point.run_id / "config.yaml").is_file() for point in points)
    assert status_of(study).counts["waiting"] == 4
    script = (slurm.root / "script.0").read_text()
    assert "--array=0-2" in script
    slurm.lives("1_0|RUNNING|50:00|n1", "1_1|PENDING|1:00:00|(Priority)", "1_2|PENDING|1:00:00|(Priority)")
    _, again = submitted(spec, study, workers=3)
    assert "nothing to submit: 3 workers live" in again
    slurm.lives("1_0|RUNNING|50:00|n1")
    submission, again = submitted(spec, study, workers=3)
    assert "job 2: 2 workers" in again
    assert [(array.job, array.tasks) for array in submission.arrays] == [("1", 3), ("2", 2)]
    assert len(Queue(study, "tiny").trials()) == 4, "each run is queued once"


def test_runs_of_a_living_job_stay_its_own_and_those_of_a_dead_one_wait(spec, slurm, tmp_path):
    study = tmp_path / "study"
    submitted(spec, study, workers=2)
    queue = Queue(study, "tiny")
    queue.claim("slurm:1_0")
    queue.claim("slurm:1_1")
    slurm.lives("1_0|RUNNING|50:00|n1")
    submitted(spec, study, workers=2)
    assert [trial.user_attrs["worker"] for trial in queue.running()] == ["slurm:1_0"]
    assert queue.waiting() == 3


def test_nothing_is_planned_while_it_is_not_known_who_lives(spec, slurm, tmp_path):
    study = tmp_path / "study"
    submitted(spec, study, workers=2)
    Queue(study, "tiny").claim("slurm:1_0")
    slurm.refuses("squeue", "Unable to contact slurm controller")
    with pytest.raises(UserError, match="whether they live is not known"):
        submitted(spec, study, workers=2)
    assert status_of(study).counts["running"] == 1


def test_what_sbatch_refuses_is_not_recorded_and_the_runs_wait(spec, slurm, tmp_path):
    study = tmp_path / "study"
    slurm.refuses("sbatch", "sbatch: error: invalid account")
    with pytest.raises(UserError, match=r"invalid account.*run the same command again"):
        submitted(spec, study)
    assert read_submission(study).arrays == ()
    assert status_of(study).counts["waiting"] == 4


def test_a_refusal_in_the_middle_leaves_what_was_submitted_on_record(spec, slurm, tmp_path):
    study = tmp_path / "study"
    slurm._put("scontrol", "echo MaxArraySize = 2")
    slurm._put(
        "sbatch",
        f"cat > /dev/null; echo x >> {tmp_path}/count; [ $(wc -l < {tmp_path}/count) = 1 ] && echo 5 || exit 1",
    )
    with pytest.raises(UserError, match="sbatch failed"):
        submitted(spec, study, workers=4)
    assert [(array.job, array.tasks) for array in read_submission(study).arrays] == [("5", 2)]


def test_workers_of_a_class_are_submitted_for_its_runs(spec, slurm, tmp_path):
    study = tmp_path / "study"
    submission, _ = submitted(spec.with_overrides(["trainer.devices=2"]), study, workers=1)
    assert [array.resources for array in submission.arrays] == ["cpu2"]
    assert "--ntasks-per-node=2" in (slurm.root / "script.0").read_text()


def test_gpu_runs_are_planned_where_there_is_no_gpu(spec, slurm, tmp_path):
    submission, _ = submitted(spec.with_overrides(["trainer.accelerator=gpu"]), tmp_path / "study", workers=1)
    assert [array.resources for array in submission.arrays] == ["gpu1"]


def test_a_job_follows_that_collects(spec, slurm, tmp_path):
    submission, _ = submitted(spec, tmp_path / "study", workers=1, collect=True)
    assert submission.collect == ("2",)
    assert "sbatch --parsable --dependency=afterany:1" in slurm.asked
    assert f"-m jepa_scale collect {tmp_path}/study" in (slurm.root / "script.1").read_text()


def test_the_job_that_collects_follows_all_workers_that_live(spec, slurm, tmp_path):
    study = tmp_path / "study"
    submitted(spec, study, workers=2, collect=True)
    slurm.lives("1_0|RUNNING|50:00|n1", "2|PENDING|1:00:00|(Dependency)")
    slurm._put("scancel", "true")
    submission, _ = submitted(spec, study, workers=2, collect=True)
    assert "scancel --quiet 2" in slurm.asked
    assert "sbatch --parsable --dependency=afterany:1:3" in slurm.asked
    assert submission.collect == ("4",)


def test_submitting_again_takes_a_cancellation_back(spec, slurm, tmp_path):
    study = tmp_path / "study"
    submitted(spec, study)
    mark_cancelled(study)
    assert status_of(study).cancelled
    submitted(spec, study)
    assert not status_of(study).cancelled


def test_a_dry_run_writes_and_submits_nothing(spec, slurm, tmp_path):
    study = tmp_path / "study"
    text = dry_run(spec, study, SlurmLauncher(workers=2))
    assert "--array=0-1" in text
    assert text.count("#!/bin/bash") == 2
    assert not study.exists()
    assert slurm.asked == []


def test_a_local_study_does_not_take_the_runs_of_a_cluster(spec, slurm, tmp_path, monkeypatch):
    from rich.console import Console

    from jepa_scale.studies.sweep import run_study

    study = tmp_path / "study"
    submitted(spec, study, workers=1)
    Queue(study, "tiny").claim("slurm:1_0")
    slurm.lives("1_0|RUNNING|50:00|n1")
    result = run_study(read_spec(study / "study.yaml"), study, LocalLauncher(1), Console(quiet=True))
    assert len(result.records) == 3
    assert status_of(study).counts == {"done": 3, "running": 1, "waiting": 0, "failed": 0, "lost": 0, "left": 0}


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    return "tiny.yaml"


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def test_the_commands_from_a_file_to_a_table(sweep, slurm, capsys, tmp_path):
    code, said = called(capsys, "sweep", sweep, "launcher=slurm", "workers=2")
    assert code == 0
    assert "jepa-scale status studies/tiny" in said
    code, said = called(capsys, "status", "studies/tiny")
    assert (code, "4 waiting for a worker" in said) == (0, True)
    assert "no job is left for the runs that wait" in said
    mark_cancelled(tmp_path / "studies" / "tiny")
    code, said = called(capsys, "collect", "studies/tiny")
    assert code == 1
    assert "0 runs in studies/tiny/table.parquet, 4 missing" in said
    code, said = called(capsys, "sweep", sweep, "launcher=local", "workers=1")
    assert code == 0, said
    assert "4 runs in studies/tiny/table.parquet, 0 missing" in said
    code, said = called(capsys, "collect", "studies/tiny")
    assert code == 0
    code, said = called(capsys, "status", "studies/tiny", "--json")
    assert '"done": 4' in said
    assert "cancelled" not in called(capsys, "status", "studies/tiny")[1]


def test_status_names_what_failed(sweep, slurm, capsys, tmp_path):
    called(capsys, "sweep", sweep, "launcher=slurm", "workers=1")
    queue = Queue(tmp_path / "studies" / "tiny", "tiny")
    queue.fail(queue.claim("slurm:1_0").trial_id, "MemoryError: too wide")
    _, said = called(capsys, "status", "studies/tiny")
    assert "1 failed" in said
    assert "n=300, k=4, seed=0: MemoryError: too wide" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status", "."), "not a study folder"),
        (("cancel", "."), "not a study folder"),
        (("collect", "."), "neither a study's folder"),
        (("sync", "."), "neither a study's folder"),
        (("sweep", "tiny.yaml", "--dry-run"), "workers on this machine have none"),
        (("study", "tiny.yaml", "launcher=slurm"), "jepa-scale sweep tiny.yaml does that"),
        (("sweep", "tiny.yaml", "launcher=slurm", "partition=low"), "unknown key 'partition'"),
        (("sweep", "tiny.yaml", "launcher=slurm", "model.k=3"), "is a dial of study tiny"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(sweep, slurm, capsys, tmp_path, arguments, said):
    code, printed = called(capsys, *arguments)
    assert code == 2
    assert said in printed
    assert not (tmp_path / "studies").exists()


def test_looking_at_a_study_loads_nothing_heavy():
    loaded = loaded_by(
        "jepa_scale.cli.app, jepa_scale.studies.view.status, jepa_scale.studies.launching.cancel, "
        "jepa_scale.integrations.wandb.sync"
    )
    assert not {"torch", "lightning", "wandb"} & set(loaded)

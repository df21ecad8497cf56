"""Launchers of a stranger's package: one that waits, and one of a batch system of its own."""

import json

import pytest
import yaml

from jepa_scale.studies.launching.submission import Array, Submission, comment_of, read_submission
from jepa_scale.studies.manifest import read_plan
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.specification.spec import spec_of
from tests.outside.test_outside import FAST, outside, run

__all__ = ["outside"]

STUDY = {
    "name": "ours",
    "question": "Does it run elsewhere?",
    "dials": {"data.n": [300], "model.k": [2, 4]},
    "seeds": [0],
    "laws": ["generic"],
    "overrides": ["world=lowrank", *(text for text in FAST if not text.startswith(("data.n=", "model.k=")))],
}


@pytest.fixture
def study(tmp_path):
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(STUDY))
    assert run("sweep", "ours.yaml", "launcher=niced", "launcher.nice=3") == 0
    return tmp_path / "studies" / "ours"


def test_a_launcher_that_waits_does_the_runs(study, tmp_path):
    assert (tmp_path / "nice.txt").read_text() == "3"
    assert (study / "table.parquet").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("launcher=niced", "launcher.nice=99"), "launcher.nice: expected 0 … 19, got 99"),
        (("launcher=niced", "launcher.nicer=1"), "did you mean 'launcher.nice'"),
        (("launcher=niced", "--dry-run"), "--dry-run prints the batch scripts of a cluster"),
        (("launcher=nised",), "expected one of bench, local, niced, slurm, got 'nised'"),
    ],
)
def test_wrong_settings_write_nothing(tmp_path, capsys, overrides, said):
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(STUDY))
    assert run("sweep", "ours.yaml", *overrides) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "studies").exists()


def test_jobs_of_another_batch_system_are_seen_and_cancelled(study, tmp_path, capsys):
    from mypkg.launchers import Bench

    Submission(Bench(queue=str(tmp_path / "queue.txt")), (Array("7", "cpu1", 1, "now"),)).write(study)
    assert read_submission(study).launcher == Bench(queue=str(tmp_path / "queue.txt"))
    assert run("status", study) == 0
    assert "the batch system is down" in capsys.readouterr().out
    (tmp_path / "queue.txt").write_text(f"7_0|RUNNING|{comment_of(study)}\n8_0|RUNNING|another's\n")
    assert run("status", study, "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["tasks"]) == ["7_0"]
    assert run("cancel", study) == 0
    assert "1 tasks were cancelled" in capsys.readouterr().out
    assert (tmp_path / "queue.txt").read_text() == "8_0|RUNNING|another's\n"


def test_a_run_whose_task_has_ended_waits_again(study, tmp_path):
    from mypkg.launchers import Bench

    (tmp_path / "queue.txt").write_text("")
    Submission(Bench(queue=str(tmp_path / "queue.txt")), (Array("7", "cpu1", 1, "now"),)).write(study)
    record = next(study.glob("runs/*/record.json"))
    record.unlink()
    assert run("status", study) == 0
    queue = Queue(study, spec_of(study).name)
    queue.plan(read_plan(study), {}, lambda owner: False)
    assert queue.claim("bench:7_0") is not None
    assert run("status", study) == 0
    assert queue.waiting() == 2, "its task is not in the list of live ones"


def test_a_submission_that_names_a_foreign_class_is_not_believed(study, capsys):
    content = {"launcher": {"_target_": "subprocess.Popen", "args": ["true"]}, "arrays": [], "collect": []}
    (study / "launch.json").write_text(json.dumps(content))
    assert run("status", study) == 2
    assert "subprocess" in capsys.readouterr().err


def test_a_study_whose_jobs_share_its_journal_takes_no_other_queue(study, tmp_path, capsys):
    from mypkg.launchers import Bench

    Submission(Bench(), (Array("7", "cpu1", 1, "now"),)).write(study)
    assert (
        run("sweep", "ours.yaml", "launcher=local", "workers=1", f"launcher.storage='sqlite:///{tmp_path}/q.db'") == 2
    )
    assert "is its journal, got sqlite" in capsys.readouterr().err
    assert not (tmp_path / "q.db").exists()


def test_a_submission_that_names_no_launcher_is_of_slurm(study):
    content = {"launcher": {"workers": 3, "storage": None}, "arrays": [], "collect": ["5"]}
    (study / "launch.json").write_text(json.dumps(content))
    submission = read_submission(study)
    assert (submission.cluster.scheme, submission.launcher.workers, submission.jobs) == ("slurm", 3, ("5",))


def test_a_study_on_one_machine_may_have_its_queue_on_a_server(tmp_path, capsys):
    (tmp_path / "ours.yaml").write_text(yaml.safe_dump(STUDY))
    url = f"sqlite:///{tmp_path}/queue.db"
    assert run("sweep", "ours.yaml", "workers=1", f"launcher.storage='{url}'") == 0
    study = tmp_path / "studies" / "ours"
    assert not (study / "journal.log").exists()
    assert {trial.state.name for trial in Queue(study, "ours", url=url).trials()} == {"COMPLETE"}
    capsys.readouterr()
    assert run("status", study, "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"]["done"] == 2
    # The same command without the queue finds it; another queue is refused.
    assert run("sweep", "ours.yaml", "workers=1") == 0
    assert not (study / "journal.log").exists()
    assert run("sweep", "ours.yaml", "workers=1", "launcher.storage='sqlite:///other.db'") == 2
    assert f"is {url}, got sqlite:///other.db" in capsys.readouterr().err
    assert run("sweep", "ours.yaml", "workers=2") == 2
    assert "launcher.storage: expected one that several workers can share" in capsys.readouterr().err
    assert run("sweep", "ours.yaml", "workers=2", f"launcher.storage='{url}'") == 2
    assert "SQLite hands one run to two workers" in capsys.readouterr().err

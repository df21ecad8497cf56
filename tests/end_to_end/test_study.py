"""Whole studies as a user runs them: commands, kills, resumption, reports."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

SMALL = {
    "name": "small",
    "question": "Does a small study run?",
    "dials": {"data.n": [300, 600, 1200], "model.k": [2, 8]},
    "seeds": [0, 1],
    "overrides": [
        "logger=none", "trainer.epochs=2", "trainer.steps_per_epoch=20", "data.heldout=1600", "data.test=1600",
        "data.batch_size=64", "model.hidden=16",
    ],
    "bootstrap_draws": 20,
}  # fmt: skip


def command(*arguments):
    return [sys.executable, "-m", "jepa_scale", *arguments]


def call(*arguments, folder, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, timeout=300, **options
    )


@pytest.fixture
def study(tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return tmp_path


def records(folder):
    found = {}
    for path in (folder / "studies/small/runs").glob("*/record.json"):
        record = json.loads(path.read_text())
        del record["times"]
        found[record["run_id"]] = record
    return found


def test_a_study_is_run_killed_resumed_and_reported(study):
    whole = call("study", "small.yaml", "workers=1", "--folder", "studies/whole", folder=study)
    assert whole.returncode == 0, whole.stderr
    assert "report: studies/whole/report.html" in whole.stdout

    # The same study with two workers, its process killed as soon as three runs are done.
    process = subprocess.Popen(
        command("study", "small.yaml", "workers=2"), cwd=study, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while len(records(study)) < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    # Its workers notice; without waiting, theirs would be the locks that the next command meets.
    time.sleep(2)
    kept = set(records(study))
    assert 3 <= len(kept) < 12

    again = call("study", "small.yaml", "workers=2", folder=study)
    assert again.returncode == 0, again.stderr
    assert f"of 12 runs are done already, {12 - len(kept)} to do" in again.stdout
    folder = study / "studies/small"
    assert (folder / "report.html").stat().st_size > 100_000
    assert len(list((folder / "figures").glob("*.png"))) >= 6
    assert (folder / "table.parquet").exists()
    # Three laws of both targets, and one that levels off with the regret of random plans.
    assert len(json.loads((folder / "fit.json").read_text())["fits"]) == 7

    # One worker in this process or two that were killed: the same records.
    (study / "studies/small").rename(study / "studies/killed")
    (study / "studies/whole").rename(study / "studies/small")
    uninterrupted = records(study)
    (study / "studies/small").rename(study / "studies/whole")
    (study / "studies/killed").rename(study / "studies/small")
    assert records(study) == uninterrupted

    # Nothing left to do: no training, the report again.
    third = call("study", "small.yaml", folder=study)
    assert third.returncode == 0
    assert "runs done" not in third.stdout
    (folder / "report.html").unlink()
    report = call("report", "studies/small", folder=study)
    assert report.returncode == 0
    assert (folder / "report.html").exists()

    # A corrupted record stops the study at the door and names the remedy.
    victim = next((folder / "runs").glob("*/record.json"))
    victim.write_text("{")
    refused = call("study", "small.yaml", folder=study)
    assert refused.returncode == 2
    assert f"{victim.relative_to(study)} is corrupted" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_ctrl_c_ends_workers_and_says_how_to_go_on(study):
    process = subprocess.Popen(
        command("study", "small.yaml", "workers=2"),
        cwd=study, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # A shell's background job ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 240
    while len(records(study)) < 1 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in errors
    for path in (study / "studies/small/runs").glob("*/record.json"):
        json.loads(path.read_text())


def test_diverged_runs_are_recorded_and_the_study_goes_on(study):
    # A threshold that some models pass in forty steps and others do not.
    spec = {**SMALL, "seeds": [0], "overrides": [*SMALL["overrides"], "trainer.divergence=0.96"]}
    (study / "small.yaml").write_text(yaml.safe_dump(spec))
    done = call("study", "small.yaml", "workers=1", folder=study)
    assert done.returncode == 0, done.stderr
    status = [record["status"] for record in records(study).values()]
    assert len(status) == 6
    assert status.count("diverged") > 0
    page = (study / "studies/small/report.html").read_text()
    assert "diverged" in page


def test_another_study_in_the_folder_is_refused(study):
    folder = study / "studies/small"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump({**SMALL, "overrides": ["world=torus"]}))
    refused = call("study", "small.yaml", folder=study)
    assert refused.returncode == 2
    assert "holds a study with other dials, seeds or overrides" in refused.stderr
    assert sorted(item.name for item in folder.iterdir()) == ["study.yaml"]


def test_what_a_kill_in_the_first_write_leaves_is_no_stranger(tmp_path):
    from jepa_scale.studies.specification.spec import parse_spec
    from jepa_scale.studies.sweep import study_folder

    folder = tmp_path / "study"
    folder.mkdir()
    (folder / ".study.yaml.k1ll3d").write_text("name: ")
    with study_folder(parse_spec(SMALL, "small.yaml"), folder):
        assert (folder / "study.yaml").exists()


def test_a_file_in_the_place_of_the_folder_is_refused(study):
    refused = call("study", "small.yaml", "--folder", "small.yaml", "workers=1", folder=study)
    assert refused.returncode == 2
    assert "small.yaml" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_folder_that_is_no_study_is_refused(study):
    refused = call("study", "small.yaml", "--folder", ".", folder=study)
    assert refused.returncode == 2
    assert "is not a study folder" in refused.stderr
    assert [item.name for item in study.iterdir()] == ["small.yaml"]

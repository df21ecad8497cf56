"""Processes killed at random moments: every run is done once, and the table is that of a study nobody disturbed."""

import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from jepa_scale.studies.queue.storage import Queue

pytestmark = pytest.mark.slow

STUDY = {
    "name": "struck",
    "question": "Is anything lost?",
    "dials": {"data.n": [300, 600], "model.k": [2, 4]},
    "seeds": [0, 1, 2],
    "laws": ["generic"],
    "bootstrap_draws": 20,
    "overrides": [
        "world=lowrank", "logger=none", "trainer.epochs=3", "trainer.steps_per_epoch=60", "data.heldout=1600",
        "data.test=1600", "data.batch_size=64", "model.hidden=16",
    ],
}  # fmt: skip
RUNS = 12
KILLS = 8


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Folder with the study's file, and the records of the study undisturbed."""
    folder = tmp_path_factory.mktemp("struck")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    done = started(folder, "whole", workers=1)
    assert done.wait(timeout=300) == 0
    return folder, records(folder / "whole")


def started(folder, name, workers=2):
    """The study's command, in a group of its own."""
    command = [sys.executable, "-m", "jepa_scale", "study", "study.yaml", f"workers={workers}", "--folder", name]
    with (folder / f"{name}.out").open("a") as out:
        return subprocess.Popen(
            command, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip


def records(study):
    """What every run's record says, times left out."""
    contents = [json.loads(path.read_text()) for path in study.glob("runs/*/record.json")]
    return {content.pop("run_id"): {key: content[key] for key in content if key != "times"} for content in contents}


def workers_of(process):
    """Process ids of the workers that a study's command has at this moment."""
    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def strike(process, whom):
    """Kill the study's command, one of its workers, or all of them; return how many were killed."""
    workers = workers_of(process)
    victims = {"parent": [process.pid], "worker": workers[:1], "both": [*workers, process.pid]}[whom]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return 0
    if whom != "worker":
        process.wait()
    return len(victims)


def ends(study):
    """How often the journal tells each run as finished."""
    trials = Queue(study, STUDY["name"]).study.trials
    return collections.Counter(trial.user_attrs["run"] for trial in trials if trial.state.name == "COMPLETE")


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def one_more(process, study, before):
    """Wait until another run of the study is done, or its command has ended."""
    until(lambda: process.poll() is not None or len(records(study)) > min(before, RUNS - 1))


def struck(folder, name, drawn, most):
    """Do a study whose processes are killed up to ``most`` times; return how many were."""
    process, kills = started(folder, name), 0
    while process.poll() is None and kills < most:
        one_more(process, folder / name, len(records(folder / name)))
        time.sleep(drawn.uniform(0, 0.4))
        kills += strike(process, drawn.choice(["parent", "worker", "both"]))
        if process.poll() is not None:
            process = started(folder, name)
    # Left alone it ends, or says that its workers died too often, and the same command goes on.
    for _ in range(4):
        if process.wait(timeout=300) == 0:
            return kills
        process = started(folder, name)
    raise AssertionError((folder / f"{name}.out").read_text()[-3000:])


def test_whoever_is_killed_every_run_is_done_once(material):
    folder, undisturbed = material
    drawn = random.Random(0)
    kills = rounds = 0
    while kills < KILLS:
        name = f"struck-{rounds}"
        rounds, kills = rounds + 1, kills + struck(folder, name, drawn, KILLS - kills)
        assert "Traceback" not in (folder / f"{name}.out").read_text()
        assert records(folder / name) == undisturbed
        assert set(ends(folder / name).values()) == {1}


def test_a_journal_with_six_workers_loses_nothing(material):
    folder, undisturbed = material
    drawn = random.Random(0)
    process = started(folder, "six", workers=6)
    until(lambda: process.poll() is not None or len(workers_of(process)) == 6)
    for _ in range(3):
        time.sleep(drawn.uniform(0, 3))
        workers = workers_of(process)
        if workers:
            os.kill(drawn.choice(workers), signal.SIGKILL)
    process.wait(timeout=600)
    assert process.returncode == 0, (folder / "six.out").read_text()[-3000:]
    assert records(folder / "six") == undisturbed
    assert set(ends(folder / "six").values()) == {1}


def test_a_run_folder_deleted_while_it_runs_is_done_again(material):
    folder, undisturbed = material
    process = started(folder, "deleted")
    study = folder / "deleted"

    def in_progress():
        return [
            path.parent for path in study.glob("runs/*/metrics.jsonl") if not (path.parent / "record.json").exists()
        ]

    until(lambda: process.poll() is not None or (records(study) and in_progress()))
    shutil.rmtree(in_progress()[0], ignore_errors=True)
    process.wait(timeout=300)
    shown = (folder / "deleted.out").read_text()
    assert "Traceback" not in shown
    if process.returncode:  # it was told as failed; the same command does it again
        process = started(folder, "deleted")
        assert process.wait(timeout=300) == 0, (folder / "deleted.out").read_text()[-3000:]
    found = records(study)
    # Where the run went on to its end, what it had measured at earlier epochs is gone with the folder, and is not told.
    lost = [run for run, record in found.items() if not record["halfway"]]
    assert len(lost) <= 1
    for run in lost:
        found[run]["halfway"] = undisturbed[run]["halfway"]
    assert found == undisturbed

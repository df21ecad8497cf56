"""Disks, journals and locks in trouble while a real SLURM works on a study."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from jepa_scale.studies.view.status import status_of
from tests.cluster.test_sweep import SLURM, SWEEP, completed, ended, in_training, logs

pytestmark = pytest.mark.cluster

SMALL = SWEEP.replace("[0, 1, 2]", "[0]").replace("[300, 400, 500, 600]", "[300, 400]")
"""6 runs."""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture
def little_disk(tmp_path):
    place = tmp_path / "little"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]).returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_loses_no_run(cluster, command, small, little_disk):
    study = little_disk / "study"
    submit = ("sweep", str(small), *SLURM, "workers=2", "launcher.collect=false", "--folder", str(study))
    command(*submit, "launcher.options=[--hold]")
    free = shutil.disk_usage(little_disk).free
    (little_disk / "filler").write_bytes(b"x" * (free - 2 * os.sysconf("SC_PAGESIZE")))
    cluster.run("scontrol", "release", *{name.partition("_")[0] for name in cluster.jobs()})
    ended(cluster, study)
    (little_disk / "filler").unlink()
    found = status_of(study)
    assert found.counts["done"] < 6
    assert found.counts["running"] == found.counts["lost"] == 0
    assert all("No space left" in run.reason or "gave no reason" in run.reason for run in found.runs if run.reason)
    command(*submit)
    found = ended(cluster, study)
    assert found.counts["done"] == 6, found
    assert set(completed(study).values()) == {1}


HOLD = """
import sys, time
from pathlib import Path
from jepa_scale.studies.queue.journal import JournalFile
journal = JournalFile(Path(sys.argv[1]))
journal._exclusive.acquire()
print("held", flush=True)
time.sleep(900)
"""


def test_a_killed_holder_of_the_lock_and_a_torn_line_stop_nobody(cluster, command, small, tmp_path, capfd):
    study = tmp_path / "study"
    command("sweep", str(small), *SLURM, "workers=2", "launcher.collect=false", "--folder", str(study))
    in_training(cluster, study)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(study / "journal.log")], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    with (study / "journal.log").open("a") as journal:
        journal.write('{"op_code": 5, "wor')
    # Until a worker has waited for it so long that it says so; a busy machine comes to it late.
    end = time.monotonic() + 600
    while "journal.lock for 10 s already" not in logs(study) and time.monotonic() < end:
        time.sleep(1)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    killed = time.monotonic()
    with contextlib.suppress(AssertionError):
        in_training(cluster, study, seconds=60)
    found = ended(cluster, study)
    assert found.counts["done"] == 6, (found, logs(study))
    assert set(completed(study).values()) == {1}
    # Whoever comes first to the lock, or to the torn line, says so: a worker, or this process, which looks on.
    said = logs(study) + capfd.readouterr().err
    assert "journal.lock for 10 s already" in said
    assert "torn and is cut off" in said
    assert time.monotonic() - killed < 600
    assert not list(study.glob("journal.damaged-*"))

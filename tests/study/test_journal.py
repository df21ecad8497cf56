import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
from filelock import FileLock

from jepa_scale.runs.errors import UserError
from jepa_scale.studies.queue.journal import JournalFile, Unreadable, open_url, wrong_url
from jepa_scale.studies.queue.storage import Queue
from tests.study.test_queue import point, states


@pytest.mark.parametrize("torn", ['{"op_code": 4, "wor', '{"op_code":4}', "\0" * 5000])
def test_a_torn_last_line_is_cut_off_before_the_next_is_written(tmp_path, torn, capfd):
    Queue(tmp_path, "study").plan([point(0), point(1)], {})
    journal = tmp_path / "journal.log"
    with journal.open("a") as file:
        file.write(torn)
    queue = Queue(tmp_path, "study")
    assert states(queue) == ["WAITING", "WAITING"], "readers do not see it"
    assert queue.claim("me").run_id == "run-000"
    assert "torn and is cut off" in capfd.readouterr().err
    assert states(Queue(tmp_path, "study")) == ["RUNNING", "WAITING"]
    assert torn not in journal.read_text()


def test_a_reader_that_was_there_before_goes_on_after_a_torn_line(tmp_path):
    first = Queue(tmp_path, "study")
    first.plan([point(0), point(1)], {})
    with (tmp_path / "journal.log").open("a") as file:
        file.write('{"op_code"')
    assert states(first) == ["WAITING", "WAITING"]
    second = Queue(tmp_path, "study")
    assert second.claim("a").run_id == "run-000"
    assert first.claim("b").run_id == "run-001"


def test_a_damaged_line_in_the_middle_is_named_to_those_who_are_at_work(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    with (tmp_path / "journal.log").open("a") as file:
        file.write("\0\0\n{}\n")
    with pytest.raises(Unreadable, match=r"journal\.log is damaged.*run the study or sweep command again"):
        queue.claim("me")


def test_a_lock_that_nobody_lets_go_of_is_reported_and_given_up(tmp_path, capfd):
    journal = JournalFile(tmp_path / "journal.log", reported=0.1, patience=0.4)
    held = FileLock(tmp_path / "journal.lock")
    thread = threading.Thread(target=held.acquire)
    thread.start()
    thread.join()
    with pytest.raises(UserError, match=r"journal\.lock is held by another process for over 0\.4 s"):
        journal.append_logs([{"a": 1}])
    assert re.search(r"waiting for .*journal\.lock for 0\.1 s already", capfd.readouterr().err)
    assert (tmp_path / "journal.log").read_text() == ""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small file system needs root"
)
def test_a_full_disk_leaves_whole_lines_behind(tmp_path):
    script = """
import sys
from pathlib import Path
from jepa_scale.studies.queue.storage import Queue
from tests.study.test_queue import point, states
folder = Path(sys.argv[1])
queue = Queue(folder, "study")
try:
    for first in range(0, 10_000, 50):
        queue.plan([point(index) for index in range(first, first + 50)], {})
    raise SystemExit("the disk never filled up")
except OSError as error:
    print("errno", error.errno)
planned = len(states(Queue(folder, "study")))
(folder / "filler").unlink()
queue = Queue(folder, "study")
assert len(states(queue)) == planned
assert queue.claim("me").run_id == "run-000"
print("planned", planned)
"""
    # A mount of its own process only: it is gone with it.
    command = (
        f'mount -t tmpfs -o size=400k none {tmp_path} && head -c 200000 /dev/zero > {tmp_path}/filler && exec "$@"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command, "sh", sys.executable, "-c", script, str(tmp_path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=120,
    )  # fmt: skip
    if "unshare failed" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert "errno 28" in done.stdout


@pytest.mark.parametrize(
    ("url", "workers", "said"),
    [
        ("sqlite:///study.db", 2, "SQLite hands one run to two workers"),
        ("redis://host", 1, "expected postgresql"),
        ("study.db", 1, "expected postgresql"),
    ],
)
def test_queues_that_cannot_be_shared_are_refused(url, workers, said):
    assert said in wrong_url(url, workers)


@pytest.mark.parametrize(
    "url", ["postgresql://host/db", "postgresql+psycopg2://host/db", "mysql://host/db", "grpc://h:1"]
)
def test_servers_are_accepted(url):
    assert wrong_url(url, 8) == ""


def test_a_server_that_does_not_answer_is_a_sentence_without_its_password():
    with pytest.raises(UserError, match="storage") as caught:
        open_url("postgresql://me:secret@127.0.0.1:1/db")
    assert "secret" not in str(caught.value)


def test_sqlite_serves_a_single_worker(tmp_path):
    queue = Queue(tmp_path, "study", url=f"sqlite:///{tmp_path}/study.db")
    queue.plan([point(0)], {})
    assert queue.claim("me").run_id == "run-000"
    assert not (tmp_path / "journal.log").exists()

"""The queue on a real PostgreSQL, where there is one: nothing is claimed twice, nothing is lost with a worker."""

import multiprocessing
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from jepa_scale.runs.distributed.ranks import free_port
from jepa_scale.studies.queue.storage import Queue
from tests.study.test_queue import point, states

BINARIES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
pytestmark = pytest.mark.slow


def as_server(*command, **keywords):
    """Run a command as a user that PostgreSQL starts for, which root is not."""
    if os.geteuid() == 0:
        command = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command)
    return subprocess.run(command, check=True, capture_output=True, **keywords)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    pytest.importorskip("psycopg2")
    if BINARIES is None or (os.geteuid() == 0 and shutil.which("setpriv") is None):
        pytest.skip("expected PostgreSQL's programs in /usr/lib/postgresql/*/bin")
    place = Path("/tmp") / f"jepa-scale-{os.getpid()}"
    place.mkdir()
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    port = free_port()
    try:
        as_server(str(BINARIES / "initdb"), "-D", f"{place}/data", "-A", "trust", "-U", "me", "--no-sync")
        options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1"
        as_server(str(BINARIES / "pg_ctl"), "-D", f"{place}/data", "-w", "-o", options, "-l", f"{place}/log", "start")
        yield f"postgresql+psycopg2://me@127.0.0.1:{port}/postgres"
        as_server(str(BINARIES / "pg_ctl"), "-D", f"{place}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(place)


def _claim(folder, url, worker, results, most):
    queue = Queue(folder, "study", url=url)
    kind = None if most == 1 else lambda run: "alike"
    while claims := queue.claim_several(worker, kind=kind, most=lambda run, waiting: most):
        results.put([claim.run_id for claim in claims])
        if worker == "doomed":
            os.kill(os.getpid(), signal.SIGKILL)
    results.put(None)


def test_runs_are_claimed_once_each_and_those_of_a_killed_worker_again(tmp_path, url):
    queue = Queue(tmp_path, "study", url=url)
    points = [point(index) for index in range(300)]
    assert queue.plan(points, {}) == 300
    assert queue.plan(points, {}) == 300, "once more, nothing is queued twice"
    assert len(queue.trials()) == 300
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    crew = {name: (name, results, most) for name, most in (("doomed", 4), ("single", 1), ("several", 5))}
    processes = [context.Process(target=_claim, args=(tmp_path, url, *one)) for one in crew.values()]
    for process in processes:
        process.start()
    taken, ended = [], 0
    while ended < 2:
        item = results.get()
        ended += item is None
        taken += item or []
    for process in processes:
        process.join()
    assert processes[0].exitcode == -signal.SIGKILL
    assert sorted(taken) == [f"run-{index:03d}" for index in range(300)]
    assert states(queue) == ["RUNNING"] * 300
    (lost,) = {frozenset(queue.reap(lambda owner: owner == "doomed"))}
    assert len(lost) == 4
    assert {queue.claim("me").run_id for _ in range(4)} == lost
    again = queue.trials()[-1]
    assert (again.params.keys(), again.user_attrs["attempt"]) == ({"n", "k", "seed"}, 2)
    assert [trial.number for trial in queue.trials()] == list(range(304))
    assert queue.trials() == queue.study.get_trials(), "as Optuna reads them"

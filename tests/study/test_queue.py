import datetime
import gc
import multiprocessing
import os
import signal
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState

from jepa_scale.records import RunRecord
from jepa_scale.runs.folder import RunFolder
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.queue.journal import Unreadable
from jepa_scale.studies.queue.storage import YOUNG, Queue
from jepa_scale.studies.worker import work


def point(index):
    return DesignPoint(n=300 + index, k=2, seed=0, config={}, run_id=f"run-{index:03d}")


def record(run_id, regret=0.25, status="finished"):
    return RunRecord(
        run_id=run_id, config={"planner": {"score": "density"}}, status=status, reason="lost" * (status != "finished"),
        dials={}, final={"regret/density": regret}, final_standard_errors={}, final_n={}, bounds=[], truth={},
        spectrum={}, versions={}, data_checksum="",
    )  # fmt: skip


def states(queue):
    return sorted(trial.state.name for trial in queue.trials())


def test_points_are_parameters_and_regret_is_the_value(tmp_path):
    queue = Queue(tmp_path, "study")
    assert queue.plan([point(0)], {}) == 1
    claim = queue.claim("me")
    assert claim.run_id == "run-000"
    queue.finish(claim.trial_id, record("run-000"))
    (trial,) = Queue(tmp_path, "study").trials()
    assert trial.params == {"n": 300, "k": 2, "seed": 0}
    assert trial.value == 0.25
    assert queue.claim("me") is None


def test_planning_twice_queues_once(tmp_path):
    for _ in range(3):
        queue = Queue(tmp_path, "study")
        assert queue.plan([point(0), point(1)], {}) == 2
    assert states(queue) == ["WAITING", "WAITING"]


def test_runs_on_disk_are_told_and_not_queued(tmp_path):
    queue = Queue(tmp_path, "study")
    assert queue.plan([point(0), point(1)], {"run-000": record("run-000")}) == 1
    assert states(queue) == ["COMPLETE", "WAITING"]
    # Finished elsewhere since: the waiting trial becomes complete, nothing is queued again.
    assert queue.plan([point(0), point(1)], {name: record(name) for name in ("run-000", "run-001")}) == 0
    assert states(queue) == ["COMPLETE", "COMPLETE"]


def test_a_deleted_record_is_queued_again(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {"run-000": record("run-000")})
    assert queue.plan([point(0)], {}) == 1
    assert states(queue) == ["COMPLETE", "WAITING"]


def test_a_trial_left_running_by_a_dead_process_is_queued_again(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    queue.claim("dead")
    assert Queue(tmp_path, "study").plan([point(0)], {}) == 1
    assert states(queue) == ["FAIL", "WAITING"]


def test_a_run_is_out_of_memory_before_the_next_begins(tmp_path, monkeypatch):
    """A run's objects refer to one another, as trainer and module do; Python's own collector is off to show it."""
    alive = []

    class Held:
        def __init__(self):
            self.itself = self

    def run(config, path, group=None, tags=()):
        held = Held()
        assert not [before for before in alive if before() is not None]
        alive.append(weakref.ref(held))
        return record(path.name)

    monkeypatch.setattr("jepa_scale.runs.run.run", run)
    queue, points = Queue(tmp_path, "study"), {f"run-{index:03d}": point(index) for index in range(3)}
    queue.plan(list(points.values()), {})
    gc.disable()
    try:
        work(tmp_path, queue, points, "me")
    finally:
        gc.enable()
    assert states(queue) == ["COMPLETE"] * 3
    assert len(alive) == 3


def test_a_dead_worker_is_forgiven_once(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0), point(1)], {})
    assert queue.claim("a").run_id == "run-000"
    assert queue.claim("b").run_id == "run-001"
    queue.reap("a".__eq__)
    assert [trial.user_attrs["worker"] for trial in queue.running()] == ["b"], "b's run is left alone"
    assert queue.claim("a").attempt == 2
    queue.reap("a".__eq__)
    assert queue.claim("a") is None


def test_a_diverged_run_is_a_failed_trial_with_its_reason(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    queue.finish(queue.claim("me").trial_id, record("run-000", status="diverged"))
    (trial,) = queue.trials()
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"].startswith("diverged: lost")


@pytest.mark.parametrize("damage", ["torn", "garbage"])
def test_a_damaged_journal_is_put_aside_and_rebuilt(tmp_path, damage):
    Queue(tmp_path, "study").plan([point(0), point(1)], {})
    journal = tmp_path / "journal.log"
    text = journal.read_text()
    journal.write_text(text[:-9] + '{"op_code": 1\n{' if damage == "torn" else "x\n" + text)
    with pytest.raises(Unreadable, match=r"journal\.log is damaged"):
        Queue(tmp_path, "study")
    queue = Queue(tmp_path, "study", rebuild=True)
    assert queue.plan([point(0), point(1)], {"run-000": record("run-000")}) == 1
    assert states(queue)[-1] == "WAITING"
    assert len(list(tmp_path.glob("journal.damaged-*"))) == 1


def _claim_all(folder, name, results):
    queue = Queue(folder, "study")
    while (claim := queue.claim(name)) is not None:
        results.put(claim.run_id)
    results.put(None)


def test_two_processes_never_take_the_same_run(tmp_path):
    Queue(tmp_path, "study").plan([point(index) for index in range(40)], {})
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    crew = [context.Process(target=_claim_all, args=(tmp_path, f"w{i}", results)) for i in range(2)]
    for process in crew:
        process.start()
    taken, ended = [], 0
    while ended < 2:
        item = results.get(timeout=60)
        ended += item is None
        taken += [item] * (item is not None)
    for process in crew:
        process.join()
    assert sorted(taken) == [f"run-{index:03d}" for index in range(40)]


def _die_with_the_lock(folder):
    queue = Queue(folder, "study")
    queue.storage._backend._lock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_killed_while_it_writes_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("study")  # relative, as on the command line
    folder.mkdir()
    Queue(folder, "study").plan([point(0)], {})
    process = multiprocessing.get_context("spawn").Process(target=_die_with_the_lock, args=(folder,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert Queue(folder, "study").claim("me").run_id == "run-000"


def test_a_dead_owners_run_with_a_record_is_told_as_finished(tmp_path, monkeypatch):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    queue.claim("a")
    done = record("run-000")
    monkeypatch.setattr(RunFolder, "read_record", lambda folder: done if folder.path.name == "run-000" else None)
    assert queue.reap("a".__eq__) == ["run-000"]
    assert states(queue) == ["COMPLETE"]


def test_a_reaper_that_dies_between_telling_and_queueing_loses_no_run(tmp_path, monkeypatch):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    queue.claim("a")

    def dies(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "_enqueue", dies)
        with pytest.raises(KeyboardInterrupt):
            queue.reap("a".__eq__)
    assert states(queue) == ["FAIL"]
    later = Queue(tmp_path, "study")
    later.reap("a".__eq__)
    later.reap("a".__eq__)
    assert states(later) == ["FAIL", "WAITING"]
    assert later.claim("b").attempt == 2


def test_living_owners_keep_their_runs_when_a_study_is_planned_again(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0), point(1)], {})
    queue.claim("alive")
    queue.claim("dead")
    assert queue.plan([point(0), point(1)], {}, "alive".__eq__) == 1
    assert [trial.user_attrs["worker"] for trial in queue.running()] == ["alive"]
    assert queue.waiting() == 1


def test_a_trial_that_is_just_being_taken_is_nobodys_and_yet_not_dead(tmp_path, monkeypatch):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    (trial,) = queue.trials()
    queue._claims.take(trial._trial_id)
    assert queue.reap(lambda owner: True) == []
    assert queue.plan([point(0)], {}, lambda owner: True, YOUNG) == 0
    monkeypatch.setattr("jepa_scale.studies.queue.storage.age", lambda trial: datetime.timedelta(hours=1))
    assert queue.reap(lambda owner: True) == ["run-000"]
    assert queue.claim("me").attempt == 2
    assert [trial.params["n"] for trial in queue.running()] == [300], "its values are those that were queued"


def test_a_worker_finds_the_run_that_it_was_at(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0), point(1)], {})
    assert queue.resumed("a") == []
    mine = queue.claim("a")
    queue.claim("b")
    assert Queue(tmp_path, "study").resumed("a") == [mine]


def test_runs_are_taken_by_workers_of_their_resources(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0), replace(point(1), resources="gpu4")], {})
    assert queue.waiting("gpu4") == 1
    assert queue.claim("a", resources="gpu4").run_id == "run-001"
    assert queue.claim("a", resources="gpu4") is None
    queue.reap("a".__eq__)
    assert queue.waiting("gpu4") == 1, "still when it is tried again"
    assert queue.claim("b", resources="cpu1").run_id == "run-000"


def test_a_run_that_is_released_waits_at_the_same_attempt(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    queue.release(queue.claim("a"), "its job may not be requeued")
    assert queue.claim("b").attempt == 1


def test_beginnings_without_an_advance_are_counted(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    claim = queue.claim("a")
    counts = [Queue(tmp_path, "study").note_start(claim, mark) for mark in (0.0, 0.0, 0.0, 5.0, 5.0, 6.0)]
    assert counts == [0, 1, 2, 0, 1, 0]


def test_who_tells_second_is_not_heard(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    claim = queue.claim("a")
    queue.finish(claim.trial_id, record("run-000"))
    queue.fail(claim.trial_id, "too late")
    queue.finish(claim.trial_id, record("run-000", regret=0.5))
    (trial,) = queue.trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.25)


def test_what_was_stopped_in_good_order_costs_no_attempt(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    for _ in range(3):
        claim = queue.claim("a")
        assert claim.attempt == 1
        queue.note_start(claim, 0.0)
        queue.note_stop(claim)
        queue.reap("a".__eq__, attempts=1)
    claim = queue.claim("a")
    queue.note_start(claim, 0.0)
    queue.reap("a".__eq__, attempts=1)
    assert queue.claim("a") is None, "a death after it has begun again does"
    assert queue.trials()[-1].user_attrs["reason"] == "its worker died, at attempt 1 of 1"


def test_to_be_cancelled_costs_no_attempt(tmp_path):
    queue = Queue(tmp_path, "study")
    queue.plan([point(0)], {})
    for _ in range(3):
        assert queue.claim("a").attempt == 1
        assert queue.reap("a".__eq__, attempts=None) == ["run-000"]
    assert queue.waiting() == 1


def test_to_open_a_study_again_writes_nothing(tmp_path):
    Queue(tmp_path, "study").plan([point(0)], {})
    before = (tmp_path / "journal.log").read_bytes()
    assert len(Queue(tmp_path, "study").trials()) == 1
    assert (tmp_path / "journal.log").read_bytes() == before

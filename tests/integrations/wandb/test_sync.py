"""`sync`, with a stand-in for W&B's command that writes down what it is asked."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jepa_scale.cli.app import main
from jepa_scale.integrations.wandb import sync
from jepa_scale.runs.folder import RunFolder
from tests.integrations.wandb.fake_server import FakeServer

STAND_IN = """
import json, os, pathlib, sys, time

def note(**what):
    with open(os.environ["STAND_IN_LOG"], "a") as file:
        file.write(json.dumps(what) + "\\n")

options = [text for text in sys.argv[1:] if text.startswith("-")]
folders = [pathlib.Path(text) for text in sys.argv[2:] if not text.startswith("-")]
run_id = folders[0].name.split("-", 3)[-1]
note(event="start", run=run_id, folders=[folder.name for folder in folders], options=options,
     mode=os.environ.get("WANDB_MODE"), process=os.getpid())
for folder in folders:
    waits = run_id in os.environ.get("STAND_IN_WAITS", "").split()
    while waits and not pathlib.Path(os.environ["STAND_IN_GO"]).exists():
        time.sleep(0.02)
    own_id = folder.name.split("-", 3)[-1]
    if own_id in os.environ.get("STAND_IN_FAILS", "").split():
        print("wandb: Syncing 1 run(s):")
        print(f"wandb: ERROR \\x1b[31m[{own_id}] the server said no\\x1b[0m")
        break
    (folder / f"run-{own_id}.wandb.synced").touch()
time.sleep(float(os.environ.get("STAND_IN_TAKES", 0)))
note(event="end", run=run_id)
"""


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """A package `wandb` before the real one for new processes; returns what it was asked."""
    package = tmp_path / "stand_in" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import os\nfrom types import SimpleNamespace\n\ndef login(prompt, verify):\n"
        "    print('wandb: no key at all')\n    return 'NO_KEY' not in os.environ\n\n"
        "def setup():\n    return SimpleNamespace(settings=SimpleNamespace(base_url=os.environ['STAND_IN_URL']))\n"
    )
    server = FakeServer()
    monkeypatch.setenv("STAND_IN_URL", server.settings["WANDB_BASE_URL"])
    (package / "__main__.py").write_text(STAND_IN)
    log = tmp_path / "log.jsonl"
    log.touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), str(Path(__file__).parents[2])]))
    monkeypatch.setenv("STAND_IN_LOG", str(log))
    monkeypatch.setenv("STAND_IN_GO", str(tmp_path / "go"))
    monkeypatch.setenv("COLUMNS", "200")
    yield lambda: [json.loads(line) for line in log.read_text().splitlines()]
    server.close()
    # No stand-in waits on after a test that failed.
    (tmp_path / "go").touch()


def part(owner, run_id, day):
    folder = owner / "wandb" / f"offline-run-202601{day:02d}_000000-{run_id}"
    folder.mkdir(parents=True)
    (folder / f"run-{run_id}.wandb").write_bytes(b":W&B")
    return folder


@pytest.fixture
def study(tmp_path):
    """Four runs, of which `b-1` was requeued twice, and one of the study itself."""
    study = tmp_path / "study"
    for run_id, days in (("a", [1]), ("b-1", [3, 1, 2]), ("c", [1]), ("d", [2])):
        for day in days:
            part(study / "runs" / run_id, run_id, day)
    part(study, "table", 4)
    return study


def called(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return ended.value.code, shown.out + shown.err


def test_every_run_has_one_command_with_its_parts_in_order(study, wandb, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    code, said = called(capsys, "sync", study, "--project", "mine", "--entity", "we")
    assert code == 0, said
    assert "5 offline runs to sync, in 7 parts" in said
    assert "5 of 5 runs synced" in said
    starts = {one["run"]: one for one in wandb() if one["event"] == "start"}
    assert set(starts) == {"a", "b-1", "c", "d", "table"}
    assert len(wandb()) == 10
    assert starts["b-1"]["folders"] == [f"offline-run-2026010{day}_000000-b-1" for day in (1, 2, 3)]
    assert starts["a"]["options"] == ["--yes", "--skip-synced", "--entity=we", "--project=mine"]
    assert starts["a"]["mode"] is None, "in that mode W&B looks for no key"
    code, said = called(capsys, "sync", study)
    assert (code, said) == (0, "0 offline runs to sync, in 0 parts\n")
    assert len(wandb()) == 10


def test_a_server_that_does_not_answer_is_said_before_anything_is_started(study, wandb, capsys, monkeypatch):
    monkeypatch.setenv("STAND_IN_URL", "http://127.0.0.1:9")
    code, said = called(capsys, "sync", study)
    assert code == 2
    assert "no answer from http://127.0.0.1:9 (" in said
    assert "Connection refused" in said
    assert wandb() == []


def test_only_as_many_run_at_a_time_as_asked(study, wandb, capsys, monkeypatch):
    monkeypatch.setenv("STAND_IN_TAKES", "0.3")
    assert called(capsys, "sync", study, "-n", "2")[0] == 0
    alive, most = set(), 0
    for one in wandb():
        (alive.add if one["event"] == "start" else alive.discard)(one["run"])
        most = max(most, len(alive))
    assert most == 2


def test_many_runs_share_commands_and_those_that_are_left_have_their_own(tmp_path, wandb, capsys, monkeypatch):
    study = tmp_path / "many"
    for number in range(20):
        part(study / "runs" / f"r{number:02d}", f"r{number:02d}", 1)
    for day in (1, 2):
        part(study / "runs" / "requeued", "requeued", day)
    monkeypatch.setenv("STAND_IN_FAILS", "r03")
    code, said = called(capsys, "sync", study, "-n", "4")
    assert code == 1
    assert "20 of 21 runs synced, 1 failed" in said
    assert "failed: r03: [r03] the server said no\n" in said
    asked = [[name.split("-", 3)[-1] for name in one["folders"]] for one in wandb() if one["event"] == "start"]
    assert ["requeued", "requeued"] in asked, "parts keep their order in a command of their own"
    assert sorted(map(len, asked)) == [1, 1, 1, 2, 2, 6, 6, 6]
    # What stood behind the damaged one in its command is sent alone, and so is that one.
    assert sorted(names for names in asked if len(names) == 1) == [["r03"], ["r04"], ["r05"]]


def test_failures_are_said_at_the_end_and_the_same_command_goes_on(study, wandb, capsys, monkeypatch):
    monkeypatch.setenv("STAND_IN_FAILS", "b-1 d")
    code, said = called(capsys, "sync", study, "-n", "1")
    assert code == 1
    assert "3 of 5 runs synced, 2 failed" in said
    assert "failed: b-1: [b-1] the server said no\n" in said
    assert "failed: d: [d] the server said no\n" in said
    assert said.endswith("2 of 5 runs failed; the same command goes on with them\n")
    monkeypatch.delenv("STAND_IN_FAILS")
    code, said = called(capsys, "sync", study)
    assert code == 0, said
    assert "2 of 2 runs synced" in said
    assert sorted(one["run"] for one in wandb()[-4:]) == ["b-1", "b-1", "d", "d"]


def test_part_of_a_run_that_was_synced_before_is_left_out(study, wandb, capsys):
    first, *_ = sorted((study / "runs" / "b-1" / "wandb").iterdir())
    (first / "run-b-1.wandb.synced").touch()
    assert called(capsys, "sync", study)[0] == 0
    (asked,) = [one["folders"] for one in wandb() if one["run"] == "b-1" and one["event"] == "start"]
    assert asked == [f"offline-run-2026010{day}_000000-b-1" for day in (2, 3)]


def test_runs_in_progress_are_left_for_later(study, wandb, capsys):
    # Of processes: a lock is known to the one that holds it.
    code = "import sys, pathlib; from jepa_scale.runs.folder import RunFolder\n"
    code += "with RunFolder(pathlib.Path(sys.argv[1])).locked():\n    print(flush=True)\n    sys.stdin.read()"
    holders = [
        subprocess.Popen([sys.executable, "-c", code, held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for held in (str(study / "runs" / "c"), str(study))
    ]
    try:
        for holder in holders:
            holder.stdout.readline()
        code, said = called(capsys, "sync", study)
    finally:
        for holder in holders:
            holder.communicate()
    assert code == 0, said
    assert "3 offline runs to sync, in 5 parts; 2 in progress are left for later" in said
    assert {one["run"] for one in wandb()} == {"a", "b-1", "d"}
    with RunFolder(study / "runs" / "c").locked():
        pass
    assert "2 of 2 runs synced" in called(capsys, "sync", study)[1]


def test_without_a_key_nothing_is_started(study, wandb, capsys, monkeypatch):
    monkeypatch.setenv("NO_KEY", "1")
    code, said = called(capsys, "sync", study)
    assert code == 2
    assert said == (
        "jepa-scale: error: not logged in to W&B (no key at all): run `wandb login` here first, or set WANDB_API_KEY\n"
    )
    assert wandb() == []
    code, said = called(capsys, "sync", study, "--dry-run")
    assert code == 0, "what would be synced can be seen without one"
    assert said.splitlines()[-1] == "5 offline runs to sync, in 7 parts"
    assert len(said.splitlines()) == 8


def until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_a_sync_that_is_killed_goes_on_and_never_beside_what_it_left(study, wandb, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("STAND_IN_WAITS", "b-1 c d table")
    running = subprocess.Popen([sys.executable, "-m", "jepa_scale", "sync", str(study), "-n", "2"])
    until(lambda: {"b-1", "c"} & {one["run"] for one in wandb()} and any(one["event"] == "end" for one in wandb()))
    running.send_signal(signal.SIGKILL)
    running.wait()
    second = [sys.executable, "-m", "jepa_scale", "sync", str(study)]
    refused = subprocess.run(second, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert "is being synced by another process" in refused.stderr
    left = {one["run"] for one in wandb() if one["event"] == "start"}
    (tmp_path / "go").touch()
    until(lambda: left == {one["run"] for one in wandb() if one["event"] == "end"})
    until(lambda: called(capsys, "sync", study)[0] == 0)
    assert sorted(one["run"] for one in wandb() if one["event"] == "start") == ["a", "b-1", "c", "d", "table"]
    assert all(run.synced for run in sync.offline_runs(study))


def test_an_interrupt_ends_the_commands(study, wandb, monkeypatch):
    monkeypatch.setenv("STAND_IN_WAITS", "a b-1 c d table")
    running = subprocess.Popen(
        [sys.executable, "-m", "jepa_scale", "sync", str(study), "-n", "2"], stderr=subprocess.PIPE, text=True
    )
    until(lambda: len(wandb()) == 2)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130
    assert "the same command goes on from here" in said
    assert [one["event"] for one in wandb()] == ["start", "start"]
    for one in wandb():
        with pytest.raises(ProcessLookupError):
            os.kill(one["process"], 0)
    assert len(sync.offline_runs(study)) == 5


def test_a_bar_is_drawn_on_a_terminal_and_lines_elsewhere(study, wandb, monkeypatch):
    from rich.console import Console

    for terminal, shown in ((True, "━"), (False, "1 of 1 runs synced")):
        console = Console(file=(out := open(os.devnull, "w")), force_terminal=terminal, record=True, width=100)  # noqa: SIM115
        run = sync.OfflineRun("a", (part(study / "runs" / f"z{terminal}", "a", 9),), False)
        assert sync.sync_study(study, [run], [], console) == {}
        assert shown in console.export_text()
        out.close()

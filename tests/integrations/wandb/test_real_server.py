"""Against openwandb, a server that speaks W&B's protocol: runs online, killed and resumed; many synced; artifacts.

It is installed for this test only (its licence is CC-BY-NC), listens on this machine alone, and is skipped where it is
not there. It has no public API to read runs by and no workspaces: what needs these is tested with stand-ins.
"""

import base64
import contextlib
import importlib.util
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from jepa_scale.cli.app import main
from jepa_scale.runs.folder import RunFolder
from tests.integrations.wandb.runs import offline_run

pytestmark = pytest.mark.slow

KEY = "local" + "0" * 40
"""The key that openwandb gives to its first user."""
RUNS = 30


class Server:
    """The address of a server, and what it has."""

    def __init__(self, address):
        self.address = address

    def get(self, path):
        with urllib.request.urlopen(f"{self.address}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def viewer(self):
        """Who the key is of, as GraphQL says."""
        token = base64.b64encode(f"api:{KEY}".encode()).decode()
        asked = urllib.request.Request(
            f"{self.address}/graphql",
            json.dumps({"query": "{ viewer { username } }"}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {token}"},
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read())["data"]["viewer"]["username"]

    def run(self, name):
        return self.get(f"/api/v2/runs/{name}")["run"]

    def history(self, name):
        """Values of every metric of a run in the order of its steps; of what was sent twice, the last."""
        found = self.get(f"/api/v2/runs/{name}/metrics")["metrics_by_key"]
        steps = {metric: {row["step"]: row["value"] for row in rows} for metric, rows in found.items()}
        return {metric: [value for _, value in sorted(rows.items())] for metric, rows in steps.items()}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    if importlib.util.find_spec("openwandb") is None:
        pytest.skip("openwandb is not installed: pip install openwandb")
    data = tmp_path_factory.mktemp("openwandb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "openwandb", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--data-dir", str(data), "--log-level", "warning"]
    with (data / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(url, timeout=10).close()
                break
            assert process.poll() is None, (data / "server.log").read_text()
            time.sleep(0.1)
        cheapen(data / "openwandb.db")
        yield url
    finally:
        process.terminate()
        process.wait(30)


def cheapen(database):
    """Store the key with a cheap hash: to check the usual one takes the server a quarter of a second each request."""
    import bcrypt

    with contextlib.closing(sqlite3.connect(database)) as connection:
        hashed = bcrypt.hashpw(KEY.encode(), bcrypt.gensalt(4)).decode()
        connection.execute("UPDATE api_keys SET key_hash = ?", (hashed,))
        connection.commit()


@pytest.fixture
def server(address, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Server(address)


def online(tiny_overrides, *more):
    return [*(item for item in tiny_overrides if item != "logger=none"), "logger.mode=online", *more]


def command(overrides, folder):
    return [sys.executable, "-m", "jepa_scale", "train", "-q", "--folder", str(folder), *overrides]


def expected(folder):
    """Numbers that the run's own file holds, by metric, in the order of epochs."""
    series = {}
    for row in RunFolder(folder).read_metrics():
        if isinstance(row["value"], int | float):
            series.setdefault(row["name"], []).append(row["value"])
    return series


def check_history(server, name, folder):
    found, series = server.history(name), expected(folder)
    assert len(series) > 20
    for metric, values in series.items():
        # What is sent again on resuming is not sent to other steps: every epoch is there once, or as it was first.
        assert [value for value in found[metric] if value is not None][-len(values) :] == pytest.approx(values), metric


def test_a_run_logs_online(server, tiny_overrides, tmp_path):
    assert server.viewer() == "admin"
    subprocess.run(command(online(tiny_overrides), tmp_path / "run"), check=True, cwd=tmp_path)
    name = RunFolder(tmp_path / "run").read_record().run_id
    assert server.run(name)["state"] == "finished"
    check_history(server, name, tmp_path / "run")


def test_a_killed_run_resumes_as_the_same_run_with_every_epoch(server, tiny_overrides, tmp_path):
    overrides = online(tiny_overrides, "trainer.epochs=6", "seed=7")
    folder = tmp_path / "run"
    # With a W&B service of its own, as a job's process has, which dies with it; not the one of earlier tests.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    process = subprocess.Popen(command(overrides, folder), cwd=tmp_path, stdout=subprocess.DEVNULL, env=environment)
    while not (folder / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert RunFolder(folder).read_record() is None, "it was killed before its end"
    subprocess.run(command(overrides, folder), check=True, cwd=tmp_path, stdout=subprocess.DEVNULL, env=environment)
    name = RunFolder(folder).read_record().run_id
    assert server.run(name)["state"] == "finished"
    assert len(expected(folder)["train/loss"]) == 6
    check_history(server, name, folder)


def test_many_offline_runs_are_synced_a_damaged_one_apart(server, tmp_path, capsys, monkeypatch):
    study = tmp_path / "study"
    monkeypatch.setenv("WANDB_MODE", "offline")
    for place in range(RUNS):
        rows = [{"epoch": epoch, "regret": place / epoch} for epoch in (1, 2, 3)]
        offline_run(study / "runs" / f"many{place}", f"many{place}", rows, summary={"final": place})
    (damaged,) = (study / "runs" / "many4").glob("wandb/offline-run-*/*.wandb")
    damaged.write_bytes(b"no W&B file")
    with pytest.raises(SystemExit) as ended:
        main(["sync", str(study)])
    shown = capsys.readouterr().out
    assert ended.value.code == 1
    assert f"{RUNS} offline runs to sync" in shown
    assert "failed: many4" in shown
    for place in range(RUNS):
        if place != 4:
            found = server.run(f"many{place}")
            assert found["state"] == "finished"
            assert json.loads(found["summary_json"])["final"] == place
            assert server.history(f"many{place}")["regret"] == [place / epoch for epoch in (1, 2, 3)]


def test_a_study_has_a_run_with_tables_and_its_report_as_an_artifact(server, tiny_overrides, tmp_path):
    import yaml

    own = [item for item in tiny_overrides if not item.startswith(("logger", "data.n=", "model.k="))]
    content = {"name": "small", "question": "?", "dials": {"data.n": [300], "model.k": [2, 4]}, "seeds": [0]}
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump({**content, "overrides": [*own, "logger.mode=online"], "bootstrap_draws": 20})
    )
    program = [sys.executable, "-m", "jepa_scale"]
    subprocess.run([*program, "study", "small.yaml", "workers=1", "-q"], check=True, cwd=tmp_path)
    # By the W&B service of earlier tests, if there is one: it is in another working directory.
    done = subprocess.run(
        [*program, "dashboard", "studies/small", "--entity", "default"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    # Its run and artifacts are there, whatever becomes of the workspace, which this server does not know.
    assert "run of the study: " in done.stdout, done.stderr
    name = done.stdout.split("run of the study: ")[1].split()[0].rsplit("/", 1)[-1]
    artifacts = server.get(f"/api/v2/runs/{name}/artifacts")["artifacts"]
    assert [one for one in artifacts if "small-report" in json.dumps(one)], artifacts


def test_the_public_api_is_not_spoken_so_the_stand_ins_stay(server, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["collect", f"wandb://default/sweep?host={server.address}"])
    assert ended.value.code == 2
    assert "jepa-scale: error: " in capsys.readouterr().err

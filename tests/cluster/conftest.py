import os
import subprocess
import sys

import pytest

from tests.cluster.slurm import Cluster, why_not


@pytest.fixture(scope="session")
def _running(tmp_path_factory):
    if why_not():
        pytest.skip(why_not())
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def cluster(_running, monkeypatch):
    """A SLURM without jobs, which this process talks to as well."""
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, _running.environment[name])
    _running.run("scancel", "--user=root", check=False)
    _running.wait(lambda: not _running.jobs(), 60, "earlier jobs end")
    return _running


@pytest.fixture
def command(cluster, tmp_path):
    """Run a command as a user of the cluster; what it printed, if it ends as expected."""

    def run(*arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "jepa_scale", *arguments],
            env={**cluster.environment, "PYTHONPATH": os.getcwd()}, cwd=tmp_path, capture_output=True, text=True,
            timeout=1500,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    return run

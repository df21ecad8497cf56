"""The launcher of the documentation, as a reader would copy it: submits, lists, resumes and cancels."""

import os
import subprocess
import sys
import time

import pytest
import yaml

from tests.documents.pages import ROOT, blocks
from tests.outside.test_launchers import STUDY

pytestmark = pytest.mark.slow

PAGE = "docs/how-to/own-launcher.md"


@pytest.fixture
def here(tmp_path):
    (code,), (leaf,) = (blocks(language, page=PAGE) for language in ("python", "yaml"))
    package = tmp_path / "mybatch"
    (package / "conf" / "launcher").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "launchers.py").write_text(code.text)
    (package / "conf" / "launcher" / "background.yaml").write_text(leaf.text)
    overrides = [text for text in STUDY["overrides"] if not text.startswith("world=")]
    study = {**STUDY, "name": "quickstart", "overrides": ["world=lowrank", *overrides]}
    (tmp_path / "quickstart").write_text(yaml.safe_dump(study))
    return tmp_path


def commands():
    (block,) = blocks("bash", page=PAGE)
    return [line for line in block.text.splitlines() if line.startswith("jepa-scale")]


def run(here, line, *more):
    """Run a command of the page with the environment that the page sets."""
    (block,) = blocks("bash", page=PAGE)
    exports = [one.removeprefix("export ").split("=", 1) for one in block.text.splitlines() if one.startswith("export")]
    own = {name: value.replace("$PWD", str(here)) for name, value in exports}
    own["PYTHONPATH"] += os.pathsep + str(ROOT)
    words = [sys.executable, "-m", "jepa_scale", *line.split()[1:], *more]
    done = subprocess.run(words, cwd=here, env={**os.environ, **own}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.25)
    raise AssertionError("nothing came of it")


def test_the_launcher_of_the_page_does_a_study_and_is_cancelled(here):
    sweep, status, cancel = commands()
    assert "2 runs wait" in run(here, sweep)
    study = here / "studies" / "quickstart"
    wait(lambda: len(list(study.glob("runs/*/record.json"))) == 2)
    assert "0 runs wait" in run(here, sweep), "the same command does only what is missing"
    # Longer runs, which are cancelled in their middle and resumed.
    text = (here / "quickstart").read_text().replace("limit_train_batches=4", "limit_train_batches=20000")
    (here / "quickstart").write_text(text.replace("name: quickstart", "name: longer"))
    assert "2 runs wait" in run(here, sweep)
    wait(lambda: "2 running" in run(here, status.replace("quickstart", "longer")))
    assert "2 tasks were cancelled" in run(here, cancel.replace("quickstart", "longer"))
    assert "cancelled" in run(here, status.replace("quickstart", "longer"))

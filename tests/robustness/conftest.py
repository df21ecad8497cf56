"""A finished study of four runs, made once, and copies of it to be damaged."""

import os
import shutil
from dataclasses import dataclass

import pytest
import yaml

from jepa_scale.cli.app import main
from tests.robustness.mistakes import STUDY

ALL_CASES = os.environ.get("JEPA_SCALE_TESTS") == "all"
"""Whether every combination is tried, which takes about an hour; otherwise a sample of each kind."""


@dataclass
class Said:
    """What a command left on the terminal, and its exit code."""

    code: int
    out: str
    err: str

    def refused(self):
        """Whether it ended as a mistake should: with few lines, a message, and no exception of its own."""
        return self.code != 0 and "jepa-scale: error: " in self.err and self.err.count("\n") <= 3


@pytest.fixture
def call(capsys):
    """Call a command in this process; only SystemExit may leave it."""

    def called(*arguments):
        capsys.readouterr()
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        shown = capsys.readouterr()
        assert "Traceback" not in shown.out + shown.err
        return Said(code, shown.out, shown.err)

    return called


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Folder of a finished study; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(STUDY))
    with pytest.raises(SystemExit) as end:
        main(["study", str(folder / "tiny.yaml"), "workers=1", "--folder", str(folder / "tiny")])
    assert end.value.code == 0
    return folder / "tiny"


@pytest.fixture
def study(finished, tmp_path, monkeypatch):
    """A copy of the finished study, in the current directory."""
    shutil.copytree(finished, tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    # Set by --allow, and meant for the processes of that command.
    monkeypatch.setenv("JEPA_SCALE_ALLOW", os.environ.get("JEPA_SCALE_ALLOW", ""))
    return tmp_path / "tiny"

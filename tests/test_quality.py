"""What keeps the code one piece: linter, formatter, types, import contracts."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"], ["lint-imports"]],
    ids=["lint", "format", "types", "imports"],
)
def test_tools_find_nothing(command):
    tool = TOOLS / command[0]
    if not tool.exists():
        pytest.fail(f"{command[0]} is not installed beside {sys.executable}: pip install -e '.[test]'")
    done = subprocess.run([str(tool), *command[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_long_to_read():
    long = {
        path.name: count
        for path in (ROOT / "jepa_scale").rglob("*.py")
        if (count := len(path.open().readlines())) > 400
    }
    assert not long


@pytest.mark.slow
def test_an_installed_wheel_finds_its_configuration_and_studies(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    script = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "from jepa_scale.runs.config import conf_dir\n"
        "from jepa_scale.studies.specification.spec import find_sweep\n"
        "print(conf_dir()); print(find_sweep('quickstart'))\n"
        "from jepa_scale.cli.app import main; main(['train', '--show'])"
    )
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run([sys.executable, "-c", script], cwd=away, capture_output=True, text=True, check=True)
    shown = done.stdout.splitlines()
    assert shown[0] == str(site / "jepa_scale/conf")
    assert shown[1] == str(site / "jepa_scale/sweeps/quickstart.yaml")
    assert "world:" in shown
    shutil.rmtree(site)

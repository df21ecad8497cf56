"""Wheel, sdist and recipes of containers agree with pyproject.toml; no container is built here."""

import fnmatch
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HATCH = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEFINITION = (ROOT / "slurm" / "jepa-scale.def").read_text()


def instructions(text):
    """Instructions of a Dockerfile with their arguments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line and not line.startswith("#")]


def minor(image):
    """Version of Python of an image such as python:3.12-slim-bookworm."""
    return re.fullmatch(r"python:(3\.\d+)-slim-\w+", image)[1]


def ignored(name):
    """Whether .dockerignore leaves out a path at the root of the build."""
    left_out = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#") and fnmatch.fnmatch(name, line.removeprefix("!")):
            left_out = not line.startswith("!")
    return left_out


def test_every_python_that_is_claimed_is_tried_and_the_oldest_is_required():
    claimed = [found[1] for text in PROJECT["classifiers"] if (found := re.fullmatch(r".*Python :: (3\.\d+)", text))]
    tried = re.findall(
        r"python(3\.\d+)", re.search(r"interpreters=\((python.*)\)", (ROOT / ".ci/pythons").read_text())[1]
    )
    assert claimed == tried
    assert PROJECT["requires-python"] == f">={claimed[0]}"


def test_containers_use_a_python_that_is_tried():
    images = [words.split()[0] for name, words in instructions(DOCKERFILE) if name == "FROM"]
    images += re.findall(r"^From: (\S+)$", DEFINITION, flags=re.MULTILINE)
    assert len(images) == 3
    for image in images:
        assert f"Programming Language :: Python :: {minor(image)}" in PROJECT["classifiers"]


def test_the_dockerfile_copies_what_the_wheel_is_built_from():
    wheel = HATCH["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        "pyproject.toml",
        PROJECT["readme"],
        *PROJECT["license-files"],
    }
    for name in (*needed, "constraints.txt"):
        assert (ROOT / name).exists()
        assert not ignored(name), name
    for name in (".git", ".venv", "studies", "runs", "tests", "benchmarks"):
        assert ignored(name), name
    own = [words.split() for name, words in instructions(DOCKERFILE) if name == "COPY" and "--from" not in words]
    for *sources, _ in own:
        assert all((ROOT / source).exists() for source in sources)


def test_the_containers_start_the_installed_command_without_root():
    steps = instructions(DOCKERFILE)
    (command,) = PROJECT["scripts"]
    assert ("ENTRYPOINT", f'["{command}"]') in steps
    users = [words for name, words in steps if name == "USER"]
    assert users
    assert users[-1] != "root"
    assert f'exec {command} "$@"' in DEFINITION
    installs = [words for name, words in steps if name == "RUN" and "pip install" in words]
    installs.append(re.search(r"pip install.*", DEFINITION)[0])
    assert len(installs) == 3
    for words in installs:
        assert "--no-cache-dir" in words
        assert "-c " in words, "versions are pinned"
    assert not [words for name, words in steps if name == "ADD" or ":latest" in words]


def test_the_definition_gives_a_container_that_the_launcher_takes():
    from jepa_scale.studies.launching.launcher import take_launcher

    words = re.search(r"launcher\.container=\"[^\"]*\"", DEFINITION)[0]
    launcher, rest = take_launcher("slurm", [words])
    assert launcher.container == "apptainer exec --nv jepa-scale.sif"
    assert rest == []


def test_extras_of_the_readme_and_of_comments_exist():
    for extras in re.findall(r"\[([a-z0-9,]+)\]\"", DOCKERFILE):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def built(kind, source, to):
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]
    subprocess.run(command, check=True, cwd=source, capture_output=True)
    (path,) = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return path


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(built("sdist", ROOT, folder)) as archive:
        archive.extractall(folder, filter="data")
    (place,) = (path for path in folder.iterdir() if path.is_dir())
    return place


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    """The wheel that is built from the sdist."""
    return built("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_the_sdist_builds_the_wheel_that_the_tree_builds(unpacked, wheel, tmp_path):
    for name in ("CHANGELOG.md", "conf/config.yaml", "tests/test_release.py", "constraints.txt"):
        assert (unpacked / name).is_file()
    ours, theirs = zipfile.ZipFile(built("wheel", ROOT, tmp_path)), zipfile.ZipFile(wheel)
    assert ours.namelist() == theirs.namelist()
    assert all(ours.read(name) == theirs.read(name) for name in ours.namelist())
    assert "jepa_scale/py.typed" in ours.namelist()
    assert not [name for name in ours.namelist() if name.startswith(("tests", "benchmarks", "docs"))]


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(wheel, tiny_overrides, tmp_path):
    """Only what it depends on is shared, as to install that takes minutes; ``.ci/pythons`` does it."""
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    install = [
        "-m",
        "pip",
        "--python",
        str(place / "bin/python"),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run([sys.executable, *install], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    # Files of this kind inside that folder are not read, so that an editable installation there is not found.
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    away = tmp_path / "away"
    away.mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def printed(*words):
        return subprocess.run(words, cwd=away, env=clean, capture_output=True, text=True, check=True).stdout

    command = str(place / "bin/jepa-scale")
    assert printed(command, "--version").startswith(f"jepa-scale {PROJECT['version']}")
    assert "world:" in printed(command, "train", "--show").splitlines()
    script = (
        "from jepa_scale.runs.config import conf_dir\n"
        "from jepa_scale.studies.specification.spec import find_sweep\n"
        "print(conf_dir(), find_sweep('quickstart'))"
    )
    package = site / "jepa_scale"
    assert printed(str(place / "bin/python"), "-c", script).split() == [
        str(package / "conf"), str(package / "sweeps/quickstart.yaml"),
    ]  # fmt: skip
    assert printed(command, "train", "-q", *tiny_overrides).startswith("Regret ")

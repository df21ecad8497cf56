"""Wheel, sdist and recipes of containers agree with pyproject.toml; no container is built here."""

import fnmatch
import re
import subprocess
import sys
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


@pytest.mark.slow
def test_the_sdist_builds_the_wheel_that_the_tree_builds(tmp_path):
    def built(kind, source, to):
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(to)]
        subprocess.run(command, check=True, cwd=source, capture_output=True)
        (path,) = to.glob("*.whl" if kind == "wheel" else "*.tar.gz")
        return path

    source = built("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(tmp_path, filter="data")
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CHANGELOG.md", "conf/config.yaml", "tests/test_release.py", "constraints.txt"} <= names
    (unpacked,) = tmp_path.glob("jepa_scale-*")
    wheels = [built("wheel", place, tmp_path / name) for place, name in ((ROOT, "tree"), (unpacked, "unpacked"))]
    ours, theirs = (zipfile.ZipFile(path) for path in wheels)
    assert ours.namelist() == theirs.namelist()
    assert all(ours.read(name) == theirs.read(name) for name in ours.namelist())
    assert {"jepa_scale/conf/config.yaml", "jepa_scale/py.typed", "jepa_scale/sweeps/quickstart.yaml"} <= set(
        ours.namelist()
    )
    assert not [name for name in ours.namelist() if name.startswith(("tests", "benchmarks", "docs"))]

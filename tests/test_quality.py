"""What keeps the code one piece: linter, formatter, types, import contracts, documents that tell the truth."""

import re
import shlex
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


def snippets(language):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_ci_runs_the_readmes_test_command():
    (command,) = [snippet.strip() for snippet in snippets("bash") if "pytest" in snippet]
    assert f"\n{command}\n" in (ROOT / ".ci/run").read_text()


def test_the_readmes_study_file_is_a_study():
    import yaml

    from jepa_scale.studies.design import design
    from jepa_scale.studies.specification.spec import parse_spec

    (text,) = [snippet for snippet in snippets("yaml") if snippet.startswith("name:")]
    points = design(parse_spec(yaml.safe_load(text), "README.md"))
    assert [point.purpose for point in points] == ["cell"] * 36 + ["tuning"] * 24


def test_the_readmes_dials_target_and_laws_are_those_of_a_study():
    import yaml

    from jepa_scale.studies.specification.laws import families_of
    from jepa_scale.studies.specification.spec import parse_spec

    (text,) = [snippet for snippet in snippets("yaml") if snippet.startswith("dials:")]
    content = {"name": "readme", "question": "Why?", "seeds": [0], **yaml.safe_load(text)}
    spec = parse_spec(content, "README.md")
    assert [(dial.name, dial.scale) for dial in spec.others] == [("steps_per_epoch", "log"), ("horizon", "linear")]
    assert all(family.describes(spec.target.column) for family in families_of(spec))


def test_the_readmes_arms_are_arms():
    import yaml

    from jepa_scale.studies.specification.arms import combinations, wrong_arms

    (text,) = [snippet for snippet in snippets("yaml") if "arms:" in snippet]
    content = yaml.safe_load(text)
    assert list(wrong_arms(content)) == []
    assert len(combinations(content["arms"])) == 6


def training_commands():
    lines = "\n".join(snippets("bash")).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("jepa-scale train")]
    # What needs a package or a run of one's own is tried by tests/outside.
    return [words for words in found if not {"--allow", "--config"} & set(words)]


@pytest.mark.parametrize("overrides", training_commands(), ids=" ".join)
def test_the_readmes_training_commands_could_run(overrides):
    from jepa_scale.runs.config import compose
    from jepa_scale.runs.run import preflight

    config = compose(overrides)
    # What reads files, or needs a simulator that is not installed, is tried where these are.
    if not {"path", "environment"} & set(config["world"]):
        preflight(config)


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

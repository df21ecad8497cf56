"""Every command, study file and Python block of the README and the documentation is what the program accepts."""

import ast
import importlib
import re
import tomllib

import pytest
import yaml

from jepa_scale.cli.app import parser
from tests.documents.pages import ROOT, blocks, jepa_scale_commands

SHELL = {
    "python3",
    "python",
    "pip",
    ".",
    "mkdocs",
    "zcat",
    "pre-commit",
    "srun",
    "jepa-scale",
    "optuna-dashboard",
    "export",
}
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def named(case):
    page, words = case
    return f"{page}: {' '.join(words)}"


@pytest.mark.parametrize("case", jepa_scale_commands(), ids=named)
def test_commands_are_parsed(case):
    _, words = case
    parsed, rest = parser().parse_known_args(words)
    assert not [word for word in rest if word.startswith("-")]
    assert not rest or hasattr(parsed, "overrides")


TRAINING = [case for case in jepa_scale_commands() if case[1][0] == "train"]
# What needs a package or a run of one's own is tried by tests/outside.
TRAINING = [case for case in TRAINING if not {"--allow", "--config"} & set(case[1])]


@pytest.mark.parametrize("case", TRAINING, ids=named)
def test_training_commands_could_run(case):
    from jepa_scale.runs.config import compose
    from jepa_scale.runs.run import preflight

    parsed, rest = parser().parse_known_args(case[1])
    config = compose([*parsed.overrides, *rest])
    # What reads files, or needs a simulator that is not installed, is tried where these are.
    if not {"path", "environment"} & set(config["world"]):
        preflight(config)


STUDIES = [case for case in jepa_scale_commands() if case[1][0] in ("study", "sweep")]
# The launcher of that page is one of its own: test_own_launcher runs it.
STUDIES = [case for case in STUDIES if case[0] != "docs/how-to/own-launcher.md"]


@pytest.mark.parametrize("case", STUDIES, ids=named)
def test_studies_exist_and_their_launchers_take_the_settings(case):
    from jepa_scale.studies.specification.spec import find_sweep, launcher_of, read_spec

    parsed, rest = parser().parse_known_args(case[1])
    own = parsed.sweep.endswith(".yaml")
    texts = [text for text in (*parsed.overrides, *rest) if text.startswith(("launcher", "workers"))]
    launcher_of(read_spec(find_sweep("quickstart" if own else parsed.sweep)), texts)


def test_shell_commands_are_known_tools_and_name_files_and_extras_that_exist():
    for block in blocks("bash"):
        for words in block.commands():
            assert words[0] in SHELL, f"{block.page}: {' '.join(words)}"
            assert words[0] != "python" or words[1] == "-m" or (ROOT / words[1]).exists(), block.page
    for block in blocks("bash", "text"):
        for extras in re.findall(r"'\.\[([\w,]+)\]'", block.text):
            assert set(extras.split(",")) <= EXTRAS, block.page


def test_nothing_is_installed_from_a_package_index():
    for block in blocks("bash"):
        assert "install 'jepa-scale" not in block.text, block.page


def test_ci_runs_the_readmes_test_command():
    (command,) = [block.text.strip() for block in blocks("bash", page="README.md") if "pytest" in block.text]
    assert f"\n{command}\n" in (ROOT / ".ci/run").read_text()
    (same,) = [block.text.strip() for block in blocks("bash", page="CONTRIBUTING.md") if "pytest" in block.text]
    assert same == command


WHOLE = [block for block in blocks("yaml") if "name" in yaml.safe_load(block.text)]
PARTS = [block for block in blocks("yaml") if block not in WHOLE and "_target_" not in block.text]


@pytest.mark.parametrize("block", WHOLE, ids=lambda block: block.page)
def test_study_files_are_studies(block):
    from jepa_scale.studies.design import design
    from jepa_scale.studies.specification.spec import parse_spec

    spec = parse_spec(yaml.safe_load(block.text), block.page)
    # That of a recording is planned where the recording is: in test_tutorials.
    points = [] if "world.path" in block.text else design(spec)
    if block.page == "docs/how-to/own-study.md":
        assert [point.purpose for point in points] == ["cell"] * 36 + ["tuning"] * 24


@pytest.mark.parametrize("block", PARTS, ids=lambda block: block.page)
def test_parts_of_study_files_are_those_of_a_study(block):
    from jepa_scale.studies.specification.laws import families_of
    from jepa_scale.studies.specification.spec import parse_spec

    content = {"name": "part", "question": "Why?", "seeds": [0], "dials": {"data.n": [300], "model.k": [2]}}
    spec = parse_spec(content | yaml.safe_load(block.text), block.page)
    assert all(family.describes(spec.target.column) for family in families_of(spec))
    if block.page == "docs/how-to/own-study.md" and "dials:" in block.text:
        assert [(dial.name, dial.scale) for dial in spec.others] == [("steps_per_epoch", "log"), ("horizon", "linear")]


def test_arms_of_a_page_make_six_combinations():
    from jepa_scale.studies.specification.arms import combinations, wrong_arms

    (block,) = [block for block in PARTS if "arms:" in block.text]
    content = yaml.safe_load(block.text)
    assert list(wrong_arms(content)) == []
    assert len(combinations(content["arms"])) == 6


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: f"{block.page}: {block.text[:40]!r}")
def test_python_blocks_import_what_exists(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("jepa_scale"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "jepa_scale":
            assert node.attr in importlib.import_module("jepa_scale").__all__

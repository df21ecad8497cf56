"""The tutorials do what they say: their Python runs, their commands end well and print what is shown."""

import re
import shutil

import pytest

from jepa_scale.cli.app import main, parser
from tests.documents.pages import ROOT, blocks, normalised, pages

pytestmark = pytest.mark.slow

QUICK = ("logger=none", "trainer.epochs=1", "trainer.steps_per_epoch=20", "data.batch_size=64")
SMALL = (
    *QUICK,
    "data.n=600",
    "data.heldout=640",
    "data.test=640",
    "evaluation.episodes=6",
    "evaluation.required_steps=[5]",
)
"""What a run of a tutorial is cut down to, where it would take longer than seconds."""


def run(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return normalised(printed.out)


def shown_lines(text):
    return [normalised(line) for line in text.splitlines() if line.strip() != "…"]


def runnable(words, here):
    """Whether a command can be run here: not on a cluster or a server, nor of a study that was not run."""
    parsed, _ = parser().parse_known_args(words)
    if parsed.command == "study" or any("wandb://" in word or "launcher=local" in word for word in words):
        return False
    if "launcher=slurm" in words and "--dry-run" not in words:
        return False
    places = [word for word in words[1:] if "/" in word and "=" not in word]
    files = [word for word in words[1:] if re.fullmatch(r"[\w-]+\.(npz|csv|yaml)", word)]
    return all((here / place).exists() for place in (*places, *files))


TUTORIALS = {"audit": 1, "recording": 3, "gymnasium": 1, "wandb-advice": 1, "cluster": 1, "quickstart": 1}
"""The tutorials with the number of their commands that are run here."""


@pytest.mark.parametrize(("page", "commands"), TUTORIALS.items(), ids=TUTORIALS)
def test_a_tutorial_from_its_first_block_to_its_last(page, commands, tmp_path, monkeypatch, capsys):
    if page == "gymnasium":
        pytest.importorskip("gymnasium")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks/tables").mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks/tables/quickstart.parquet", tmp_path / "benchmarks/tables")
    space, last, done = {}, "", 0
    for block in blocks("python", "bash", "text", page=f"docs/tutorials/{page}.md"):
        if block.language == "python":
            exec(compile(block.text, block.page, "exec"), space)
            last = ""
        elif block.language == "bash":
            last = ""
            for words in block.commands():
                if words[0] == "jepa-scale" and runnable(words[1:], tmp_path):
                    cut = () if words[1] != "train" else SMALL if page == "gymnasium" else QUICK
                    last, done = run([*words[1:], *cut], capsys), done + 1
        elif last:
            assert all(line in last for line in shown_lines(block.text))
    assert done == commands


@pytest.mark.parametrize("page", ["how-to/callbacks", "how-to/own-study"])
def test_python_of_how_to_pages_runs(page):
    found = blocks("python", page=f"docs/{page}.md")
    assert found
    for block in found:
        exec(compile(block.text, block.page, "exec"), {})


def test_the_study_of_a_recording_is_a_study(tmp_path, monkeypatch):
    import yaml

    from jepa_scale.studies.design import design
    from jepa_scale.studies.specification.spec import parse_spec

    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python", page="docs/tutorials/recording.md")
    exec(compile(code.text, code.page, "exec"), {})
    (block,) = blocks("yaml", page="docs/tutorials/recording.md")
    spec = parse_spec(yaml.safe_load(block.text), block.page)
    assert len(design(spec)) == 18


def test_every_tutorial_is_run():
    listed = {page.split("/")[-1] for page in pages() if page.startswith("docs/tutorials/")} - {"index.md"}
    assert listed == {
        f"{page}.md" for page in ("audit", "recording", "gymnasium", "wandb-advice", "cluster", "quickstart")
    }

"""Notebooks of tutorials: as their pages say, and executed."""

import json
import os
import re
import sys

import pytest

from tests.documents.pages import DOCS, ROOT

SMALL = """\
name: quickstart
question: Does the notebook run?
dials: {data.n: [300, 600, 1200], model.k: [2, 4, 8]}
seeds: [0]
bootstrap_draws: 20
overrides: [logger=none, trainer.epochs=1, trainer.steps_per_epoch=20, data.heldout=640, data.test=640, \
data.batch_size=64, model.hidden=16]
"""


@pytest.fixture(scope="module")
def notebooks():
    import notebooks

    return notebooks


@pytest.mark.parametrize("page", ["quickstart", "audit"])
def test_a_notebook_is_what_its_page_says(page, notebooks):
    written = (DOCS / "tutorials" / f"{page}.ipynb").read_text(encoding="utf-8")
    assert written == notebooks.notebook_of(page), "python docs/_site/notebooks.py makes it again"
    content = json.loads(written)
    text = "".join("".join(cell["source"]) for cell in content["cells"])
    for left_over in ("<!--", "```table", "```bash", ".ipynb", "](../"):
        assert left_over not in text
    tutorial = (DOCS / "tutorials" / f"{page}.md").read_text(encoding="utf-8")
    for code in re.findall(r"```python\n(.*?)```", tutorial, flags=re.DOTALL):
        assert [cell for cell in content["cells"] if "".join(cell["source"]) == code.strip()]
    assert len(written) < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("page", ["quickstart", "audit"])
def test_a_notebook_runs_from_its_first_cell_to_its_last(page, tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # The command of this interpreter, whatever is installed elsewhere.
    command = tmp_path / "bin" / "jepa-scale"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jepa_scale "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "small.yaml").write_text(SMALL)
    notebook = nbformat.read(DOCS / "tutorials" / f"{page}.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        # The study itself takes minutes; everything after it is as a reader has it.
        cell.source = re.sub(r"^jepa-scale study$", "jepa-scale study small.yaml", cell.source, flags=re.MULTILINE)
    monkeypatch.setenv("JEPA_SCALE_SOURCE", str(ROOT))
    monkeypatch.chdir(tmp_path)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    printed = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    if page == "quickstart":
        assert re.search(r"^(SUFFICIENT|INSUFFICIENT|UNDECIDED|CANNOT SAY): n = 100", printed, flags=re.MULTILINE)
        assert (tmp_path / "studies/quickstart/report.html").is_file()
    else:
        assert "Over-provisioned (width 12, width needed 2)" in printed

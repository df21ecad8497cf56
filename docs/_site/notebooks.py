"""Notebooks of tutorials, made from their pages: python docs/_site/notebooks.py writes them beside the pages.

Code of Python and of a shell becomes cells, the rest text. What stands between ``<!-- page only -->`` and
``<!-- /page only -->`` is left out; ``<!-- notebook only: COMMAND -->`` becomes a cell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tables import ROOT, expand

PAGES = ("quickstart", "audit")
"""The tutorials that have a notebook."""
_FOLDER = ROOT / "docs" / "tutorials"
_PAGE_ONLY = re.compile(r"<!-- page only -->.*?<!-- /page only -->\n", flags=re.DOTALL)
_NOTEBOOK_ONLY = re.compile(r"<!-- notebook only: (.*?) -->\n")
_BLOCK = re.compile(r"```(bash|python)\n(.*?)```\n", flags=re.DOTALL)
_SETUP = """\
# On Colab: upload the wheel (made by python -m hatchling build -t wheel), or set JEPA_SCALE_SOURCE to a clone's path.
import glob, importlib.util, os

source = os.environ.get("JEPA_SCALE_SOURCE") or next(iter(glob.glob("jepa_scale-*.whl")), None)
if importlib.util.find_spec("jepa_scale") is None:
    assert source, "upload jepa_scale-*.whl into this folder, or set JEPA_SCALE_SOURCE"
    get_ipython().run_line_magic("pip", f"install -q {source}")"""


def notebook_of(page: str) -> str:
    """Return the notebook of a tutorial as JSON."""
    text = (_FOLDER / f"{page}.md").read_text(encoding="utf-8")
    title, rest = text.split("\n", 1)
    cells = [_cell("markdown", title), _cell("code", _SETUP)]
    cells += [_cell(kind, source) for kind, source in _parts(expand(rest)) if source.strip()]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    content = {
        "cells": cells,
        "metadata": {
            "colab": {"name": f"{page}.ipynb", "provenance": []},
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield kinds and sources of cells."""
    text = _NOTEBOOK_ONLY.sub(r"```bash\n\1\n```\n", _PAGE_ONLY.sub("", text))
    end = 0
    for block in _BLOCK.finditer(text):
        yield "markdown", _unlinked(text[end : block.start()])
        language, code = block.groups()
        yield "code", code.strip() if language == "python" else f"%%bash\n{code.strip()}"
        end = block.end()
    yield "markdown", _unlinked(text[end:])


def _unlinked(text: str) -> str:
    """Return a text without pictures, and with the words of links that lead to other pages alone."""
    text = re.sub(r"^!\[.*?\]\(.*?\)\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", text).strip()


def _cell(kind: str, source: str) -> dict[str, Any]:
    lines = source.strip().splitlines(keepends=True)
    more: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    return {"cell_type": kind, "id": "", "metadata": {}, "source": lines, **more}


if __name__ == "__main__":
    for one in PAGES:
        (_FOLDER / f"{one}.ipynb").write_text(notebook_of(one), encoding="utf-8")

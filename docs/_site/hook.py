"""Hook of mkdocs: adds the pages and pictures that are made from the program and its committed tables."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))
import gallery
import reference
import tables
import widths

# Of matplotlib, whose fonts are looked for once; strict mode counts warnings of mkdocs alone.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

_ROOT_PAGES = {
    "changelog.md": "CHANGELOG.md",
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
    "how-to/slurm.md": "slurm/README.md",
    "results/benchmarks.md": "benchmarks/README.md",
}
"""Pages that lie elsewhere in the repository because people look for them there."""


def on_config(config: Any, **_: Any) -> Any:
    """Put pages that lie in ``docs`` itself and are not in the navigation at the end of the how-to guides."""
    (guides,) = (part["How-to"] for part in config.nav if "How-to" in part)
    for path in sorted(Path(config.docs_dir).glob("*.md")):
        if f"'{path.name}'" not in str(config.nav):
            title = path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()
            guides.append({title: path.name})
    return config


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Add generated pages, figures and pages that lie outside ``docs``."""
    for uri, content in _generated():
        files.append(File.generated(config, uri, content=content))
    for uri, source in _ROOT_PAGES.items():
        files.append(File.generated(config, uri, content=_moved((tables.ROOT / source).read_text(encoding="utf-8"))))
    for path in sorted((tables.ROOT / "benchmarks" / "figures").glob("*.png")):
        files.append(File.generated(config, f"assets/benchmarks/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Compute the tables of a page, and put the declared quantities into the glossary."""
    if page.file.src_uri == "concepts/glossary.md":
        markdown = markdown.replace("<!-- quantities -->", reference.glossary_tables())
    return tables.expand(markdown)


def _generated() -> Iterator[tuple[str, str | bytes]]:
    yield "reference/cli.md", reference.command_page()
    yield "reference/configuration.md", reference.configuration_page()
    yield "reference/json.md", reference.json_page()
    yield "reference/study-file.md", reference.schema_page()
    yield "reference/python.md", reference.python_page()
    yield "reference/studies.md", reference.studies_page()
    yield "results/gallery.md", gallery.page()
    for name, content in gallery.figures():
        yield f"results/figures/{name}", content
    light = gallery.svg(widths.draw())
    yield "tutorials/figures/by-width-light.svg", light
    yield "tutorials/figures/by-width-dark.svg", gallery.darkened(light)


def _moved(text: str) -> str:
    """Point the links of a page that lies elsewhere to where the site has their targets."""
    text = text.replace("](docs/", "](").replace("](figures/", "](../assets/benchmarks/")
    for uri, source in _ROOT_PAGES.items():
        text = text.replace(f"]({source})", f"]({uri})")
    return text

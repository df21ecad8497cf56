"""Study file of the next runs worth buying, to be copied from the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa_scale.records import StudyResult
from jepa_scale.report.advice import next_lines
from jepa_scale.report.page.markup import paragraph, text
from jepa_scale.report.parts.runs_table import file_name


def next_sweep(result: StudyResult, folder: Path) -> str:
    """Return the HTML of the section: the file with its buttons, or why there is none."""
    if result.advice is None or not result.advice.next_runs:
        return paragraph("No next run is advised, so there is no next study file.")
    written = folder / "study.yaml"
    content = _read(written) if written.is_file() else None
    file = study_file(result, content)
    name = f"{file_name(result.name)}-next.yaml"
    how = (
        f"Save it as {name}; from where the study was started, this does only what is missing: jepa-scale study {name} "
        "--folder FOLDER, the folder of this page."
        if content is not None
        else "The study's own file is not beside this page: add these lines to it and run the study again."
    )
    return (
        "<h3>The next sweep</h3>"
        '<div class="tools tool"><button type="button" data-copy="next-sweep">Copy</button>'
        f'<button type="button" data-save="next-sweep" data-name="{text(name)}">Download</button></div>'
        f'<pre id="next-sweep">{text(file)}</pre>' + paragraph(how)
    )


def study_file(result: StudyResult, content: Mapping[str, Any] | None) -> str:
    """Return the study's file with the next runs added; only the lines of these if the file is unknown.

    A cell that was run gets its next seed, a new cell the first.
    """
    import yaml

    assert result.advice is not None  # asked before
    known = {} if content is None else content
    table = result.table
    ran = {(int(n), int(k), int(s)) for n, k, s in zip(table["n"], table["k"], table["seed"], strict=True)}
    extra = result.advice.extra(known, ran)
    comments = "".join(f"# {line}\n" for line in next_lines(result.advice))
    return comments + yaml.safe_dump({**known, "extra": extra}, sort_keys=False, allow_unicode=True)


def _read(path: Path) -> Mapping[str, Any] | None:
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # Arms are studies of their own; the advice on one of them is not a run of the whole.
    return content if isinstance(content, dict) and not content.get("arms") else None

"""Report of a study: one self-contained page, and its figures as files."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

from jepa_scale.files import write_whole
from jepa_scale.records import StudyResult
from jepa_scale.report import sections
from jepa_scale.report.conclusions import headline
from jepa_scale.report.figures import ARMS, PLOTS
from jepa_scale.report.page.markup import SCRIPT, document, text
from jepa_scale.report.page.markup import sections as listed
from jepa_scale.report.page.plot import TWINS
from jepa_scale.report.parts import tables
from jepa_scale.report.parts.arms import arms_table
from jepa_scale.report.parts.definitions import definitions
from jepa_scale.report.parts.reproduce import reproducibility
from jepa_scale.report.parts.runs_table import page_data, runs
from jepa_scale.runs.code import source_of


def write_report(result: StudyResult, folder: Path) -> Path:
    """Write ``report.html`` and ``figures/*.png`` and ``*.svg`` into ``folder``; each file whole or not at all.

    A study with arms also has a page for each of them, in ``arms/``. Equal results give equal files. A figure that
    cannot be drawn is a sentence on the page, and has no file.

    Returns
    -------
    Path of the page.
    """
    for arm in result.arms:
        write_report(arm.result, folder / "arms" / arm.folder)
    bodies = _of_arms(result, folder) if result.arms else sections.bodies(result, folder)
    page = folder / "report.html"
    write_whole(page, _page(result, bodies, folder).encode("utf-8"))
    return page


def current_report(result: StudyResult, folder: Path) -> Path | None:
    """Return the page in ``folder`` if this code wrote it from the same files and its figures are there, else None."""
    page = folder / "report.html"
    if not result.source or not page.is_file() or not _complete(result, folder):
        return None
    with page.open(encoding="utf-8", errors="replace") as lines:
        return page if _stamp(result) in lines.read(_HEAD) else None


def _complete(result: StudyResult, folder: Path) -> bool:
    """Whether every file of a report is there, those of its arms too."""
    drawn = [plot for plot in ((ARMS,) if result.arms else PLOTS) if not plot.missing(result)]
    figures = all((folder / "figures" / f"{plot.name}.{ending}").is_file() for plot in drawn for ending in TWINS)
    arms = {folder / "arms" / arm.folder: arm.result for arm in result.arms}
    return figures and all((place / "report.html").is_file() and _complete(one, place) for place, one in arms.items())


_HEAD = 1000
"""Characters of a page among which its source stands."""


def _stamp(result: StudyResult) -> str:
    """Return the element that names what a page was written from: files, and the code."""
    if not result.source:
        return ""
    drawn = version("matplotlib")
    whole = hashlib.sha256(f"{result.source} {source_of('.')} {drawn}".encode() + SCRIPT.read_bytes())
    return f'<meta name="source" content="{whole.hexdigest()}">'


def _of_arms(result: StudyResult, folder: Path) -> dict[str, tuple[str, str]]:
    """Return the sections of a study that compares settings; each arm has an ordinary page of its own."""
    links = [
        f'<li><a href="arms/{text(arm.folder)}/report.html">{text(arm.label)}</a>: {text(headline(arm.result))}</li>'
        for arm in result.arms
    ]
    figure = ARMS.place(result, folder / "figures")
    complete = sections.topics(result, "Fine-tuning", "Completeness") + tables.failures(result)
    return {
        "arms": ("The arms compared", figure + arms_table(result)),
        "single": ("Each arm by itself", f'<ul class="says">{"".join(links)}</ul>'),
        "diagnostics": ("Diagnostics", complete),
        "runs": ("All runs", runs(result)),
        "reproducibility": ("Reproducibility", reproducibility(result, folder) + definitions(result)),
    }


def _page(result: StudyResult, bodies: dict[str, tuple[str, str]], folder: Path) -> str:
    links, body = listed(bodies, sections.CLOSED, sections.SCREEN)
    return document(
        result.name,
        f"""<header>
<h1>{text(result.name)}</h1>
<p class="question">{text(result.question)}</p>
</header>
{sections.opening(result, folder)}
{links}
{body}""",
        page_data(result),
        _stamp(result),
    )

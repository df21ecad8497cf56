"""Conclusions on what is missing from the study."""

from __future__ import annotations

from collections import Counter

from jepa_scale.records import StudyResult
from jepa_scale.report.conclusions.base import Conclusion
from jepa_scale.report.summary import cells, lacking, sizes, widths
from jepa_scale.report.wording import listed, place, plural, whole


def conclude(result: StudyResult) -> list[Conclusion]:
    """Report the numbers of runs, failures, cells with few seeds and exclusions."""
    table = result.table
    if len(table) == 0:
        waiting = f" {plural(len(result.unfinished), 'run')} without a record." if result.unfinished else ""
        return [Conclusion(f"The study has no runs yet.{waiting}", headline=True, alarm=True)]
    lost = lacking(result)
    every = len(result.runs)
    finished = every - len(lost)
    text = (
        f"{finished} of {plural(every, 'run')} finished, over {len(sizes(table))} values of n and "
        f"{len(widths(table))} of k" + "".join(f", {len(dial.values)} of {dial.name}" for dial in result.dials)
    )
    text += f"; {plural(len(lost), 'run')} diverged and entered no mean" if lost else ""
    text += f"; {plural(len(result.unfinished), 'run')} without a record" if result.unfinished else ""
    return [Conclusion(text + ".", alarm=finished == 0), *_mixed(result), *_thin(result), *_excluded(result)]


def _mixed(result: StudyResult) -> list[Conclusion]:
    if not result.mixed:
        return []
    text = (
        f"Runs of this study were computed by different code, and are pooled all the same: {'; '.join(result.mixed)}."
    )
    return [Conclusion(text, headline=True, alarm=True)]


def _thin(result: StudyResult) -> list[Conclusion]:
    regrets = cells(result.table, "regret")
    usual = Counter(cell.seeds for cell in regrets.values()).most_common(1)
    if not usual:
        return []
    if usual[0][0] == 1:
        return [Conclusion("Cells have one seed, hence no standard errors: no difference between cells can be tested.")]
    thin = [f"{place(cell)} ({cell.seeds})" for cell in regrets.values() if cell.seeds < usual[0][0]]
    empty = [
        f"n = {whole(n)}, k = {k}" for n in sizes(result.table) for k in widths(result.table) if (n, k) not in regrets
    ]
    sentences = []
    if thin:
        sentences.append(Conclusion(f"Cells with fewer than {usual[0][0]} seeds: {listed(thin)}."))
    if empty:
        sentences.append(Conclusion(f"Cells of the grid without a finished run: {listed(empty)}."))
    return sentences


def _excluded(result: StudyResult) -> list[Conclusion]:
    by_target = {fit.target: fit.excluded for fit in result.fits if fit.excluded}
    return [
        Conclusion(f"The fits of {target} left out {_count(sentences)}, each listed below.")
        for target, sentences in by_target.items()
    ]


def _count(sentences: tuple[str, ...]) -> str:
    return "1 cell or run" if len(sentences) == 1 else f"{len(sentences)} cells or runs"

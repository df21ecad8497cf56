"""A decision record: one page of Markdown on an answer, for a design document or a pull request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jepa_scale import __version__
from jepa_scale.records import Advice, Verdict
from jepa_scale.records.findings import Finding
from jepa_scale.report.advice import advice_lines, next_lines, score_lines, verdict_line
from jepa_scale.report.wording import duration, number, percent, plural, whole


@dataclass(frozen=True)
class Evidence:
    """What an answer was read from, and how to repeat it."""

    source: str
    """Folder of a study or file of a table, as the user named it."""
    digest: str
    """SHA-256 of the rows (n, k, seed, status, regret), which the same runs give anywhere."""
    runs: int
    cells: int
    sizes: tuple[int, ...]
    widths: tuple[int, ...]
    judged: Sequence[tuple[Verdict, float]]
    """Verdicts from the smaller half of the sizes, and what came; empty for fewer than four sizes."""
    bounds: Sequence[tuple[str, int, int, int]]
    """Statements of the theory: label, runs in which it applied, in which it was vacuous, in which it was violated."""
    hours: float | None
    """Hours of all runs together; None if they were not recorded."""
    command: str
    findings: Sequence[Finding] = ()
    """What in a table speaks against the answer."""


def decision_record(advice: Advice, evidence: Evidence) -> str:
    """Return the record: question, options, evidence, verdict, cost, what would change it, theory, how to repeat it."""
    ask, verdict = advice.ask, advice.verdict
    target, level = number(ask.target_regret), percent(ask.level)
    sections: dict[str, str | Sequence[str]] = {
        "Question": f"Does one run with {whole(verdict.n)} training transitions and a latent width of {verdict.k} "
        f"reach a {ask.quantity} of at most {target}? An answer needs a probability of {level}.",
        "Verdict": verdict_line(verdict, ask) + ".",
        "Options considered": _options(advice),
        "Evidence": _evidence(advice, evidence),
        "Cost": _cost(advice, evidence),
        "What would change it": _changes(advice),
        "Theory": _theory(evidence),
    }
    title = f"Is n = {whole(verdict.n)}, k = {verdict.k} enough? {verdict.status.capitalize()}"
    return record_page(title, sections, evidence.command, f"rows of {evidence.source}", evidence.digest)


def record_page(title: str, sections: Mapping[str, str | Sequence[str]], command: str, source: str, digest: str) -> str:
    """Return a page of Markdown: sections of a text or a list of sentences, then how to repeat what they say.

    Parameters
    ----------
    title
        The question and its answer.
    sections
        Texts, or sentences to be listed, by heading; empty ones are left out.
    command
        The command that gives the same answer.
    source
        What the answer was read from.
    digest
        SHA-256 of that, in hexadecimal digits.
    """
    parts = [f"# {title}"]
    for heading, content in sections.items():
        body = content if isinstance(content, str) else "\n".join(f"* {line}" for line in content)
        parts += [f"## {heading}", body] if body else []
    parts += ["## How to repeat it", f"```bash\n{command}\n```"]
    return "\n\n".join([*parts, f"jepa-scale {__version__}; {source}: sha256 {digest}."]) + "\n"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and digests of a folder's files, as ``sha256sum`` prints them."""
    if path.is_file():
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    lines = [
        f"{digest_of(file)}  {file.relative_to(path).as_posix()}\n"
        for file in sorted(one for one in path.rglob("*") if one.is_file())
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _options(advice: Advice) -> str:
    rows = [
        f"| option | n | k | {advice.ask.quantity} | P(reaches the target) | verdict |",
        "|---|---|---|---|---|---|",
    ]
    options = [("asked about", advice.verdict)]
    if advice.cheapest is not None:
        options.append(("least data that suffices", advice.cheapest))
    for name, option in options:
        found = (
            "not known"
            if option.predicted is None
            else f"{number(option.predicted)} [{number(option.low)}, {number(option.high)}]"
        )
        probability = "not known" if option.probability is None else number(option.probability, 2)
        rows.append(
            f"| {name} | {whole(option.n)} | {option.k} | {found} | {probability} | {option.status} ({option.basis}) |"
        )
    if advice.cheapest is None:
        rows.append("| least data that suffices | – | – | – | – | none as far as forecasts were checked |")
    return "\n".join(rows)


def _evidence(advice: Advice, evidence: Evidence) -> list[str]:
    sizes, widths = (", ".join(map(whole, values)) for values in (evidence.sizes, evidence.widths))
    lines = [
        f"{plural(evidence.runs, 'finished run')} in {plural(evidence.cells, 'cell')}: n = {sizes}; k = {widths}.",
        *(f"Caution: {finding}." for finding in evidence.findings),
        *score_lines(evidence.judged, advice.ask.target_regret),
    ]
    if not evidence.judged:
        lines.append("Fewer than four sizes: advice from one half could not be judged by the other.")
    # The verdict has a section of its own, and so have the next runs.
    told = {*next_lines(advice)}
    return lines + [line for line in advice_lines(advice)[1:] if line not in told]


def _cost(advice: Advice, evidence: Evidence) -> list[str]:
    lines = ["Hours of the runs were not recorded."]
    if evidence.hours is not None:
        lines = [f"The runs behind this took {duration(evidence.hours)} together."]
    return lines + next_lines(advice)


def _changes(advice: Advice) -> list[str]:
    verdict, lines = advice.verdict, []
    if verdict.low is not None and verdict.high is not None:
        lines.append(
            f"Another target: the interval for one run is [{number(verdict.low)}, {number(verdict.high)}]; a target "
            "outside it is answered the other way or more surely."
        )
    if advice.next_runs:
        run = advice.next_runs[0]
        lines.append(f"A run at n = {whole(run.n)}, k = {run.k} that disagrees with the forecast.")
    return [*lines, "Other training (rate, steps, objective): every number here is of the settings that were run."]


def _theory(evidence: Evidence) -> list[str]:
    if not evidence.bounds:
        return ["No statement of the theory was used: the answer rests on measured regret and forecasts of it."]
    used = [
        f"{label}: applied in {plural(applied, 'run')}, said nothing (≥ 1) in {vacuous}, "
        + ("held in all of these." if not violated else f"**was violated in {violated}**.")
        for label, applied, vacuous, violated in evidence.bounds
    ]
    return ["The answer rests on measured regret and forecasts of it, not on these statements.", *used]

"""What commands print with ``--json``: one shape each, from which the documentation is made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

import jepa_scale
from jepa_scale.records.findings import Finding


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(_Shape):
    """A finding: what programs act upon where people read a caution."""

    code: str = Field(description="what was found, such as `settings_pooled`")
    subject: str = Field(description="column, parameter or law that it is about; empty if it is the whole")
    values: dict[str, Any] = Field(description="its numbers and names")


class Answer(_Shape):
    """The part that all answers share; a number that is missing or not finite is null."""

    command: str = Field(description="name of the command")
    version: str = Field(default=jepa_scale.__version__, description="version of jepa-scale")
    verdict: str = Field(description="the answer, in a sentence or two, as the terminal shows it")
    notes: list[str] = Field(default=[], description="what the answer rests on, most important first")
    cautions: list[str] = Field(default=[], description="what speaks against it")
    findings: list[Told] = Field(default=[], description="cautions that have a code")
    files: dict[str, str] = Field(default={}, description="paths of what was written, by what it is")
    next: str = Field(default="", description="command to give next; words in capitals stand for files and names")
    no_next: str = Field(default="", description="why there is no next command; empty if there is one")

    def text(self, indent: int | None = 1) -> str:
        """Return the JSON text, on one line without ``indent``."""
        return self.model_dump_json(indent=indent)


class Cell(_Shape):
    """Runs of one size and width."""

    n: int = Field(description="training transitions")
    k: int = Field(description="latent width")
    mean: float | None = Field(description="mean over seeds of the study's target; less is better")
    standard_error: float | None = Field(description="standard error over seeds; null for a single seed")
    seeds: int = Field(description="number of seeds")


class Study(_Shape):
    """One study of a report."""

    name: str = Field(description="name of the study")
    folder: str = Field(description="its folder")
    verdict: str = Field(description="its verdict")
    target: str = Field(description="column that the study is about")
    target_regret: float = Field(description="value that the study calls sufficient")
    done: int = Field(description="runs with a record")
    diverged: int = Field(description="of these, runs that diverged")
    unfinished: list[str] = Field(description="runs without a record, a sentence each")
    cells: list[Cell] = Field(description="results by size and width")
    advice: dict[str, Any] | None = Field(description="the data of `advise --json` for the largest n; null if none")


class Report(Answer):
    """`jepa-scale report --json` and `jepa-scale study --json`."""

    command: Literal["report", "study"] = Field(description="name of the command")
    studies: list[Study] = Field(description="one entry for each study")


class Advise(Answer):
    """`jepa-scale advise --json`."""

    command: Literal["advise"] = "advise"
    status: Literal["sufficient", "insufficient", "undecided", "cannot say"] = Field(description="the verdict's status")
    advice: dict[str, Any] = Field(
        description="`ask`: the question; `verdict`: n, k, status, probability, predicted, low, high, basis, decades; "
        "`cheapest`: the smallest sufficient cell; `cheapest_n`; `best_k`; `limits`: shares of the regret; `noise`; "
        "`more_data`: factor, change, low, high, helps; "
        "`next_runs`: n, k, seeds, hours, shrinkage, why; `weights` of forecasters; `checked` decades"
    )
    spending: list[dict[str, Any] | None] = Field(
        description="for each cost of `--spend`, null where too few widths can be compared: `budget`, `k`, `k_ends`, "
        "`n`, `n_ends`, `regret`, `regret_ends`, `probability`, `judged` widths, and those `beyond`"
    )


class Audit(Answer):
    """`jepa-scale audit --json`."""

    command: Literal["audit"] = "audit"
    status: str = Field(description="status of the verdict on the width")
    audit: dict[str, Any] = Field(description="the content of `audit.json`, which the command also writes")


class Estimate(_Shape):
    """One estimate."""

    value: Any = Field(description="number, or list of numbers; null if it could not be computed")
    standard_error: Any = Field(description="of the same shape; null if unknown, 0 for what is exact")
    n: int | None = Field(description="observations behind it; null for what is exact")


class Evaluation(_Shape):
    """The evaluation of one checkpoint."""

    checkpoint: str = Field(description="path as it was given")
    run_id: str = Field(description="id of the run that wrote it")
    record: str = Field(description="path of the evaluation's record, with the outcome of every task")
    verdict: str = Field(description="its result in a sentence")
    protocol: dict[str, Any] = Field(description="how success and regret were measured")
    estimates: dict[str, Estimate] = Field(description="estimates by name, as `jepa-scale quantities` explains them")


class Evaluate(Answer):
    """`jepa-scale evaluate --json`."""

    command: Literal["evaluate"] = "evaluate"
    evaluations: list[Evaluation] = Field(description="one entry for each checkpoint")
    differences: list[dict[str, Any]] = Field(description="success minus that of the first, on the same tasks")


class Run(Answer):
    """`jepa-scale train --json` and `jepa-scale finetune --json`."""

    command: Literal["train", "finetune"] = Field(description="name of the command")
    run_id: str = Field(description="id of the run")
    status: str = Field(description="`finished` or `diverged`")
    estimates: dict[str, Estimate] = Field(description="estimates of the last epoch by name")


class Fit(Answer):
    """`jepa-scale fit --json`."""

    command: Literal["fit"] = "fit"
    fit: dict[str, Any] = Field(description="the content of `fit.json`, which the command also writes")


class Data(Answer):
    """`jepa-scale data --json`."""

    command: Literal["data"] = "data"
    status: Literal["sound", "ruined"] = Field(description="`ruined` if something would ruin training")
    card: dict[str, Any] = Field(
        description="the content of `card.json`, which `--page` writes; with `enough` if asked"
    )


class Statement(_Shape):
    """One statement of the theory."""

    name: str = Field(description="its short name")
    label: str = Field(description="its label on pages")
    met: int = Field(description="trials that meet its hypotheses")
    violations: int = Field(description="of these, trials in which it is false")
    fails: bool = Field(description="whether there are more than it allows")


class Theory(Answer):
    """`jepa-scale theory --json`."""

    command: Literal["theory"] = "theory"
    statements: list[Statement] = Field(default=[], description="every statement; empty with `--replay`")


class Status(Answer):
    """`jepa-scale status --json`; with `--watch`, one on a line whenever something has changed."""

    command: Literal["status"] = "status"
    at: str = Field(description="time of reading, UTC")
    study: str = Field(description="name of the study")
    counts: dict[str, int] = Field(description="number of runs in each state")
    runs: dict[str, Any] = Field(description="by id: `state`, `owner`, `reason`")
    tasks: dict[str, Any] = Field(description="by name, of jobs on a cluster: `state`, `where`")
    left: list[float] | None = Field(
        description="two estimates of the seconds until all runs are done; null if unknown"
    )


class Ranked(_Shape):
    """One diagnostic."""

    name: str = Field(description="column")
    correlation: float | None = Field(description="Spearman's correlation with the target")
    low: float | None = Field(description="lower end of its interval")
    high: float | None = Field(description="upper end of its interval")
    within: float | None = Field(description="mean correlation inside clusters")
    gain: float | None = Field(description="AICc that a line in its ranks gains")
    best: float | None = Field(description="share of bootstrap draws in which it comes first")
    checkpoints: int = Field(description="rows behind it")
    clusters: int = Field(description="runs behind it")


class Rank(Answer):
    """`jepa-scale rank --json`."""

    command: Literal["rank"] = "rank"
    target: str = Field(description="column that is to be predicted")
    ranked: list[Ranked] = Field(description="diagnostics, best first")


class Quantity(_Shape):
    """One quantity."""

    name: str = Field(description="name, or pattern of names")
    what: str = Field(description="what it is")
    unit: str = Field(description="unit; empty for pure numbers")
    better: str = Field(description="`lower`, `higher`, or empty")
    kind: Literal["column", "estimate"] = Field(description="column of a study's table, or estimate of every epoch")


class Quantities(Answer):
    """`jepa-scale quantities --json`."""

    command: Literal["quantities"] = "quantities"
    quantities: list[Quantity] = Field(description="what matches the text, or everything")


class Collect(Answer):
    """`jepa-scale collect --json`."""

    command: Literal["collect"] = "collect"
    rows: int = Field(description="rows of the table")
    diverged: int = Field(default=0, description="of these, runs that diverged")
    missing: list[str] = Field(default=[], description="runs of a study without a record, a sentence each")


def told(findings: Iterable[Finding]) -> list[Told]:
    """Return findings as JSON holds them."""
    return [Told(code=one.code, subject=one.subject, values=plain(one.values)) for one in findings]


def plain(value: Any) -> Any:
    """Return records, arrays and mappings as JSON can hold them; what is not finite becomes null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

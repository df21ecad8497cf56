"""A study's dashboard in W&B: a workspace whose panels answer the study's question, built from what its runs log."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jepa_scale.integrations.wandb.names import AXES, ENDS, PARTS, SPECTRUM_TABLE, THROUGHPUT
from jepa_scale.integrations.wandb.study_run import JOB_TYPE, study_numbers, study_tables
from jepa_scale.records import StudyResult, estimates
from jepa_scale.records.estimates import summaries_of
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.wording import plural
from jepa_scale.runs.errors import UserError
from jepa_scale.texts import first_line

EXTRA = "W&B dashboards need the package wandb-workspaces: pip install 'jepa-scale[wandb]'"

Key = str
"""A metric's name; ``summary:`` and ``config:`` before it name a run's summary and configuration."""


@dataclass(frozen=True)
class Line:
    """Panel of metrics over training, one line per run."""

    title: str
    metrics: tuple[Key, ...] = ()
    """Metrics to draw; empty: every estimate that is declared for a panel of this title."""
    x: Key = "epoch"
    log: bool = False


@dataclass(frozen=True)
class Scatter:
    """Panel with one point per run, coloured by a third quantity."""

    title: str
    x: Key
    y: Key
    color: Key
    log_x: bool = True
    log_y: bool = True


@dataclass(frozen=True)
class Chart:
    """Panel of lines or points from a table of the study's run."""

    title: str
    table: Key
    x: str
    y: str
    line: str = ""
    """Column with a line for each of its values; empty: points."""


@dataclass(frozen=True)
class TablePanel:
    """Panel that shows a table of the study's run."""

    key: Key


@dataclass(frozen=True)
class Number:
    """Panel that shows one number of the study's run."""

    title: str
    key: Key


@dataclass(frozen=True)
class Text:
    """Panel of Markdown text."""

    markdown: str


Panel = Line | Scatter | Chart | TablePanel | Number | Text


@dataclass(frozen=True)
class Part:
    """Section of the dashboard, with its panels."""

    name: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """Content of a study's workspace."""

    entity: str
    project: str
    study: str
    runs: int
    parts: tuple[Part, ...]


def logged(result: StudyResult) -> set[Key]:
    """Return all keys that a study's runs, and the run of the study itself, have in W&B."""
    parts = [arm.result for arm in result.arms] or [result]
    rows = [row for part in parts for history in part.histories.values() for row in history]
    # Of lists W&B holds histograms, which lines cannot show, and of what was never identified nothing.
    names = {row["name"] for row in rows if isinstance(row["value"], int | float)}
    keys = names | set(AXES)
    if any(row["epoch"] > 0 for row in rows):
        keys.add(THROUGHPUT)
    if any(record.spectrum for record in result.records.values()):
        keys.add(SPECTRUM_TABLE)
    for name in names:
        keys |= {f"summary:{name}.{end}" for end in summaries_of(name)} or {f"summary:{name}"}
    for record in result.records.values():
        ends = ((part, *item) for part in PARTS for item in getattr(record, part).items())
        keys |= {f"summary:{part}/{name}" for part, name, value in ends if isinstance(value, int | float)}
        keys |= {f"config:{key}" for key in _flat(record.config)}
    return keys | {f"summary:{name}" for name in (*ENDS, *study_numbers(result))} | set(study_tables(result))


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in config.items():
        yield f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")


def dashboard_of(result: StudyResult, entity: str, project: str) -> Dashboard:
    """Choose the panels whose metrics this study's runs have."""
    keys = logged(result)
    parts = [
        Part(name, tuple(kept for panel in panels if (kept := _kept(panel, keys)) is not None))
        for name, panels in _parts(result)
    ]
    return Dashboard(entity, project, result.name, len(result.records), tuple(part for part in parts if part.panels))


def _kept(panel: Panel, keys: set[Key]) -> Panel | None:
    """Reduce a panel to the metrics that exist; None if none is left."""
    if isinstance(panel, Line):
        chosen = panel.metrics or estimates.shown((name for name in keys if ":" not in name), panel.title)
        metrics = tuple(name for name in chosen if name in keys)
        return Line(panel.title, metrics, panel.x, panel.log) if metrics and panel.x in keys else None
    return panel if keys_of(panel) <= keys else None


def keys_of(panel: Panel) -> set[Key]:
    """Return every key that a panel reads."""
    if isinstance(panel, Line):
        return {panel.x, *panel.metrics}
    if isinstance(panel, Scatter):
        return {panel.x, panel.y, panel.color}
    if isinstance(panel, Chart):
        return {panel.table}
    return set() if isinstance(panel, Text) else {panel.key}


def _parts(result: StudyResult) -> Sequence[tuple[str, Sequence[Panel]]]:
    regret = f"regret/{result.score}"
    n, k, last = "config:data.n", "config:model.k", f"summary:{regret}.last"
    deficits = ("spectrum/subspace_deficit", "spectrum/calibration_deficit")
    heading = "\n\n".join(
        (f"# {result.name}", *map(_escaped, (result.question.strip(), *answer(result))), _how(result))
    )
    return (
        (
            "Answer",
            (
                Text(heading),
                TablePanel("study/advice"),
                Number("Runs done", "summary:study/done"),
                Number("P(regret ≤ target) at the largest n", "summary:study/verdict_probability"),
            ),
        ),
        (
            "Regret by n and k",
            (
                Scatter("Regret over n, coloured by k: the last value of every run", n, last, k),
                Scatter("Regret over k, coloured by n: the last value of every run", k, last, n),
                Chart("Mean regret over log10 n, by k", "study/cells", "log10_n", "regret", "width"),
                Chart("Mean regret over log2 k, by n", "study/cells", "log2_k", "regret", "size"),
                Chart("Best width k*(n): log2 k over log10 n", "study/best_width", "log10_n", "log2_k", "arm"),
                TablePanel("study/best_width"),
                Line(estimates.REGRET, (regret,), log=True),
                Line(estimates.SUCCESS, ("success/model", "success/policy")),
            ),
        ),
        (
            "Spectrum",
            (
                Line(estimates.GAP),
                Line(estimates.MASS),
                Line(estimates.EFFECTIVE_RANK),
                Line(estimates.RANKS),
                Scatter("The world's tail beyond k", k, "summary:truth/tail", n),
                Scatter("Spectral mass seen, held out, over k", k, "summary:spectrum/total.last", n, log_y=False),
                TablePanel("spectrum/table"),
            ),
        ),
        (
            "Tail and bounds beside regret",
            (
                Line(estimates.BOUNDS, (regret, *_BOUNDS), log=True),
                Scatter("Regret over the world's tail at k", "summary:truth/tail", last, n),
                Scatter("Regret over exact risk", "summary:exact/risk.last", last, k),
                Line(estimates.RISK, log=True),
            ),
        ),
        (
            "Deficits",
            (
                Line(estimates.DEFICITS, log=True),
                Scatter("Regret over the subspace deficit", f"summary:{deficits[0]}.last", last, k),
                Scatter("Regret over the calibration deficit", f"summary:{deficits[1]}.last", last, k),
                Line(estimates.LOSS),
                Line(estimates.HORIZON),
            ),
        ),
        (
            "Laws, and forecasts against what came",
            (
                TablePanel("study/fit"),
                TablePanel("study/forecast"),
                Chart("What came over what was forecast, risk and regret", "study/forecast", "predicted", "arrived"),
                Number("Predicted regret at the largest n", "summary:study/predicted_regret"),
            ),
        ),
        (
            "Health",
            (
                TablePanel("study/missing"),
                Number("Diverged runs", "summary:study/diverged"),
                Number("Runs without a record", "summary:study/without_record"),
                Line(estimates.TRAINING, x="samples"),
                Line("Samples a second", ("run/samples_per_second",), x="samples"),
                Scatter("Seconds of a run over n", n, "summary:run/wall_seconds", k),
            ),
        ),
    )


_BOUNDS = tuple(kind.pattern for kind in estimates.ESTIMATES if kind.panel == estimates.BOUNDS)


def _escaped(text: str) -> str:
    """Escape text so that Markdown shows it unchanged."""
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", text)


def _how(result: StudyResult) -> str:
    return (
        f"{plural(len(result.table), 'run')} of group `{result.name}`; the run of job type `{JOB_TYPE}` holds tables "
        "of cells, fits, forecasts and advice, and the report as an artifact. Means over seeds have their standard "
        "error beside them there; estimates of a run have `…/standard_error` and `…/n`."
    )


def workspace(dashboard: Dashboard) -> Any:
    """Build the workspace as an object of W&B's library, which checks it.

    Raises
    ------
    UserError
        If the library is not installed.
    """
    try:
        import wandb_workspaces.expr as where
        import wandb_workspaces.workspaces as ws
    except ImportError:
        raise UserError(EXTRA) from None
    return ws.Workspace(
        entity=dashboard.entity,
        project=dashboard.project,
        name=f"{dashboard.study}: scaling study",
        sections=[
            ws.Section(name=part.name, is_open=index < 2, panels=[_panel(panel) for panel in part.panels])
            for index, part in enumerate(dashboard.parts)
        ],
        # A panel would leave out the others.
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=dashboard.runs + 1),
        runset_settings=ws.RunsetSettings(
            filters=where.And(where.Metric("Group") == dashboard.study), pinned_columns=list(_PINNED)
        ),
    )


_PINNED = ("config:data.value.n", "config:model.value.k", "config:seed.value")


def _panel(panel: Panel) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if isinstance(panel, Line):
        return wr.LinePlot(title=panel.title, x=panel.x, y=list(panel.metrics), log_y=panel.log)
    if isinstance(panel, Scatter):
        return wr.ScatterPlot(
            title=panel.title, x=_metric(panel.x), y=_metric(panel.y), z=_metric(panel.color),
            log_x=panel.log_x, log_y=panel.log_y, log_z=True,
        )  # fmt: skip
    if isinstance(panel, Chart):
        fields = {"x": panel.x, "y": panel.y} | ({"stroke": panel.line} if panel.line else {})
        return wr.CustomChart(
            query={"summaryTable": {"tableKey": panel.table}},
            chart_name="wandb/line/v0" if panel.line else "wandb/scatter/v0",
            chart_fields=fields,
            chart_strings={"title": panel.title},
        )
    if isinstance(panel, TablePanel):
        return wr.WeavePanelSummaryTable(table_name=panel.key)
    if isinstance(panel, Number):
        return wr.ScalarChart(title=panel.title, metric=_metric(panel.key))
    return wr.MarkdownPanel(markdown=panel.markdown)


def _metric(key: Key) -> Any:
    import wandb_workspaces.reports.v2 as wr

    kind, _, name = key.partition(":")
    return wr.Config(name) if kind == "config" else wr.SummaryMetric(name)


def spec_of_workspace(built: Any) -> dict[str, Any]:
    """Return what W&B's library would send, as plain dictionaries."""
    return dict(json.loads(built._to_model().model_dump_json(by_alias=True)))


def save(dashboard: Dashboard, earlier: str = "") -> str:
    """Save the workspace in W&B and return its URL; ``earlier`` is the URL of a workspace to replace.

    Raises
    ------
    UserError
        If the library is not installed, or W&B refuses the workspace.
    """
    built = workspace(dashboard)
    try:
        existing = _earlier(earlier)
        if existing is None or (existing.entity, existing.project) != (dashboard.entity, dashboard.project):
            return str(built.save().url)
        existing.name, existing.sections = built.name, built.sections
        existing.settings, existing.runset_settings = built.settings, built.runset_settings
        return str(existing.save().url)
    except Exception as error:
        raise UserError(_refused("the workspace", error)) from None


def _earlier(url: str) -> Any:
    """Load the workspace at a URL; None if it no longer exists."""
    import wandb_workspaces.workspaces as ws

    if not url:
        return None
    try:
        return ws.Workspace.from_url(url)
    except Exception:
        # Deleted, or another server's: a new one is made.
        return None


def save_report(dashboard: Dashboard) -> str:
    """Save the same panels as a W&B Report, and return its URL.

    Raises
    ------
    UserError
        As ``save``.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
    except ImportError:
        raise UserError(EXTRA) from None
    try:
        blocks: list[Any] = [wr.TableOfContents()]
        for part in dashboard.parts:
            runs = wr.Runset(
                entity=dashboard.entity,
                project=dashboard.project,
                name=dashboard.study,
                filters=f"Group == {json.dumps(dashboard.study)}",
            )
            blocks += [wr.H1(part.name), wr.PanelGrid(runsets=[runs], panels=[_panel(panel) for panel in part.panels])]
        report = wr.Report(
            entity=dashboard.entity, project=dashboard.project, title=f"{dashboard.study}: scaling study", blocks=blocks
        )
        return str(report.save().url)
    except Exception as error:
        raise UserError(_refused("the report", error)) from None


def _refused(what: str, error: Exception) -> str:
    return f"W&B did not take {what} ({first_line(error)}): check the network, `wandb login`, --entity and --project"

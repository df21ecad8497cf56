"""Save a study's W&B workspace."""

from __future__ import annotations

import argparse
import os
import re
import typing
from pathlib import Path

_EPILOG = """\
What it needs: the extra `wandb` (pip install 'jepa-scale[wandb]'), and for saving a login (`wandb login`).

examples:
  jepa-scale dashboard studies/quickstart --dry-run > spec.json   the workspace's spec; nothing is sent
  jepa-scale dashboard studies/quickstart                         the study's run and the workspace, to W&B
  jepa-scale sync studies/quickstart                              before it, where the runs were logged offline
"""
_ENTITY = "your-entity"
"""Stands for the user's own in a spec that is not sent."""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "dashboard",
        help="a W&B workspace that answers the study's question, and a run with its fits, forecasts and advice",
        description="Save a W&B workspace of a study's runs, and a run of the study itself: tables of its cells, fits, "
        "forecasts and advice, and the report as an artifact. Again: it replaces what it saved.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="study folder")
    parser.add_argument("--entity", help="W&B entity (default: the runs', else your default one)")
    parser.add_argument("--project", help="W&B project (default: the one that the runs are in)")
    parser.add_argument("--report", action="store_true", help="save the panels as a W&B Report too")
    parser.add_argument("--dry-run", action="store_true", help="print the workspace's spec as JSON; send nothing")
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Build, and print or save."""
    import json

    from jepa_scale.integrations.wandb.dashboard import dashboard_of, save, save_report, spec_of_workspace, workspace
    from jepa_scale.integrations.wandb.study_run import log_study
    from jepa_scale.report.html import write_report
    from jepa_scale.runs.errors import UserError
    from jepa_scale.runs.folder import atomic_write
    from jepa_scale.study.collect import collect_folder

    result = collect_folder(parsed.study, parsed.study)
    for name in ("entity", "project"):
        value = getattr(parsed, name)
        if value is not None and not re.fullmatch(r"[^/\\#?%:\s]+", value):
            raise UserError(f"--{name}: expected a name without spaces and slashes, got {value!r}")
    entity, project = _place(result, parsed)
    saving = not parsed.dry_run and _logged_in()
    if saving and entity is None:
        entity = _default_entity()
    shown = dashboard_of(result, entity or _ENTITY, project)
    content = spec_of_workspace(workspace(shown))
    if parsed.dry_run:
        print(json.dumps(content, indent=1, ensure_ascii=False))
        return 0
    page = write_report(result, parsed.study)
    files = [path for path in (page, parsed.study / "table.parquet", parsed.study / "fit.json") if path.is_file()]
    where = log_study(result, parsed.study, project=project, entity=entity, mode="auto", files=files)
    print(f"run of the study: {where}")
    written = parsed.study / "dashboard.json"
    url = save(shown, _saved(written)) if saving else _saved(written)
    atomic_write(written, json.dumps({"url": url, "spec": content}, indent=1) + "\n")
    if not saving:
        print(f"not logged in to W&B (or WANDB_MODE=offline): the workspace's spec is in {written}")
        what = "workspace and report" if parsed.report else "workspace"
        print(f"to save the {what}: wandb login, jepa-scale sync {parsed.study}, then this command again")
        return 0
    print(f"workspace: {url}")
    if parsed.report:
        print(f"report: {save_report(shown)}")
    return 0


def _place(result: typing.Any, parsed: argparse.Namespace) -> tuple[str | None, str]:
    """Entity and project of the study's runs, unless others are asked for.

    Raises
    ------
    UserError
        If it has no runs, or they are not in W&B.
    """
    from jepa_scale.runs.errors import UserError
    from jepa_scale.runs.schema import by_name

    if not result.records:
        raise UserError(f"{parsed.study} has no finished run yet, and a dashboard shows what runs logged: run it first")
    loggers = [leaf for record in result.records.values() for leaf in by_name(record.config.get("logger", {})).values()]
    mirrored = [one for one in loggers if one.get("project")]
    if not mirrored:
        raise UserError(
            "the runs of this study were not logged to W&B (logger=none), so there is nothing for a dashboard to show: "
            "its report has it all, or run it with logger=wandb"
        )
    entity = parsed.entity or mirrored[0].get("entity") or os.environ.get("WANDB_ENTITY")
    return entity, parsed.project or mirrored[0]["project"]


def _logged_in() -> bool:
    from jepa_scale.integrations.wandb.logger import resolve_mode

    return bool(resolve_mode("auto") == "online")


def _default_entity() -> str:
    import wandb

    from jepa_scale.integrations.wandb.names import first_line
    from jepa_scale.runs.errors import UserError

    try:
        return str(wandb.Api().default_entity)
    except Exception as error:
        raise UserError(f"W&B does not say what your entity is ({first_line(error)}): give --entity") from None


def _saved(path: Path) -> str:
    """URL of the workspace that was saved before, if any."""
    import json

    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""

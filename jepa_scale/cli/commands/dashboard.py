"""The ``dashboard`` command: save a study's W&B workspace and its own W&B run."""

from __future__ import annotations

import argparse
import os
import re
import typing
from pathlib import Path

GROUP = "wandb"

_EPILOG = """\
Requires the extra `wandb` (pip install 'jepa-scale[wandb]') and, for saving, a login (`wandb login`).

examples:
  jepa-scale dashboard studies/quickstart --dry-run > spec.json   write the workspace's spec; send nothing
  jepa-scale dashboard studies/quickstart                         save the study's run and the workspace in W&B
  jepa-scale sync studies/quickstart                              call this first if the runs were logged offline
"""
_ENTITY = "your-entity"
"""Placeholder for the user's entity in a spec that is not sent."""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "dashboard",
        help="save a W&B workspace for a study, and a W&B run with its fits, forecasts and advice",
        description="Save a W&B workspace of a study's runs, and a run of the study itself: tables of its cells, fits, "
        "forecasts and advice, and the report as an artifact. Calling it again replaces what it saved.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", type=Path, help="study folder")
    parser.add_argument("--entity", help="W&B entity (default: that of the runs, else your default one)")
    parser.add_argument("--project", help="W&B project (default: that of the runs)")
    parser.add_argument("--report", action="store_true", help="also save the panels as a W&B Report")
    parser.add_argument("--dry-run", action="store_true", help="print the workspace's spec as JSON; send nothing")
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Build the workspace, and print its spec or save it."""
    import json

    from jepa_scale.integrations.wandb.dashboard import dashboard_of, save, save_report, spec_of_workspace, workspace
    from jepa_scale.integrations.wandb.study_run import log_study
    from jepa_scale.report.html import current_report, write_report
    from jepa_scale.runs.errors import UserError
    from jepa_scale.runs.folder import atomic_write
    from jepa_scale.studies.collect import collect_folder

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
    page = current_report(result, parsed.study) or write_report(result, parsed.study)
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
    """Entity and project of the study's runs, unless others are given.

    Raises
    ------
    UserError
        If the study has no runs, or they are not in W&B.
    """
    from jepa_scale.runs.errors import UserError
    from jepa_scale.runs.schema import by_name

    if not result.records:
        raise UserError(f"{parsed.study} has no finished run yet, and a dashboard shows what runs logged: run it first")
    loggers = [leaf for record in result.records.values() for leaf in by_name(record.config.get("logger", {})).values()]
    mirrored = [logger for logger in loggers if logger.get("project")]
    if not mirrored:
        raise UserError(
            "the runs of this study were not logged to W&B (logger=none), so there is nothing for a dashboard to show: "
            "its report has it all, or run it with logger=wandb"
        )
    entity = parsed.entity or mirrored[0].get("entity") or os.environ.get("WANDB_ENTITY")
    return entity, parsed.project or mirrored[0]["project"]


def _logged_in() -> bool:
    from jepa_scale.integrations.wandb.opening import resolve_mode

    return bool(resolve_mode("auto") == "online")


def _default_entity() -> str:
    import wandb

    from jepa_scale.runs.errors import UserError
    from jepa_scale.texts import first_line

    try:
        return str(wandb.Api().default_entity)
    except Exception as error:
        raise UserError(f"W&B does not say what your entity is ({first_line(error)}): give --entity") from None


def _saved(path: Path) -> str:
    """URL of the workspace saved earlier; empty if there is none."""
    import json

    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""

"""The ``collect`` command: collect a study's table and fits, or a table of W&B runs."""

from __future__ import annotations

import argparse
import re
import shlex
import typing
from pathlib import Path

from jepa_scale.cli.common import add_output

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Collect

GROUP = "cluster"

_COLLECT = """\
sources of W&B runs:
  wandb://ENTITY/PROJECT[?group=G&job_type=J&tag=T&state=finished&host=SERVER]
                         runs on a server; host is a self-hosted one (default: the one W&B is set up for)
  FOLDER                 a folder with offline runs (offline-run-*) anywhere below

Runs of jepa-scale need no options. For other runs, --columns names the keys of the configuration (dotted) or summary
(eval/regret, loss.min), or products of them (n=trajectories*100), that hold n, k and regret; seed is optional. Other
names are kept as columns for `fit`.

examples:
  jepa-scale collect wandb://me/torus?group=quickstart
  jepa-scale collect 'wandb://me/sweeps?tag=final' --columns n=data.num_samples k=model.dim regret=eval/regret
  jepa-scale advise wandb/sweeps.parquet --n 100000 --target-regret 0.05
"""


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "collect",
        help="write a study's table and fits from its runs, or a table from any W&B runs",
        description="Write table.parquet and fit.json from a study's runs, and list those without a record. "
        "For runs in W&B, on a server or offline, write a table that `advise` and `fit` read.",
        epilog=_COLLECT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="SOURCE", help="study folder, folder of offline W&B runs, or wandb://…")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME=KEY", help="keys of W&B runs: n=data.num_samples …"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="for a study, the folder to write into instead of its own; for W&B runs, the table to write (default: "
        "wandb/NAME.parquet)",
    )
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Write a study's table and fits and list missing runs, with exit code 1 if any; or write a table of W&B runs."""
    from jepa_scale.cli.output import Output
    from jepa_scale.cli.studies import end_collection
    from jepa_scale.integrations.wandb.files import offline_folders
    from jepa_scale.integrations.wandb.server import SCHEME
    from jepa_scale.runs.errors import UserError

    folder = Path(parsed.study)
    if re.match(r"(?i)(wandb|https?):", parsed.study) and not parsed.study.startswith(SCHEME):
        raise UserError(f"expected wandb://ENTITY/PROJECT for runs in W&B, got {parsed.study}")
    if parsed.study.startswith(SCHEME):
        return _collect_wandb(parsed)
    if not (folder / "study.yaml").is_file():
        if offline_folders(folder):
            return _collect_wandb(parsed)
        raise UserError(
            f"{folder} is neither a study's folder (no study.yaml) nor holds offline W&B runs (offline-run-*): give "
            "one of these, or wandb://ENTITY/PROJECT"
        )

    from jepa_scale.studies.collect import collect_folder
    from jepa_scale.studies.holdings import writable
    from jepa_scale.studies.view.status import status_of

    if parsed.columns:
        raise UserError(f"--columns is for W&B runs, and {folder} is a study; for those give {folder}/runs")
    if parsed.out is not None and parsed.out.is_file():
        raise UserError(f"--out: expected a folder to write the table of a study into, got the file {parsed.out}")
    into = writable(folder, parsed.out)
    if (folder / "plan.json").is_file() and into == folder:
        # Runs of workers that have ended are queued again, for the workers of the next sweep command.
        status_of(folder)
    out = Output(parsed)
    with out.steps() as step:
        result = collect_folder(folder, into, step)
    return end_collection(out, result, folder, into)


def _collect_wandb(parsed: argparse.Namespace) -> int:
    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.integrations.wandb.files import read_runs
    from jepa_scale.integrations.wandb.importing import check_out, import_runs, is_ours, unusable, write_import
    from jepa_scale.integrations.wandb.server import SCHEME, parse_address, read_server
    from jepa_scale.studies.external import pairs

    columns, unreadable = pairs("--columns", parsed.columns, "n=data.num_samples"), list[str]()
    if parsed.out is not None:
        check_out(parsed.out)
    if parsed.study.startswith(SCHEME):
        address = parse_address(parsed.study)
        name = "-".join([address.project, *address.filters.values()])
        runs = read_server(address, needs_history=lambda run: not columns and is_ours(run))
    else:
        name = Path(parsed.study).resolve().name
        runs = read_runs(Path(parsed.study), unreadable=unreadable.append)
    table, remarks = import_runs(parsed.study, runs, columns)
    out = parsed.out or Path("wandb") / f"{name.replace('/', '_')}.parquet"
    write_import(table, out)
    answerable = {"n", "k", "regret"} <= (set(columns) or set(table.COLUMNS)) and not unusable(table)
    rows, place = len(table), shlex.quote(str(out))
    laws = f"jepa-scale fit {place} --law 'loss = E + A n^-a' --columns n=COLUMN loss=COLUMN"
    ending = Ending(
        f"{rows} run{'s' * (rows != 1)} in {out}.",
        [*remarks, *([f"laws of it: {laws}"] if answerable else [])],
        cautions=[f"left out: {problem}" for problem in unreadable],
        files={"table": out},
        next_command=f"jepa-scale advise {place}" if answerable else laws,
    )

    def answer() -> Collect:
        from jepa_scale.cli.answers import Collect

        return Collect(
            **ending.fields(),
            rows=rows,
        )

    Output(parsed).end(ending, answer)
    return 0

"""The ``audit`` command: audit the embeddings of a model trained elsewhere."""

from __future__ import annotations

import argparse
import typing
from pathlib import Path

from jepa_scale.cli.common import add_decision, add_output, check_decision, command_line, write_decision

if typing.TYPE_CHECKING:
    from jepa_scale.cli.answers import Audit

GROUP = "inspect"

_AUDIT = """\
PATH is a .npz, a folder of .npy files, a .h5 or a .parquet with arrays
  z           embeddings z_t, floating
  z_next      z_{t+1}, row by row
  z_pred      predictions of z_{t+1}, if there are any
  action      integers (discrete) or floating numbers (n, d) (continuous)
  trajectory  id of each row's trajectory; trajectories are independent
  weight      of each row

Three layouts: (n, k) with z_next; (n, k) in order of time with trajectory and no z_next; (E, T+1, k) episodes with
neither, actions and predictions (E, T, ...). One more axis before the last is patch tokens. Files are streamed: they
may be larger than memory.
"""
_MOST_FEATURES = 2**14
"""Most reference features: at this number their moments are square matrices of float64, 2 GB each."""
_MOST_CELLS = 2**20


def add_parser(commands: typing.Any) -> argparse.ArgumentParser:
    """Add the command."""
    parser = commands.add_parser(
        "audit",
        help="estimate spectrum, tail and required width from embeddings of any model",
        description="Estimate, with intervals, how much of the dynamics embeddings capture, and the required width.",
        epilog=_AUDIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, metavar="PATH", help="file or folder of embeddings")
    parser.add_argument(
        "--columns", nargs="+", default=[], metavar="NAME=ARRAY", help="array names in the file: z=latents …"
    )
    parser.add_argument("--folder", type=Path, help="folder for report and JSON (default: audits/NAME)")
    parser.add_argument("--tokens", default="mean", help="use of patch tokens: mean, sample or all (default: mean)")
    parser.add_argument(
        "--drop-nonfinite", action="store_true", help="leave out rows with NaN or infinity, and count them"
    )
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[], metavar="K", help="widths k of top-k sums and tails"
    )
    parser.add_argument(
        "--components", type=int, metavar="C", help="project on C principal directions, which gives a lower bound"
    )
    parser.add_argument(
        "--dictionary",
        type=int,
        metavar="K_REF",
        help="number of reference features (default: 4 k, from 128 to 512; 0: none)",
    )
    parser.add_argument(
        "--resolution", type=float, nargs="*", metavar="EPS", help="resolutions ε of T(ε), in standard deviations"
    )
    parser.add_argument("--cells", type=int, metavar="B", help="number of cells for continuous actions, a power of two")
    parser.add_argument(
        "--train-n", type=float, metavar="N", help="number of training transitions to choose a width for"
    )
    parser.add_argument("--fit", type=Path, metavar="FILE", help="fit.json of a study, to calibrate the sample term")
    parser.add_argument("--level", type=float, default=0.95, help="confidence level of intervals (default: 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="seed of random draws (default: 0)")
    parser.add_argument("--threads", type=int, help="number of threads (default: one per core)")
    add_decision(parser)
    add_output(parser)
    return parser


def run(parsed: argparse.Namespace) -> int:
    """Audit embeddings, print the estimates and write the page."""
    from rich.progress import Progress

    from jepa_scale.auditing import audit
    from jepa_scale.auditing.page import decision_page, head, terminal_table, verdict_lines, write_audit
    from jepa_scale.auditing.settings import AuditSettings
    from jepa_scale.auditing.warn import sufficiency
    from jepa_scale.cli.output import Ending, Output
    from jepa_scale.report.decision import digest_of
    from jepa_scale.report.page.files import check_writable
    from jepa_scale.runs import limits
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.external import pairs

    limits.check_option("--threads", parsed.threads, 1, limits.most_threads())
    limits.check_option("--seed", parsed.seed, 0, limits.LARGEST)
    limits.check_option("--components", parsed.components, 1, limits.LARGEST)
    limits.check_option("--dictionary", parsed.dictionary, 0, _MOST_FEATURES)
    limits.check_option("--cells", parsed.cells, 1, _MOST_CELLS)
    for width in parsed.widths:
        limits.check_option("--widths", width, 1, limits.LARGEST)
    check_decision(parsed.decision)
    folder = parsed.folder or Path("audits") / parsed.path.stem
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file: give another --folder, the report and its figures go there")
    try:
        # Now, not after hours of reading.
        check_writable(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: expected a place to write the report, got {error.strerror}: give --folder"
        ) from None
    out = Output(parsed)
    try:
        settings = AuditSettings(
            columns=pairs("--columns", parsed.columns, "z=latents"),
            tokens=parsed.tokens,
            drop_nonfinite=parsed.drop_nonfinite,
            widths=tuple(parsed.widths),
            components=parsed.components,
            dictionary=parsed.dictionary,
            cells=parsed.cells,
            train_n=parsed.train_n,
            fit=parsed.fit,
            level=parsed.level,
            seed=parsed.seed,
            threads=parsed.threads,
            **({} if parsed.resolution is None else {"resolution": tuple(parsed.resolution)}),
        )
        with Progress(console=out.progress(), transient=True) as progress:

            def started(rows: typing.Any) -> typing.Any:
                task = progress.add_task(f"{rows.rows} transitions", total=rows.rows)
                return lambda count: progress.advance(task, count)

            result = audit.run_audit(parsed.path, settings, started)
    except ValueError as error:
        raise UserError(str(error)) from None
    page, files = write_audit(result, folder), {}
    if parsed.decision is not None:
        write_decision(parsed.decision, decision_page(result, command_line(parsed.given), digest_of(parsed.path)))
        files["decision"] = parsed.decision
    # The second line is the remedy with its command, which is said last.
    verdict, _, *found = verdict_lines(result)
    remedy = f"{str(result.verdict.remedy)[:1].upper()}{str(result.verdict.remedy)[1:]}."
    ending = Ending(
        verdict,
        [remedy, *found, head(result), *([sufficiency(result)] if sufficiency(result) else [])],
        [terminal_table(result)],
        result.warnings,
        {"report": page, **files},
        result.verdict.command,
        "" if result.verdict.command else "the same embeddings give the same answer: check or export them anew first",
    )

    written = {"report": page, "audit": page.with_name("audit.json"), **files}

    def answer() -> Audit:
        from jepa_scale.cli import answers

        return answers.Audit(
            **ending.fields() | {"files": {name: str(path) for name, path in written.items()}},
            status=result.verdict.status,
            audit=answers.plain(result.to_dict()),
        )

    out.end(ending, answer)
    return 0

"""The command line: parse, call, print."""

from __future__ import annotations

import argparse
import os
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import jepa_scale
from jepa_scale import cli_audit, cli_cluster, cli_data, cli_evaluate, cli_laws, cli_theory, cli_wandb, signals, trust
from jepa_scale.files import FULL, NotWritten
from jepa_scale.texts import cleaned

if typing.TYPE_CHECKING:
    from jepa_scale.records import RunRecord
    from jepa_scale.terminal import Console

# Nothing heavy is imported up here: --help must not wait for torch.

_EPILOG = """\
examples:
  jepa-scale study                                       the quickstart: 102 runs, minutes on 2 cores, then a report
  jepa-scale study my_sweep.yaml workers=4               a study of your own, 4 processes
  jepa-scale train world=torus model.k=8 data.n=3000     one run
  jepa-scale finetune runs/ID finetune=rollout           fine-tune a run for planning
  jepa-scale evaluate runs/ID evaluation.episodes=200    a trained model again: success, floors, prediction by horizon
  jepa-scale report studies/quickstart                   write the report again
  jepa-scale sweep my_sweep.yaml launcher=slurm          the runs of a study on a SLURM cluster
  jepa-scale status --watch studies/my_sweep             what it has found so far; then cancel, collect, sync
  jepa-scale dashboard studies/my_sweep                  its W&B workspace, and its fits, forecast and advice there
  jepa-scale theory                                      what the theory says, and where it holds
  jepa-scale theory world=torus world.side=6             the same, and how tight the bounds are on that world
  jepa-scale audit embeddings.npz                        what embeddings of a model trained elsewhere can see
  jepa-scale advise studies/quickstart --n 20000         is that enough, and which run should be bought next?
  jepa-scale collect wandb://me/project?group=sweep      a table from runs in W&B, for advise and fit
  jepa-scale fit runs.csv --columns N=params D=tokens    laws and forecasts from any table of runs
  jepa-scale data episodes.h5                            what recorded episodes hold, and are actions aligned?

Overrides are Hydra's: group=option or key.path=value. `jepa-scale train --show` prints every key.
"""


_STATELESS = ("evaluate", "theory", "audit", "fit", "advise", "data", "status", "collect", "dashboard")


_INSTANTIATE = ("study", "sweep", "train", "finetune", "evaluate", "theory")
_ALLOW = f"a module whose classes configurations may name, as in _target_ (also: {trust.ALLOW}); its code is run"
_CONTINUE = ("study", "sweep", "train", "finetune")
_ACCEPT = "go on with what other code has computed: other versions of the package or of a module of yours"


def parser() -> argparse.ArgumentParser:
    """Build the argument parser."""
    top = argparse.ArgumentParser(
        prog="jepa-scale",
        description="Scaling studies for JEPA world models, checked against worlds whose truth is computable.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"jepa-scale {jepa_scale.__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    study = commands.add_parser(
        "study",
        help="run a whole study: train, estimate, fit, forecast, report",
        description="Run a study and write its report. Run it again to do only what is missing. On a terminal it shows "
        "the regret of every cell so far; elsewhere, a line for each twentieth of the runs.",
    )
    study.add_argument("sweep", nargs="?", default="quickstart", help="study file, or the name of a shipped one")
    study.add_argument("overrides", nargs="*", help="workers=N, and key=value for every run")
    study.add_argument("--folder", type=Path, help="where the study lives (default: studies/NAME)")

    train = commands.add_parser("train", help="one run: train a JEPA and estimate every epoch")
    train.add_argument("overrides", nargs="*", help="group=option or key.path=value")
    train.add_argument("--folder", type=Path, help="where the run lives (default: runs/ID)")
    train.add_argument(
        "--show", action="store_true", help="print the configuration and the groups' options, do not train"
    )

    tune = commands.add_parser(
        "finetune",
        help="fine-tune a pretrained run for planning",
        description="Fine-tune a pretrained run for planning, into a run of its own; the checkpoint is not changed.",
        epilog="ways: finetune=rollout (default), longer (the control), amortised, distill, value",
    )
    tune.add_argument("checkpoint", type=Path, metavar="CKPT", help="run folder, or a checkpoint file of one")
    tune.add_argument("overrides", nargs="*", help="finetune=WAY, finetune.key=value")
    tune.add_argument("--folder", type=Path, help="where the run lives (default: runs/ID)")

    report = commands.add_parser(
        "report",
        help="write the report of a study again from its runs, or compare several",
        description="Write the report of one study into its folder; of several studies, one page that compares them.",
    )
    report.add_argument("study", type=Path, nargs="+", help="study folder")
    report.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="page of several (default: reports/compare.html); of one study, a folder to write into instead of its own",
    )
    cli_cluster.add_parsers(commands)
    cli_wandb.add_parsers(commands)
    cli_evaluate.add_parsers(commands)
    cli_theory.add_parsers(commands)
    cli_audit.add_parsers(commands)
    cli_laws.add_parsers(commands)
    cli_data.add_parsers(commands)
    for name, command in commands.choices.items():
        if name in _INSTANTIATE:
            command.add_argument("--allow", action="append", default=[], metavar="MODULE", help=_ALLOW)
        if name in _CONTINUE:
            command.add_argument("--accept-mixed", action="store_true", help=_ACCEPT)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a user's mistake ends with one line and exit code 2."""
    top = parser()
    parsed, rest = top.parse_known_args(arguments)
    # argparse leaves overrides over that come after an option.
    if any(text.startswith("-") for text in rest) or (rest and not hasattr(parsed, "overrides")):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        parsed.overrides = [*parsed.overrides, *rest]
    # Before numpy is loaded: a sum over several threads is not the same to the last bit as over one, and workers of a
    # study run on one. A run's own threads are trainer.threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.formatwarning = _formatted
    trust.allow(getattr(parsed, "allow", []))
    with cleaned():
        code = _called(parsed)
    sys.exit(code)


def _called(parsed: argparse.Namespace) -> int:
    """Do what was asked; say what went wrong in one line, and return the exit code."""
    from jepa_scale.runs.errors import UserError

    try:
        return _commands()[parsed.command](parsed)
    except (UserError, NotWritten) as error:
        return _refused(str(error))
    except BrokenPipeError:
        # Whoever reads our output has seen enough; Python would complain again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno in FULL:
            place = error.filename or getattr(parsed, "folder", None) or Path.cwd()
            return _refused(f"{place}: no space is left on its disk: free some, and give the same command again")
        if error.filename is None:
            raise
        return _refused(f"{error.filename}: {error.strerror}: check that place, or choose another")
    except KeyboardInterrupt:
        after = "the same command " + ("starts again" if parsed.command in _STATELESS else "goes on from here")
        print(f"\njepa-scale: interrupted; {after}", file=sys.stderr)
        return 130


def _refused(sentence: str) -> int:
    print(f"jepa-scale: error: {sentence}", file=sys.stderr)
    return 2


def _commands() -> dict[str, Callable[[argparse.Namespace], int]]:
    return {
        "study": _study,
        "train": _train,
        "finetune": _finetune,
        "report": _report,
        "audit": cli_audit.run_audit,
        "theory": cli_theory.run_theory,
        "fit": cli_laws.run_fit,
        "advise": cli_laws.run_advise,
        "data": cli_data.run_data,
        "evaluate": cli_evaluate.run_evaluate,
        "sweep": cli_cluster.run_sweep,
        "status": cli_cluster.run_status,
        "cancel": cli_cluster.run_cancel,
        "collect": cli_cluster.run_collect,
        "sync": cli_wandb.run_sync,
        "dashboard": cli_wandb.run_dashboard,
    }


def _formatted(message: Warning | str, category: type[Warning], *place: typing.Any, **more: typing.Any) -> str:
    """A warning as a sentence: the line of code that it comes from is none of the user's."""
    kind = "" if category is UserWarning else f" ({category.__name__})"
    return f"jepa-scale: warning{kind}: {message}\n"


def _console() -> Console:
    from jepa_scale.terminal import Console

    return Console()


def _study(parsed: argparse.Namespace) -> int:
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.launchers import LocalLauncher
    from jepa_scale.study.spec import find_sweep, launcher_of, read_spec

    sweep, texts = parsed.sweep, list(parsed.overrides)
    if "=" in sweep:
        sweep, texts = "quickstart", [sweep, *texts]
    spec = read_spec(find_sweep(sweep))
    launcher, overrides = launcher_of(spec, texts)
    if not isinstance(launcher, LocalLauncher):
        raise UserError(
            f"study runs here and waits, but the launcher is slurm: jepa-scale sweep {parsed.sweep} submits it, and "
            "report follows; to run it here: launcher=local"
        )
    from rich.markup import escape

    workers = launcher.processes
    spec = spec.with_overrides(overrides)
    folder = parsed.folder or Path("studies") / spec.name
    console = _console()
    console.print(f"[bold]{spec.name}[/bold]: {escape(spec.question.strip())}", highlight=False)
    console.print(f"folder {folder}, {workers} worker{'s' * (workers != 1)}", highlight=False)

    from jepa_scale.report.html import write_report
    from jepa_scale.study.sweep import run_study

    result = run_study(spec, folder, workers, console, parsed.accept_mixed)
    page = write_report(result, folder)
    _print_conclusions(console, result)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)
    for sentence in result.unfinished:
        print(f"jepa-scale: a run has no record: {sentence}", file=sys.stderr)
    return 1 if result.unfinished else 0


def _report(parsed: argparse.Namespace) -> int:
    from jepa_scale.report.compare import write_comparison
    from jepa_scale.report.html import write_report
    from jepa_scale.runs.errors import UserError
    from jepa_scale.study.collect import collect_folder
    from jepa_scale.study.holdings import writable
    from jepa_scale.study.spec import spec_of

    folders = list(dict.fromkeys(parsed.study))
    alone = len(folders) == 1
    if alone and parsed.out is not None and (parsed.out.is_file() or parsed.out.suffix == ".html"):
        raise UserError(f"--out: expected a folder to write the report of one study into, got {parsed.out}")
    for folder in folders:
        spec_of(folder)
    into = writable(folders[0], parsed.out) if alone else None
    results = {folder: collect_folder(folder, into) for folder in folders}
    console = _console()
    for folder, result in results.items():
        if not alone:
            console.print(str(folder), style="bold", highlight=False, markup=False)
        _print_conclusions(console, result)
    if into is not None:
        page = write_report(results[folders[0]], into)
    else:
        page = write_comparison(results, parsed.out or Path("reports/compare.html"))
    console.print(f"report: {page}", highlight=False, markup=False, soft_wrap=True)
    unfinished = [sentence for result in results.values() for sentence in result.unfinished]
    for sentence in unfinished[:_MOST]:
        print(f"jepa-scale: a run has no record: {sentence}", file=sys.stderr)
    if len(unfinished) > _MOST:
        print(f"jepa-scale: … and {len(unfinished) - _MOST} more have none", file=sys.stderr)
    return 1 if any(result.unusable for result in results.values()) else 0


_MOST = 20
"""Runs without a record that are named one by one."""


def _print_conclusions(console: Console, result: typing.Any) -> None:
    from jepa_scale.report.conclusions import headline

    console.print(headline(result), highlight=False, markup=False)


def _train(parsed: argparse.Namespace) -> int:
    signals.install()
    from jepa_scale.runs.config import compose, groups
    from jepa_scale.runs.identity import run_id

    config = compose(parsed.overrides)
    if parsed.show:
        import yaml

        del config["code"]
        print(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), end="")
        for name, options in groups().items():
            print(f"# {name}: {', '.join(options)}")
        return 0
    return _run(config, parsed.folder or Path("runs") / run_id(config), parsed.accept_mixed)


def _run(config: dict[str, typing.Any], folder: Path, accept_mixed: bool) -> int:
    from jepa_scale.runs.errors import Interrupted
    from jepa_scale.runs.exits import FAILED, STOPPED
    from jepa_scale.runs.folder import RunFolder
    from jepa_scale.runs.identity import run_id
    from jepa_scale.runs.launch import run_ranks
    from jepa_scale.runs.process import requeue
    from jepa_scale.runs.ranks import place
    from jepa_scale.terminal import Console

    here = place()
    console = Console(quiet=not here.leads)
    console.print(f"run {run_id(config)} in {folder}", highlight=False, soft_wrap=True)
    try:
        if config["trainer"]["devices"] > 1 and here.world_size == 1:
            code = run_ranks(config, folder, accept_mixed=accept_mixed)
            record = RunFolder(folder).read_record()
            if code or record is None:
                return code or FAILED
        else:
            from jepa_scale.callbacks.printer import EpochPrinter
            from jepa_scale.runs.run import run

            watching = [EpochPrinter(console, config["planner"]["score"])]
            record = run(config, folder, extra=watching, accept_mixed=accept_mixed)
    except Interrupted as stop:
        if here.leads:
            print(f"jepa-scale: {stop}", file=sys.stderr)
            requeue(stop)
        return STOPPED
    _print_record(console, record)
    return 0 if record.status == "finished" else 1


def _finetune(parsed: argparse.Namespace) -> int:
    signals.install()
    from jepa_scale.runs.checkpoint import read_checkpoint
    from jepa_scale.runs.follow import adopt, following
    from jepa_scale.runs.identity import run_id
    from jepa_scale.runs.ranks import place
    from jepa_scale.runs.run import preflight

    checkpoint = read_checkpoint(parsed.checkpoint)
    config = following(checkpoint, parsed.overrides)
    folder = parsed.folder or Path("runs") / run_id(config)
    if place().leads:
        preflight(config)
        adopt(checkpoint, config, folder, parsed.accept_mixed)
    return _run(config, folder, parsed.accept_mixed)


def _print_record(console: Console, record: RunRecord) -> None:
    from rich.table import Table

    from jepa_scale.report.evaluation import of_record, prediction_table, success_table, tabulated
    from jepa_scale.report.protocol import sentence

    if record.status != "finished":
        console.print(f"[red]{record.status}[/red]: {record.reason}", highlight=False)
        return
    table = Table(title=f"n={record.dials['n']}, k={record.dials['k']}, seed={record.dials['seed']}")
    for column in ("quantity", "value", "standard error", "transitions"):
        table.add_column(column, justify="left" if column == "quantity" else "right")
    for name, value in sorted(record.final.items()):
        if "/action_" in name or value is None or tabulated(name):
            continue
        error, count = record.final_standard_errors[name], record.final_n[name]
        # Of sampled tasks that all end alike there is no error to estimate, but the value is not exact for it.
        shown = ("exact" if count is None else "0") if error == 0 else "" if error is None else f"{error:.2g}"
        table.add_row(name, f"{value:.4g}", shown, "" if count is None else f"{count}")
    console.print(table)
    found = of_record(record)
    for extra in (success_table(found, record.protocol), prediction_table(found)):
        if extra is not None:
            console.print(extra)
    said = sentence(record.protocol)
    if said:
        console.print(said, highlight=False, markup=False)
    for bound in record.bounds:
        failed = [item["statement"] for item in bound["hypotheses"] if not item["holds"]]
        word = "vacuous" if bound["vacuous"] else "informative"
        applies = "applies" if not failed else f"does not apply: fails {', '.join(failed)}"
        console.print(f"{bound['label']}: {bound['value']:.3g}, {word}, {applies}", highlight=False)

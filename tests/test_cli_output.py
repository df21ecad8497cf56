"""How commands end: in few lines, in full, alone, or as JSON; and what a pipe gets."""

import argparse
import contextlib
import io
import json
import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from jepa_scale.cli import answers
from jepa_scale.cli.app import main
from jepa_scale.cli.output import LINES, Ending, Output
from jepa_scale.terminal import Console, Steps
from jepa_scale.texts import cleaned

TABLE = "n,k,regret,seed\n" + "".join(
    f"{n},{k},{0.4 / k + 0.8 * (k / n) ** 0.5 + 0.003 * seed:.6f},{seed}\n"
    for n in (100, 300, 900, 2700)
    for k in (2, 4, 8)
    for seed in range(3)
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cells.csv").write_text(TABLE)
    return tmp_path


@pytest.fixture
def trained(tiny_overrides, capsys):
    run(["train", *tiny_overrides, "--folder", "one"], capsys)
    return "one"


def run(words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    return printed.out


def output(width=80, **options):
    """An output onto a terminal of a width, and what it has written."""
    out = Output(argparse.Namespace(**options))
    out.console = Console(file=io.StringIO(), width=width, color_system=None)
    return out, out.console.file


LONG = [f"finding {place} " + "word " * 25 for place in range(9)]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_an_ending_fits_and_says_what_it_left_out(width):
    out, file = output(width)
    out.end(Ending("Enough.", LONG, ["a table"], ["a caution"], {"report": "report.html"}, "jepa-scale advise x"))
    lines = file.getvalue().splitlines()
    assert len(lines) <= LINES
    assert lines[0].strip() == "Enough."
    assert lines[1].strip() == "• a caution"
    assert [line.strip() for line in lines[-2:]] == ["report: report.html", "next: jepa-scale advise x"]
    shown = sum(line.startswith("• finding") for line in lines)
    assert 0 < shown < 9
    assert f"({9 - shown} more findings; -v prints all)" in file.getvalue()


def test_verbose_prints_every_finding_and_the_tables_quiet_the_verdict_alone():
    everything = Ending("Enough.", LONG, ["a table"], ["a caution"], {"report": "report.html"}, "jepa-scale advise x")
    out, file = output(verbose=True)
    out.end(everything)
    assert all(f"finding {place} " in file.getvalue() for place in range(9))
    assert "a table" in file.getvalue()
    assert "prints all" not in file.getvalue()
    out, file = output(quiet=True)
    out.end(everything)
    assert file.getvalue().strip() == "Enough."


def test_what_is_short_is_whole_without_a_word_on_more():
    out, file = output()
    out.end(Ending("Enough.", ["one", "two"], no_next="all is said"))
    shown = [line.strip() for line in file.getvalue().splitlines()]
    assert shown == ["Enough.", "• one", "• two", "no next command: all is said"]


@pytest.mark.parametrize("ends", [{}, {"next_command": "jepa-scale advise x", "no_next": "all is said"}])
def test_an_ending_has_a_next_command_or_says_why_there_is_none(ends):
    with pytest.raises(ValueError, match="a next command or why there is none"):
        Ending("Enough.", **ends)


def test_a_pipe_gets_whole_lines_and_a_width_is_obeyed():
    sentence = "a sentence that no terminal of eighty columns shows in one line, as it has " + "many words " * 10
    piped, narrow = Console(file=io.StringIO()), Console(file=io.StringIO(), width=40)
    piped.print(sentence)
    narrow.print(sentence)
    assert piped.file.getvalue().splitlines() == [sentence.rstrip()] or piped.file.getvalue() == sentence + "\n"
    assert max(map(len, narrow.file.getvalue().splitlines())) <= 40


def test_colours_in_a_pipe_break_no_lines(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    piped = Console(file=io.StringIO())
    piped.print("many words " * 20)
    assert piped.is_terminal
    assert piped.file.getvalue().count("\n") == 1


def test_steps_are_named_on_the_standard_error_once_done(capsys):
    with Steps() as step:
        step("read the runs")
        step("fit the law")
    printed = capsys.readouterr()
    assert [line.partition(":")[0] for line in printed.err.splitlines()] == ["read the runs", "fit the law"]
    assert printed.out == ""
    with Steps(quiet=True) as step:
        step("read the runs")
    assert capsys.readouterr().err == ""
    with contextlib.suppress(ValueError), Steps() as step:
        step("read the runs")
        raise ValueError
    assert capsys.readouterr().err == "", "a mistake stays one line"


def test_a_live_line_reaches_a_terminal_with_its_control_codes():
    script = (
        "import sys, time\n"
        "from jepa_scale.terminal import Steps\n"
        "from jepa_scale.texts import cleaned\n"
        "with cleaned(), Steps() as step:\n"
        "    step('read \\x1b[31mred\\x1b[0m')\n"
        "    time.sleep(0.4)\n"
    )
    leader, follower = pty.openpty()
    try:
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        subprocess.run([sys.executable, "-c", script], stdout=follower, stderr=follower, check=True, env=env)
        seen = os.read(leader, 65536).decode()
    finally:
        os.close(leader)
        os.close(follower)
    assert "\x1b[?25l" in seen, "rich hides the cursor"
    assert "read \\x1b[31mred" in seen, "what is named is shown, not obeyed"
    assert "\\x1b[2K" not in seen
    assert "\\x1b[32m" not in seen


def test_cleaned_streams_do_not_hide_the_terminal_of_a_console():
    with cleaned():
        inner = Console(stderr=True).file
        outer = sys.stderr
    assert inner is outer.rich_proxied_file


FIT = ["fit", "cells.csv", "--law", "regret = A k^-a + B n^-b", "--draws", "20"]


def commands():
    return {
        "advise": ["advise", "cells.csv", "--n", "5000", "--target-regret", "0.2"],
        "rank": ["rank", "cells.csv", "--target", "regret"],
        "quantities": ["quantities", "regret"],
    }


SHAPES = {shape.model_fields["command"].default: shape for shape in answers.Answer.__subclasses__()}


def shaped(text, shape):
    """The JSON object of a command, after a check of its shape that admits no further field."""
    return TypeAdapter(shape).validate_json(text)


@pytest.mark.parametrize("command", ["advise", "rank", "quantities"])
def test_json_has_the_documented_shape_and_the_verdict_of_the_terminal(command, capsys):
    words = commands()[command]
    answer = shaped(run([*words, "--json"], capsys), SHAPES[command])
    assert answer.command == command
    assert answer.verdict
    if command != "quantities":
        shown = run(words, capsys).splitlines()
        assert shown[0] == answer.verdict
        assert len(shown) <= LINES


def test_json_of_a_fit_holds_the_file_and_the_next_command_forecasts(capsys):
    answer = shaped(run([*FIT, "--json"], capsys), answers.Fit)
    assert answer.fit["fits"][0]["status"] == "converged"
    assert answer.fit == json.loads(Path(answer.files["fit"]).read_text(), parse_constant=lambda _: None)
    program, *words = shlex.split(answer.next)
    assert program == "jepa-scale"
    shown = run([*words, "--draws", "20"], capsys)
    assert shown.splitlines()[0] == answer.verdict
    assert "decades beyond the largest run" in shown
    assert len(shown.splitlines()) <= LINES


@pytest.mark.parametrize(
    ("more", "next_has", "why_none"),
    [
        (["--at", "n=5000", "k=8"], "", "answered"),
        (["--at", "n=1e12", "k=8", "--goal", "0.1"], "--goal 0.1 --at", ""),
        (["--draws", "0"], "", "--draws 0"),
        (["--loss", "squares-log", "--per-run", "all"], "--loss squares-log --per-run all --at", ""),
    ],
)
def test_the_command_after_a_fit_is_answered_where_the_last_was_refused(more, next_has, why_none, capsys):
    answer = shaped(run([*FIT, *more, "--json"], capsys), answers.Fit)
    assert why_none in answer.no_next
    assert bool(answer.next) is bool(next_has)
    assert next_has in answer.next
    if next_has:
        again = shaped(run([*shlex.split(answer.next)[1:], "--json"], capsys), answers.Fit)
        assert [one["refused"] for one in again.fit["forecasts"]] == [[False]]
        assert again.next == ""


def test_a_fit_that_failed_names_no_command(here, capsys):
    rows = [line for line in TABLE.splitlines() if line.split(",")[0] in ("n", "100")]
    (here / "cells.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(SystemExit) as ended:
        main([*FIT, "--json"])
    assert ended.value.code == 1
    answer = shaped(capsys.readouterr().out, answers.Fit)
    assert (answer.next, "no law was fitted" in answer.no_next) == ("", True)


def test_json_of_a_run_and_of_its_evaluation(trained, capsys, tiny_overrides):
    answer = shaped(run(["train", *tiny_overrides, "--folder", trained, "--json"], capsys), answers.Run)
    assert answer.status == "finished"
    assert answer.estimates["regret/density"].value is not None
    assert answer.verdict.startswith("Regret ")
    evaluated = shaped(run(["evaluate", trained, "--json"], capsys), answers.Evaluate)
    (one,) = evaluated.evaluations
    assert one.run_id == answer.run_id
    assert one.verdict == evaluated.verdict
    assert json.loads(Path(one.record).read_text())["run_id"] == answer.run_id
    assert len(run(["evaluate", trained], capsys).splitlines()) <= LINES


def test_json_of_a_study_of_its_report_and_of_its_collection(capsys, tiny_overrides):
    import yaml

    overrides = [text for text in tiny_overrides if not text.startswith(("data.n=", "model.k="))]
    study = {"name": "small", "question": "?", "dials": {"data.n": [300, 600], "model.k": [2, 4]}, "seeds": [0]}
    Path("small.yaml").write_text(yaml.safe_dump({**study, "overrides": overrides, "bootstrap_draws": 20}))
    with pytest.raises(SystemExit) as ended:
        main(["study", "small.yaml", "workers=1", "--json"])
    printed = capsys.readouterr()
    assert ended.value.code == 0, printed.err
    answer = shaped(printed.out, answers.Report)
    assert answer.command == "study"
    assert "4/4 runs done" in printed.err
    after = printed.err[printed.err.index("4/4 runs done") :]
    assert "fit generic to the regret: " in after
    assert "draw the figures and write the report: " in after
    (one,) = answer.studies
    assert (one.done, one.unfinished, len(one.cells)) == (4, [], 4)
    assert all(cell.seeds == 1 for cell in one.cells)
    shown = run(["report", "studies/small"], capsys).splitlines()
    assert shown[0] == answer.verdict
    assert len(shown) <= LINES
    assert shown[-2] == "report: studies/small/report.html"
    assert shown[-1] == f"next: {answer.next}"
    collected = shaped(run(["collect", "studies/small", "--json"], capsys), answers.Collect)
    assert (collected.rows, collected.missing) == (4, [])
    next(Path("studies/small/runs").glob("*/record.json")).unlink()
    with pytest.raises(SystemExit) as ended:
        main(["collect", "studies/small"])
    assert ended.value.code == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == "next: jepa-scale study studies/small/study.yaml --folder studies/small"
    assert shown[0] == "3 runs in studies/small/table.parquet, 1 missing"


def test_json_of_an_audit(capsys, generator):
    import numpy as np

    z = generator.normal(size=(3000, 3))
    np.savez("e.npz", z=z, z_next=0.7 * z + generator.normal(size=z.shape), trajectory=np.arange(3000) // 10)
    words = ["audit", "e.npz", "--dictionary", "0"]
    answer = shaped(run([*words, "--json"], capsys), answers.Audit)
    assert answer.status in ("over-provisioned", "in range", "too narrow", "cannot tell")
    assert answer.audit["rows"] == 3000
    shown = run(words, capsys).splitlines()
    assert len(shown) <= LINES
    assert shown[-1] == f"next: {answer.next}"


def test_a_shape_admits_no_field_that_is_not_documented():
    with pytest.raises(ValidationError, match="extra"):
        answers.Quantities(verdict="x", quantities=[], more=1)
    for shape in SHAPES.values():
        assert all(field.description or field.default for field in shape.model_fields.values())


def test_what_is_not_finite_is_null():
    assert answers.plain({"a": [float("nan"), 1.5], "b": (float("inf"),)}) == {"a": [None, 1.5], "b": [None]}

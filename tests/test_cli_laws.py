"""`fit` and `advise` as a user runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from jepa_scale.cli.app import main


def run(arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    size, data = np.exp(generator.uniform(16, 20, 40)), np.exp(generator.uniform(19, 23, 40))
    loss = (1.7 + 400 * size**-0.34 + 2000 * data**-0.37) * np.exp(0.003 * generator.standard_normal(40))
    rows = [f"run{i % 20},{n},{d},{v},{2 * n}" for i, (n, d, v) in enumerate(zip(size, data, loss, strict=True))]
    # What a dashboard exports: a byte order mark, quotes, a run that crashed.
    text = '\ufeff"Name",params,tokens,"final loss",half\n' + "\n".join(rows) + "\nrun99,1e8,,,\n"
    (tmp_path / "runs.csv").write_text(text, encoding="utf-8")
    return tmp_path / "runs.csv"


NAMES = ("--columns", "N=params", "D=tokens", "loss=final loss")


def test_fit_prints_parameters_forecasts_and_writes_a_page(runs, capsys):
    code = run(
        ["fit", runs, *NAMES, "--draws", 60, "--at", "N=1e9", "D=2e10", "--at", "N=1e15", "D=1e16", "--goal", 2.4]
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "40 runs of 40 configurations; 1 row without a number left out" in shown
    assert "alpha" in shown
    assert "P(loss ≤ 2.4)" in shown
    assert "cannot say" in shown
    content = json.loads((runs.parent / "fits" / "runs" / "fit.json").read_text())
    values = {one["name"]: one["value"] for one in content["fits"][0]["parameters"]}
    assert values["alpha"] == pytest.approx(0.34, abs=0.1)
    assert content["forecasts"][0]["refused"] == [False, True]
    page = (runs.parent / "fits" / "runs" / "report.html").read_text()
    assert "Profile likelihoods" in page
    assert {path.name for path in (runs.parent / "fits" / "runs" / "figures").iterdir()} == {
        "residuals.png", "profiles.png", "back_tests.png", "residuals.svg", "profiles.svg", "back_tests.svg",
    }  # fmt: skip


def test_fit_splits_a_budget(runs, capsys):
    code = run(["fit", runs, *NAMES, "--draws", 60, "--budget", 1e20, 1e18, "--folder", "out"])
    shown = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "chinchilla, 6*N*D = 1.00·10²⁰: N = " in shown
    assert "chinchilla: best split N ∝ cost^" in shown
    (found,) = json.loads((runs.parent / "out" / "fit.json").read_text())["allocations"]
    assert [split["budget"] for split in found["splits"]] == [1e18, 1e20]
    split = found["splits"][0]
    assert 6 * split["best"][0] * split["best"][1] == pytest.approx(1e18)
    assert "Best use of a budget" in (runs.parent / "out" / "report.html").read_text()
    assert (runs.parent / "out" / "figures" / "allocation.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--at", "N=1X", "D=1"], "--at: expected NAME=NUMBER, such as N=1e9 or N=1B, got N=1X"),
        (["--cost", "6*N*D"], "--cost: expected --budget too"),
        (["--budget", "-1"], "--budget: expected finite numbers above 0"),
        (["--budget", "1e20", "--cost", "6*N"], "expected a product of the two columns of every law and numbers"),
        (["--budget", "1e20", "--cost", "6*N*steps"], "expected a product of the two columns"),
        (["--budget", "1e20", "--draws", "0"], "--budget needs the bootstrap"),
    ],
)
def test_a_budget_that_cannot_be_split_is_refused_before_any_fit(arguments, message, runs, capsys):
    assert run(["fit", runs, *NAMES, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (runs.parent / "fits").exists()


def test_fit_takes_formulas_products_and_several_laws(runs, capsys):
    code = run([
        "fit", runs, "--law", "loss = E + A C^-g", "loss = E + A N^-alpha + B D^-beta", "--draws", 40,
        "--columns", "N=params", "D=tokens", "C=6*params*tokens", "loss=final loss", "--cluster", "Name",
        "--loss", "squares-log",
    ])  # fmt: skip
    shown = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "20 configurations" in shown
    assert "AICc weights" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv"], "no file none.csv"),
        (["runs.csv"], "the law chinchilla describes loss, and the table has neither"),
        (["runs.csv", "--columns", "N=params", "loss=final loss"], "has no column 'D'; it has Name, params"),
        (["runs.csv", *NAMES, "--law", "loss = E +"], "expected more at 'the end'"),
        (["runs.csv", *NAMES, "--law", "nonsense"], "no law 'nonsense'"),
        (["runs.csv", *NAMES, "--loss", "cubes"], "--loss: expected one of huber"),
        (["runs.csv", *NAMES, "--at", "N=1e9"], "expected a finite number above 0 for each of N, D"),
        (["runs.csv", *NAMES, "--at", "N=ten"], "expected NAME=NUMBER"),
        (["runs.csv", *NAMES, "--loss", "binomial"], "needs the number of episodes"),
        (["runs.csv", *NAMES, "--level", "2"], "expected --level inside"),
        (["runs.csv", *NAMES, "--draws", "1"], "or at least 20 for an interval"),
        (["runs.csv", *NAMES, "--seed", "-1"], "--seed: expected a whole number from 0 to 2147483647, got -1"),
        (["runs.csv", *NAMES, "--goal", "nan"], "expected a finite --goal"),
        (["runs.csv", *NAMES, "--at", "N=1e9", "D=1e9", "Q=3"], "for each of N, D"),
        (["runs.csv", *NAMES, "--loss", "envelope:inf"], "expected finite weights above 0"),
        (["runs.csv", *NAMES, "--law", "loss = saturating(A N^-a, 0)"], "expected a ceiling above 0"),
        (["runs.csv", *NAMES, "--law", "loss = loss + A N^-a"], "expected the target loss on the left of"),
        (["runs.csv", "--columns", "N"], "expected NAME=VALUE, such as N=params"),
    ],
)
def test_mistakes_of_fit_end_with_one_line_and_leave_nothing(arguments, message, runs, capsys):
    assert run(["fit", *arguments]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("jepa-scale: error:")
    assert len(shown.strip().splitlines()) == 1
    assert message in shown
    assert not (runs.parent / "fits").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("broken.csv", "a,b\n1,2,3\n", "line 2 has 3 cells, the header has 2"),
        ("empty.csv", "a,b\n", "has no rows"),
        ("list.jsonl", "[1, 2]\n", "expected an object on each line"),
        ("bad.jsonl", "{\n", "line 1: expected an object of JSON, got Expecting property name"),
        ("torn.parquet", "PAR1", "expected a parquet file, got Could not open Parquet input"),
        ("table.xlsx", "", "expected a table ending in"),
        ("twice.csv", "N,N,D,loss\n1,2,3,4\n", "several columns named N"),
        ("words.csv", "N,D,loss\na,b,c\n", "no row has a number in every one of"),
    ],
)
def test_tables_that_cannot_be_read_say_why(name, content, message, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert run(["fit", tmp_path / name]) == 2
    assert message in capsys.readouterr().err


def test_one_size_only_is_refused_with_what_to_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"N": 10.0 * i, "D": 100.0, "loss": 3.0 / i}) for i in range(1, 9)]
    (tmp_path / "one.jsonl").write_text("\n".join(rows))
    assert run(["fit", "one.jsonl"]) == 1
    assert "run other values of D" in " ".join(capsys.readouterr().out.split())


def test_advise_answers_from_a_study_and_its_next_file_is_a_study(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = {
        "name": "small", "question": "?", "seeds": [0, 1], "bootstrap_draws": 20,
        "dials": {"data.n": [100, 300, 900, 2700], "model.k": [2, 4, 8]},
        "overrides": ["world.hidden.side=3", "trainer.epochs=1", "trainer.steps_per_epoch=200", "data.batch_size=32",
                      "data.heldout=800", "data.test=800", "logger=none"],
    }  # fmt: skip
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(study))
    assert run(["study", "small.yaml", "workers=2"]) == 0
    capsys.readouterr()
    asked = ["advise", "studies/small", "-v", "--target-regret", 0.3, "--n", 5000, "--decision", "docs/decision.md"]
    assert run(asked) == 0
    record = (tmp_path / "docs" / "decision.md").read_text()
    headings = ["Question", "Verdict", "Options considered", "Evidence", "Cost", "What would change it", "Theory"]
    assert [line[3:] for line in record.splitlines() if line.startswith("## ")] == [*headings, "How to repeat it"]
    assert "24 finished runs in 12 cells: n = 100, 300, 900, 2 700; k = 2, 4, 8." in record.replace("\u202f", " ")
    assert "Advice from the smaller half of the sizes on the 6 larger cells:" in record
    assert "B5 (margin): applied in 24 runs" in record
    again = record.split("```bash\njepa-scale ")[1].split("\n")[0].split()
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.split(":")[0] in ("SUFFICIENT", "INSUFFICIENT", "UNDECIDED", "CANNOT SAY")
    assert "Forecasters, weighted by back-tests here and on other studies" in shown
    assert "next: jepa-scale study sweeps/next.yaml --folder studies/small" in shown
    added = yaml.safe_load((tmp_path / "sweeps" / "next.yaml").read_text())["extra"]
    assert 1 <= len(added) <= 3
    # The command on the page gives the same page.
    assert run([*again, "--next", "sweeps/next.yaml", "--decision", "docs/again.md"]) == 0
    assert (tmp_path / "docs" / "again.md").read_text() == record
    capsys.readouterr()
    assert run(["study", "sweeps/next.yaml", "--folder", "studies/small", "workers=1"]) == 0
    assert f"{24} of {24 + len(added)} runs are done already" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is not a study folder"),
        (["nowhere", "--n", "0"], "is not a study folder"),
        (["none.csv"], "no file none.csv"),
        (["cells.csv", "--n", "0"], "--n: expected a number above 0, got 0"),
        (["cells.csv", "--columns", "k"], "expected NAME=VALUE, such as n=samples"),
        (["cells.csv", "--columns", "loss=k"], "expected names among n, k, regret, seed, tail"),
        (["cells.csv", "--columns", "k=width"], "has no column 'width'; it has n, k, regret"),
        (["runs.csv"], "runs.csv has no column 'n'; it has Name, params"),
        (["words.csv"], "no finished run has a number in each of n, k and regret"),
        (["zero.csv"], "zero.csv, row 2: n is 0, expected a whole number ≥ 1"),
        (["huge.csv"], "huge.csv, row 2: n is 1e+300, expected a whole number ≥ 1, at most 9007199254740992"),
        (["arms.csv"], "compares settings (model.depth=1 …)"),
        (["loss.csv"], "loss.csv: a regret is a lost probability, expected values in [0, 1], got 2 to 3"),
        (["cells.csv", "--forecaster", "nonsense"], "no forecaster 'nonsense': expected one of dose_response"),
        (["cells.csv", "--target-regret", "2"], "expected a target regret inside (0, 1)"),
    ],
)
def test_mistakes_of_advise_end_with_one_line(arguments, message, cells, runs, capsys):
    for name, content in {
        "words": "n,k,regret\n10,2,low\n",
        "zero": "n,k,regret\n10,2,0.5\n0,2,0.5\n",
        "huge": "n,k,regret\ninf,2,0.5\n1e300,2,0.5\n10,2,0.5\n",
        "arms": "n,k,regret,arm\n10,2,0.5,model.depth=1\n10,2,0.5,model.depth=2\n",
        "loss": "n,k,regret\n10,2,2\n100,2,3\n",
    }.items():
        (cells.parent / f"{name}.csv").write_text(content)
    assert run(["advise", *arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert not (cells.parent / "sweeps").exists()


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A table with three seeds for each of twelve cells."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(1)
    rows = ["n,k,regret,seed,status"]
    for n in (100, 300, 900, 2700):
        for k in (2, 4, 8):
            for seed in range(3):
                regret = 0.4 / k + 0.8 * (k / n) ** 0.5 + 0.005 * generator.standard_normal()
                rows.append(f"{n},{k},{regret},{seed},finished")
    (tmp_path / "cells.csv").write_text("\n".join([*rows, "900,4,,7,diverged", "900,,0.2,7,finished"]) + "\n")
    return tmp_path / "cells.csv"


def test_advise_answers_from_anybodys_table(cells, capsys):
    assert run(["advise", cells, "--n", 2700, "--k", 8, "--target-regret", 0.2]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "SUFFICIENT: n = 2 700, k = 8" in shown
    assert "INSUFFICIENT" not in shown
    assert "measured, 3 runs" in shown
    assert "Next run" not in shown, "the cell is solved"
    assert "rows left out, without a number in n, k or regret: 1" in shown
    assert "1 runs left out, the first: k=4, n=900, seed=7: diverged: no reason given" in shown
    assert "target regret" not in shown
    record = cells.parent / "decision.md"
    assert run(["advise", cells, "--n", 100, "--k", 2, "--forecaster", "trend", "--decision", record]) == 0
    assert "No statement of the theory was used" in record.read_text()
    shown = " ".join(capsys.readouterr().out.split())
    assert "target regret 0.02, as in a new study: --target-regret sets another" in shown
    assert "INSUFFICIENT: n = 100, k = 2" in shown
    assert not (cells.parent / "sweeps").exists(), "there is no study to add runs to"


def test_advise_takes_a_tables_own_names_and_counts_seeds_where_there_are_none(cells, capsys):
    rows = [line.split(",") for line in cells.read_text().splitlines()[1:]]
    table = [json.dumps({"samples": int(n) // 100, "dim": k, "lost": r}) for n, k, r, _, _ in rows if k and r]
    (cells.parent / "mine.jsonl").write_text("\n".join(table))
    named = ["--columns", "n=samples*100", "k=dim", "regret=lost"]
    asked = ["--n", 2700, "--k", 8, "--target-regret", 0.2]
    assert run(["advise", cells.parent / "mine.jsonl", *named, *asked]) == 0
    mine = " ".join(capsys.readouterr().out.split())
    assert "no seed for every run: they are numbered in the order of the rows" in mine
    assert run(["advise", cells, *asked]) == 0
    # The same runs with the same seeds: the same answer.
    answer = mine[mine.index("SUFFICIENT") :]
    assert answer.split("Caution")[0] in " ".join(capsys.readouterr().out.split())


def test_seeds_of_a_table_are_its_own_where_every_run_has_one(cells):
    from jepa_scale.studies.advising import table_of

    table, said, _ = table_of(cells, {})
    assert table["seed"][:4].tolist() == [0, 1, 2, 0]
    assert said == ("rows left out, without a number in n, k or regret: 1",)
    assert set(table["status"].tolist()) == {"finished", "diverged"}
    counted, said, _ = table_of(cells, {"seed": "regret*k"})
    assert counted["seed"].tolist() == [0, 1, 2] * 12 + [3]
    assert len(said) == 2


def test_advise_refuses_a_study_with_a_tables_columns(tmp_path, capsys):
    (tmp_path / "study.yaml").write_text("name: a\nquestion: '?'\nseeds: [0]\ndials: {data.n: [300], model.k: [2]}\n")
    assert run(["advise", tmp_path, "--columns", "n=a"]) == 2
    assert "--columns is for a table" in capsys.readouterr().err


def test_advise_leaves_out_copies_and_earlier_rows_of_a_run(tmp_path):
    from jepa_scale.runs.errors import UserError
    from jepa_scale.studies.advising import table_of

    def read(head, rows):
        (tmp_path / "mine.csv").write_text("\n".join([head, *rows]) + "\n")
        return table_of(tmp_path / "mine.csv", {})[:2]

    rows = ["100,2,0,0.4", "100,2,1,0.5", "300,2,0,0.3"]
    table, remarks = read("n,k,seed,regret", rows + rows[:2])
    assert len(table) == 3
    assert remarks == ("rows left out, copies of another row (n, k, seed and regret alike): 2",)
    # Without seeds rows alike may be other seeds: zeros are data.
    assert len(read("n,k,regret", ["100,2,0.0"] * 3)[0]) == 3
    # A name that all share tells no runs apart.
    assert len(read("name,n,k,regret", ["mine,100,2,0.1", "mine,100,2,0.2", "mine,300,2,0.1"])[0]) == 3
    steps = ["a,0,100,2,0.9", "a,50,100,2,0.4", "b,50,300,2,0.2", "b,0,300,2,0.9"]
    table, remarks = read("run,Step,n,k,regret", steps)
    assert sorted(table["regret"].tolist()) == [0.2, 0.4]
    assert remarks[0] == "rows left out, of a run that has a later one: 2"
    with pytest.raises(UserError, match="expected one row for each run"):
        read("run,n,k,regret", ["a,100,2,0.9", "a,100,2,0.4"])
    with pytest.raises(UserError, match="expected numbers in the column of steps"):
        read("run,Step,n,k,regret", ["a,x,100,2,0.9", "a,y,100,2,0.4"])


def test_fit_says_when_the_target_rises_with_scale(tmp_path):
    from jepa_scale.laws.fit import fit_table
    from jepa_scale.laws.law import Law

    n = np.geomspace(100, 1e5, 12)
    rising = fit_table(Law("power", "score = E + A n^-a"), {"n": n, "score": 1 - 0.5 * n**-0.3}, draws=0)
    (finding,) = [one for one in rising.warnings if one.code == "rises_with_scale"]
    assert (finding.subject, finding.values["columns"]) == ("score", "n")
    assert "turn the formula round, as in 'score = E - A n^-a'" in str(finding)
    falling = fit_table(Law("power", "score = E + A n^-a"), {"n": n, "score": 0.2 + 0.5 * n**-0.3}, draws=0)
    assert "rises_with_scale" not in {one.code for one in falling.warnings}


def test_advise_tells_the_best_split_of_a_budget(cells, capsys):
    asked = ["--target-regret", 0.2, "--spend", 5000, 20000, 1e14, "--cost", "2*k*n"]
    assert run(["advise", cells, *asked]) == 0
    lines = capsys.readouterr().out.split("•")
    spent = [" ".join(line.split()) for line in lines if "At 2*k*n" in line]
    assert len(spent) == 3
    assert "cannot say" in spent[2]
    assert "P(one run ≤ 0.2)" in spent[0]
    assert run(["advise", cells, *asked, "--json"]) == 0
    spending = json.loads(capsys.readouterr().out)["spending"]
    assert [one and 2 * one["k"] * one["n"] <= one["budget"] for one in spending] == [True, True, None]
    assert spending[1]["regret"] < spending[0]["regret"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--spend", 1e5], "--spend: expected --cost too"),
        (["--cost", "n*k"], "--cost: expected --spend too"),
        (["--spend", 0, "--cost", "n*k"], "--spend: expected finite numbers above 0, got 0"),
        (["--spend", 1e5, "--cost", "n*n"], "--cost n*n: expected a product of n, k and numbers"),
        (["--spend", 1e5, "--cost", "0*n*k"], "--cost 0*n*k: expected a product"),
        (["--spend", 1e5, "--cost", "n*k*depth"], "--cost n*k*depth: expected a product"),
    ],
)
def test_advise_refuses_a_budget_that_it_cannot_spend(cells, capsys, options, said):
    assert run(["advise", cells, *options]) == 2
    assert said in capsys.readouterr().err


def test_advise_reads_sizes_as_people_write_them(cells, capsys):
    assert run(["advise", cells, "--n", "2.7e3", "--k", 8, "--target-regret", 0.2]) == 0
    assert "n = 2 700, k = 8" in " ".join(capsys.readouterr().out.split())
    for wrong in ("1.5", "many", "nan", "1e999"):
        assert run(["advise", cells, "--n", wrong]) == 2
        assert "expected a whole number, such as 100000 or 1e5" in capsys.readouterr().err

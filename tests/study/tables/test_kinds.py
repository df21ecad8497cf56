"""One clean table, written in every way people write tables: the runs that are read are the same."""

import gzip
import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jepa_scale.cli.app import main
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.advising import table_of
from jepa_scale.studies.tables.reading import read_tables

RUNS = [
    (f"n{n}_k{k}_s{seed}", n, k, seed, round(0.1 + 1.2 / k + 2 / n**0.5 + 0.004 * seed, 4))
    for n in (300, 1000, 3000, 10000, 30000)
    for k in (4, 16)
    for seed in (0, 1)
]
HEAD = ("run", "n", "k", "seed", "regret")


def text(write=str, head=HEAD, delimiter=",", rows=RUNS):
    """Rows as text; ``write`` gets each cell and its column."""
    cells = [[cell if isinstance(cell, str) else write(cell) for cell in row] for row in rows]
    return "\n".join(delimiter.join(row) for row in [head, *cells]) + "\n"


def column(name, write, **options):
    """Rows as text, one column of which is written differently."""
    place = HEAD.index(name)
    return text(rows=[(*row[:place], write(row[place]), *row[place + 1 :]) for row in RUNS], **options)


def quoted(value):
    return f'"{value}"'


def grouped(mark, quote=str):
    return lambda n: quote(f"{n:,}".replace(",", mark))


def bad(row, name, cell):
    """The plain table with another cell."""
    place = HEAD.index(name)
    rows = [(*one[:place], cell, *one[place + 1 :]) if index == row else one for index, one in enumerate(RUNS)]
    return text(rows=rows)


def comma(value):
    return str(value).replace(".", ",")


def objects(wrap=lambda run, n, k, seed, regret: {"run": run, "n": n, "k": k, "seed": seed, "regret": regret}):
    return [wrap(*row) for row in RUNS]


def nested(run, n, k, seed, regret):
    return {
        "name": run, "state": "finished", "config": {"data": {"n": n}, "model": {"k": k}, "seed": seed},
        "summary": {"regret": regret},
    }  # fmt: skip


WANDB = ("Name", "State", "Notes", "Created", "Runtime", "data.n", "model.k", "seed", "eval/regret")


def wandb(state="finished", rows=RUNS):
    lines = [f'"{run}","{state}","-","2026-01-01","9","{n}","{k}","{s}","{r}"' for run, n, k, s, r in rows]
    return "\n".join([",".join(map(quoted, WANDB)), *lines])


def short(n):
    return f"{n / 1000:g}k" if n >= 1000 else str(n)


KINDS = {
    "plain.csv": text(),
    "bom.csv": "\ufeff" + text(),
    "utf16.csv": text().encode("utf-16"),
    "utf16_tabs.tsv": text(delimiter="\t").encode("utf-16"),
    "utf32.csv": text().encode("utf-32"),
    "packed.csv.gz": gzip.compress(text().encode(), mtime=0),
    "semicolon.csv": text(comma, delimiter=";"),
    "semicolon_dots.csv": text(delimiter=";"),
    "tabs.tsv": text(delimiter="\t"),
    "tabs.csv": text(delimiter="\t"),
    "pipes.csv": text(delimiter="|"),
    "pipes_spaced.csv": text(delimiter=" | "),
    "windows.csv": text().replace("\n", "\r\n"),
    "excel.csv": "sep=;\n" + text(comma, delimiter=";"),
    "comments.csv": "# sweep of June\n#\n" + text(),
    "savetxt.csv": "# " + text(head=HEAD[1:], rows=[row[1:] for row in RUNS]),
    "empty_lines.csv": "\n" + text().replace("\n", "\n\n") + ",,,,\n",
    "spaces.csv": text(head=("run", " n", "k ", " seed", "Regret "), delimiter=" , "),
    "capitals.csv": text(head=("Run", "N", "K", "Seed", "REGRET")),
    "quotes.csv": text(lambda cell: quoted(cell)),
    "index.csv": text(head=("", *HEAD), rows=[(index, *row) for index, row in enumerate(RUNS)]),
    "trailing.csv": text(head=(*HEAD, "", ""), rows=[(*row, "", "") for row in RUNS]),
    "prefix.csv": column("k", lambda k: f"d={k}"),
    "prefix_letter.csv": column("k", lambda k: f"k{k}"),
    "prefix_dash.csv": column("k", lambda k: f"dim-{k}"),
    "prefix_words.csv": column("k", lambda k: f"latent dim: {k}"),
    "prefix_seed.csv": column("seed", lambda seed: f"s{seed}"),
    "thousands_comma.csv": column("n", grouped(",", quoted)),
    "thousands_space.csv": column("n", grouped(" ")),
    "thousands_thin.csv": column("n", grouped("\u202f")),
    "thousands_underscore.csv": column("n", grouped("_")),
    "thousands_apostrophe.csv": column("n", grouped("'")),
    "thousands_tabs.tsv": column("n", grouped(","), delimiter="\t"),
    "thousands_dots.csv": text(comma, delimiter=";", rows=[(a, grouped(".")(n), *b) for a, n, *b in RUNS]),
    "kilo.csv": column("n", short),
    "kilo_capital.csv": column("n", lambda n: short(n).upper()),
    "scientific.csv": column("n", lambda n: f"{n:.0e}"),
    "float.csv": column("n", lambda n: f"{n}.0"),
    "percent.csv": column("regret", lambda regret: f"{100 * regret:.2f}%"),
    "percent_spaced.csv": column("regret", lambda regret: f"{100 * regret:.2f} %"),
    "percent_comma.csv": column("regret", lambda regret: comma(f"{100 * regret:.2f}%"), delimiter=";"),
    "missing.csv": text() + "".join(f"x{i},300,4,9,{cell}\n" for i, cell in enumerate(("", "NaN", "-", "N/A", "None"))),
    "copies.csv": text() + text().split("\n", 1)[1],
    "states.csv": text(head=(*HEAD, "State"), rows=[(*row, "Finished") for row in RUNS]) + "a,300,4,9,0.9,crashed\n",
    "status.csv": text(head=(*HEAD, "status"), rows=[(*row, "finished") for row in RUNS]) + "a,300,4,9,junk,failed\n",
    "wandb.csv": wandb() + "\n" + wandb("running", RUNS[:4]).split("\n", 1)[1],
    "wandb_dicts.csv": "config,name,summary\n"
    + "\n".join(f"\"{{'n': {n}, 'k': {k}, 'seed': {s}}}\",{run},\"{{'regret': {r}}}\"" for run, n, k, s, r in RUNS),
    "lines.jsonl": "\n".join(map(json.dumps, objects())),
    "lines.json": "\n".join(map(json.dumps, objects())),
    "array.json": json.dumps(objects(), indent=1),
    "array.jsonl": json.dumps(objects()),
    "lists.json": json.dumps({name: [row[i] for row in RUNS] for i, name in enumerate(HEAD)}, indent=1),
    "texts.jsonl": "\n".join(json.dumps({name: str(value) for name, value in one.items()}) for one in objects()),
    "nested.jsonl": "\n".join(map(json.dumps, objects(nested))),
    "nested.jsonl.gz": gzip.compress("\n".join(map(json.dumps, objects(nested))).encode(), mtime=0),
    "wandb_values.jsonl": "\n".join(
        json.dumps({"config": {"n": {"desc": None, "value": n}, "k": {"value": k}}, "seed": s, "regret": r})
        for _, n, k, s, r in RUNS
    ),
}


def parquet(struct=False):
    table = pa.Table.from_pylist(objects(nested) if struct else objects())
    if not struct:
        table = table.set_column(0, "run", table["run"].dictionary_encode())
        table = table.append_column("widths", pa.array([[1, 2]] * len(RUNS)))
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


KINDS |= {"dictionary.parquet": parquet(), "struct.parquet": parquet(True)}


def rows_of(table):
    return sorted(zip(*(table[name].tolist() for name in HEAD[1:]), strict=True))


CLEAN = sorted(row[1:] for row in RUNS)


def write(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def same(table):
    found = rows_of(table)
    assert len(found) == len(CLEAN)
    np.testing.assert_allclose(found, CLEAN, rtol=1e-12)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_table_gives_the_clean_tables_runs(name, tmp_path):
    table = table_of(write(tmp_path, name, KINDS[name]), {}).table
    same(table)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("prefix.csv", "column k: the number after 'd=' is used"),
        ("percent.csv", "column regret is in percent: divided by 100"),
        ("missing.csv", "rows left out, without a number in n, k or regret: 5"),
        ("copies.csv", "rows left out, copies of another row (run, n, k, seed and regret alike): 20"),
        ("states.csv", "rows left out, of runs that did not finish: 1 (1 crashed)"),
        ("wandb.csv", "rows left out, of runs that did not finish: 4 (4 running)"),
        ("wandb.csv", "column data.n is used as n"),
        ("nested.jsonl", "column config.model.k is used as k"),
        ("capitals.csv", "column REGRET is used as regret"),
    ],
)
def test_what_was_done_to_a_table_is_said(name, sentence, tmp_path):
    assert sentence in table_of(write(tmp_path, name, KINDS[name]), {})[1]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (("success_rate", lambda r: f"{100 - 100 * r:.2f}"), {"regret": "1-0.01*success_rate"}),
        (("success", lambda r: f"{1 - r:.4f}"), {"regret": "1 - success"}),
        (("eval/wins", lambda r: f"{10000 - 10000 * r:.0f}"), {"regret": "1-eval/wins/10000"}),
        (("wins", lambda r: f"{10000 - 10000 * r:.0f}"), {"regret": "(episodes - wins)/episodes"}),
        (("regret", lambda r: f"{100 * r:.2f}"), {"regret": "0.01*regret"}),
        (("final loss", lambda r: f"{r}"), {"regret": "final loss*1"}),
        (("lost", lambda r: f"{r**0.5:.12f}"), {"regret": "lost^2", "n": "n", "k": "sqrt(k*k)"}),
    ],
)
def test_columns_may_be_expressions(columns, names, tmp_path):
    name, write_cell = columns
    head = (*HEAD[:4], name, "episodes")
    rows = [(*row[:4], write_cell(row[4]), 10000) for row in RUNS]
    table = table_of(write(tmp_path, "table.csv", text(head=head, rows=rows)), names).table
    np.testing.assert_allclose(rows_of(table), CLEAN, rtol=1e-8)


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (("success_rate", lambda r: f"{100 - 100 * r:.1f}"), "--columns 'regret=1-0.01*success_rate'"),
        (("success", lambda r: f"{1 - r}"), "--columns 'regret=1-success'"),
        (("successes", lambda r: f"{round(50 - 50 * r)}"), "--columns 'regret=1-successes/num_eval'"),
        (("eval/success", lambda r: f"{100 - 100 * r:.1f}%"), "--columns 'regret=1-eval/success'"),
    ],
)
def test_a_table_of_successes_is_told_its_regret(content, advice, tmp_path):
    name, write_cell = content
    rows = [(*row[:4], write_cell(row[4]), 50) for row in RUNS]
    path = write(tmp_path, "table.csv", text(head=(*HEAD[:4], name, "num_eval"), rows=rows))
    with pytest.raises(UserError) as refused:
        table_of(path, {})
    assert advice in str(refused.value)
    table_of(path, {"regret": advice.split("regret=")[1].rstrip("'")})


STEPS = [(run, step, n, k, s, v) for run, n, k, s, r in RUNS for step, v in ((0, 0.9), (50, r - 0.01), (100, r))]


def test_the_last_row_of_each_run_is_used_or_the_best_or_all(tmp_path):
    rows = [STEPS[place] for place in np.random.default_rng(0).permutation(len(STEPS))]
    path = write(tmp_path, "steps.csv", text(head=("run", "Step", *HEAD[1:]), rows=rows))
    table, remarks, _ = table_of(path, {})
    same(table)
    assert "rows left out, of a run that has a later one: 40" in remarks
    best, remarks, _ = table_of(path, {}, "best")
    np.testing.assert_allclose(rows_of(best), [(*row[:3], row[3] - 0.01) for row in CLEAN])
    assert "rows left out, of a run that has a lower regret in another row: 40" in remarks
    every, remarks, _ = table_of(path, {}, "all")
    assert len(every) == 60
    assert "rows used as runs of their own, of 20 runs with several: 60 (--per-run all)" in remarks
    # Without a column of runs, those of n, k and seed tell them apart.
    same(table_of(write(tmp_path, "few.csv", text(head=("Step", *HEAD[1:]), rows=[row[1:] for row in rows])), {})[0])


def test_folders_several_files_and_standard_input(tmp_path, monkeypatch):
    for index in range(4):
        kind = {"delimiter": ";", "write": comma} if index % 2 else {}
        write(tmp_path, f"part{index}.csv", text(rows=RUNS[index::4], **kind))
    same(table_of(tmp_path, {})[0])
    same(table_of([tmp_path / f"part{index}.csv" for index in range(4)], {})[0])
    assert read_tables([tmp_path]).columns["file"][::5] == ["part0", "part1", "part2", "part3"]
    runs = tmp_path / "runs"
    for run, n, k, seed, regret in RUNS:
        (runs / run).mkdir(parents=True)
        write(runs / run, "config.json", json.dumps({"data": {"n": n}, "k": k, "seed": seed}, indent=1))
        write(runs / run, "summary.json", json.dumps({"eval/regret": regret}))
    same(table_of(runs, {})[0])
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, one in enumerate(objects()):
        write(flat, f"{index}.json", json.dumps(one, indent=1))
    same(table_of(flat, {})[0])
    write(flat, "a.csv", text())
    with pytest.raises(UserError, match="several kinds"):
        table_of(flat, {})
    for name in ("semicolon.csv", "array.json", "struct.parquet", "packed.csv.gz", "utf16.csv", "nested.jsonl"):
        content = KINDS[name] if isinstance(KINDS[name], bytes) else KINDS[name].encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        same(table_of(Path("-"), {})[0])


def test_files_of_one_table_have_the_same_columns(tmp_path):
    first = write(tmp_path, "first.csv", text(rows=RUNS[:10]))
    other = write(tmp_path, "other.csv", text(rows=RUNS[10:], head=("Run", " N", "K", "Seed", "Regret")))
    same(table_of([first, other], {})[0])
    write(tmp_path, "other.csv", text(rows=RUNS[10:], head=("run", "samples", "k", "seed", "regret")))
    with pytest.raises(UserError, match=r"other\.csv has no column 'n', which other tables have"):
        table_of([first, other], {})
    write(tmp_path, "other.csv", text(rows=RUNS[8:]))
    table, remarks, _ = table_of([first, other], {})
    same(table)
    assert remarks == ("rows left out, copies of another row (run, n, k, seed and regret alike): 2",)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code, " ".join("".join(capsys.readouterr()).split())


def test_advise_and_fit_say_the_same_of_a_messy_table_as_of_the_clean_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, content in (("clean.csv", text()), ("messy.csv", KINDS["wandb.csv"])):
        write(tmp_path, name, content)
    asked = ("--target-regret", 0.2, "--forecaster", "power_law")
    code, clean = run(capsys, "advise", "clean.csv", "-v", *asked)
    assert code == 0
    _, messy = run(capsys, "advise", "messy.csv", "-v", *asked)
    sentences, expected = messy.split(" • "), clean.split(" • ")
    assert sentences[0] == expected[0]
    remarks = set(sentences) - set(expected)
    assert [sentence for sentence in sentences if sentence not in remarks] == expected
    assert any("of runs that did not finish: 4 (4 running)" in remark for remark in remarks)
    law = ("-v", "--law", "regret = E + B n^-q", "--draws", 0)
    code, clean = run(capsys, "fit", "clean.csv", *law)
    assert code == 0
    code, messy = run(capsys, "fit", "messy.csv", *law)
    assert code == 0
    for sentence in ("of runs that did not finish: 4 (4 running)", "column eval/regret is used as regret"):
        assert sentence in messy
    assert (
        messy[messy.index("objective") : messy.index("report:")]
        == clean[clean.index("objective") : clean.index("report:")]
    )


def test_fit_leaves_copies_and_earlier_rows_out_and_computes_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [(run, step, 6 * n * k, k, s, v) for run, step, n, k, s, v in STEPS]
    write(tmp_path, "logs.csv", text(head=("run", "step", "C", "N", "seed", "loss"), rows=rows + rows[:6]))
    law = ("--law", "loss = E + B D^-b", "--columns", "D=C/(6*N)", "--draws", 0)
    code, shown = run(capsys, "fit", "logs.csv", *law)
    assert code == 0
    assert "20 runs of 5 configurations" in shown
    assert "copies of another row (run, D, seed and loss alike): 6" in shown
    assert "of a run that has a later one: 40" in shown
    assert "60 runs of 5 configurations" in run(capsys, "fit", "logs.csv", *law, "--per-run", "all")[1]
    write(tmp_path, "bad.csv", bad(4, "n", "abc").replace("regret", "loss"))
    code, shown = run(capsys, "fit", "bad.csv", "--law", "loss = E + A n^-a")
    assert code == 2
    assert "column n: 1 of 20 cells is not a number, first 'abc' in line 6" in shown

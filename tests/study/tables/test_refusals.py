"""Tables that are not understood: each is refused by file, column, line and text, in one line."""

import gzip

import pytest

from jepa_scale.runs.errors import UserError
from jepa_scale.studies.advising import table_of
from tests.study.tables.test_kinds import RUNS, bad, column, comma, grouped, text, wandb, write

PANEL = "Step,a - eval/regret,a - eval/regret__MIN,a - eval/regret__MAX\n0,0.4,0.4,0.4\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", "has no rows: expected one row for each run"),
        ("blank.csv", "\n \n", "has no rows"),
        ("header.csv", "n,k,regret\n", "has no rows"),
        ("empty.json", "[]", "has no rows"),
        ("twice.csv", "n, n,k,regret\n1,2,3,4\n", "several columns named n: rename all but one"),
        ("ragged.csv", text() + "a,300,4\n", "line 22 has 3 cells, the header has 5"),
        ("decimals.csv", text(comma), "are there decimal commas?"),
        ("word.csv", bad(4, "n", "abc"), "column n: 1 of 20 cells is not a number, first 'abc' in line 6"),
        ("words.csv", column("n", lambda n: f"about {n} or so"), "column n: 20 of 20 cells are not numbers, first"),
        ("huge.csv", bad(2, "n", "1e400"), "column n: 1 of 20 cells is not a number, first '1e400' in line 4"),
        ("long.csv", bad(2, "k", "x" * 200), f"first '{'x' * 40} …' in line 4"),
        ("long_digits.csv", bad(2, "k", "1" * 5000), f"first '{'1' * 40} …' in line 4"),
        ("money.csv", column("n", lambda n: f"${n}"), "column n: 20 of 20 cells are not numbers, first '$300'"),
        (
            "mixed.csv", bad(3, "regret", "41%"),
            "column regret: 1 of 20 cells is not a number, beside cells with and without %, first '41%' in line 5",
        ),
        ("prefixes.csv", column("k", lambda k: f"{'dk'[k > 9]}={k}"), "column k: 20 of 20 cells are not numbers"),
        ("gaps.csv", bad(5, "n", "1 00"), "column n: 1 of 20 cells is not a number, first '1 00' in line 7"),
        ("quote.csv", '"' + text(), "expected a header in one line, got a quote"),
        ("nul.csv", text() + "a,3\0,4,1,1\n", "got a NUL byte in line 22"),
        ("utf16.csv", text().encode("utf-16-le"), "UTF-16 without a byte order mark: save it as UTF-8"),
        ("utf16be.csv", text().encode("utf-16-be"), "UTF-16 without a byte order mark: save it as UTF-8"),
        ("latin.csv", "größe,n,k,regret\n1,2,3,4\n".encode("latin-1"), "expected a table of text in UTF-8"),
        ("torn.csv.gz", gzip.compress(text().encode(), mtime=0)[:40], "expected a table packed by gzip"),
        ("panel.csv", PANEL, "got the export of a W&B panel (column 'a - eval/regret__MIN')"),
        ("panel.csv", "Step,a - x,b - x\n0,1,1\n", "choose Export CSV there"),
        ("either.csv", "n,k,regret\nx.n", "line 2 has 1 cells"),
        ("several.csv", "a.n,b.n,k,regret\n1,2,3,0.4\n", "'n' may be any of the columns a.n, b.n"),
        ("percent.csv", column("regret", lambda r: f"{100 * r}"), "give --columns 'regret=0.01*regret'"),
        ("list.jsonl", '{"n": [3], "k": 4, "regret": 0.3}', "column n: 1 of 1 cells is not a number, first '[3]'"),
        ("array.json", "[1, 2]", "got int in element 1"),
        ("crashed.csv", wandb("crashed"), "expected finished runs, got none (20 crashed by column State)"),
        (
            "thousands.csv", text(comma, delimiter=";", rows=[(a, grouped(",")(n), *b) for a, n, *b in RUNS]),
            "column n: '1,000' in line 6 may have a decimal mark or separate thousands",
        ),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_column_line_and_text(name, content, message, tmp_path):
    with pytest.raises(UserError) as refused:
        table_of(write(tmp_path, name, content), {})
    assert message in str(refused.value)
    assert name in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_decimal_comma_with_three_digits_is_one_in_a_file_with_decimal_commas(tmp_path):
    rows = [(run, n, k, seed, f"{regret:.3f}") for run, n, k, seed, regret in RUNS]
    rows[0] = (*rows[0][:4], "1,234")
    path = write(tmp_path, "table.csv", text(comma, delimiter=";", rows=[tuple(map(comma, row)) for row in rows]))
    with pytest.raises(UserError, match=r"got 0\.186 to 1\.234"):
        table_of(path, {})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1-", "--columns regret=1-: expected columns and numbers with"),
        ("(1-k", "got 'the end'"),
        ("1-width", "has no column 'width'"),
        ("__import__('os')", "has no column '__import__'"),
        ("(" * 99 + "k" + ")" * 99, "at most 30 levels"),
        ("k" + "*k" * 999, "at most 1000 letters"),
    ],
)
def test_expressions_that_are_none_say_where(source, message, tmp_path):
    with pytest.raises(UserError) as refused:
        table_of(write(tmp_path, "table.csv", text()), {"regret": source})
    assert message in str(refused.value)

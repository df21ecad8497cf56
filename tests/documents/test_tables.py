"""Tables of the documentation are means ± standard errors of the right rows."""

import pytest
import yaml

import tests.documents.pages  # noqa: F401, so that the site's modules are found

tables = pytest.importorskip("tables")
PLANTED = {
    "n": [100, 100, 1000, 1000, 100, 100, 1000, 1000],
    "k": [2, 2, 2, 2, 4, 4, 4, 4],
    "arm": [*["objective=a, world.noise=0.5"] * 4, *["objective=b, world.noise=1"] * 4],
    "status": ["finished"] * 6 + ["diverged"] * 2,
    "regret": [0.1, 0.3, 0.0, 0.0, -0.0001, -0.0002, None, None],
    "before": [0.2, 0.4, 0.5, 0.5, 0.0, 0.0, None, None],
}


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setattr(tables, "read_table", lambda name: PLANTED)


def rows(**settings):
    lines = tables.pivot({"from": "planted", **settings}).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]


def test_cells_are_means_with_standard_errors():
    found = rows(rows="n", columns="k", value="regret", digits=2)
    assert found[0] == ["n", "k\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}2", "k\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}4"]
    assert found[1] == ["100", "0.20 ± 0.10", "> −0.01"]
    assert found[2] == ["1\N{NARROW NO-BREAK SPACE}000", "0", "diverged (2 of 2)"]


def test_differences_filters_names_and_bold():
    found = rows(rows="n", columns="k", value="regret - before", where={"k": 2}, digits=1, errors=False, best="min")
    assert [row[1] for row in found[1:]] == ["−0.1", "−0.5"]
    assert rows(rows="k", columns="n", only=[100], value="before", digits=1, errors=False)[1:] == [
        ["2", "0.3"],
        ["4", "0"],
    ]
    found = rows(rows="k", columns="n", value="before", digits=1, errors=False, best="min", names={"k": "width"})
    assert found[0][0] == "width"
    assert found[1] == ["2", "**0.3**", "0.5"]


def test_settings_of_arms_are_columns(monkeypatch):
    monkeypatch.undo()
    data = tables.read_table("persistence")
    assert set(data["world.persistence"]) == {0.0, 0.6, 1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"values": "regret"}, "unknown keys"), ({"rows": "m"}, "no column m; expected some of")],
)
def test_a_wrong_block_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        rows(**{"rows": "n", "value": "regret", **settings})


def test_blocks_of_a_page_are_replaced_by_their_tables():
    page = (
        "Before.\n\n```table\n" + yaml.safe_dump({"from": "planted", "rows": "k", "value": "before"}) + "```\n\nAfter."
    )
    made = tables.expand(page)
    assert made.startswith('Before.\n\n<div class="numbers" markdown>')
    assert "```" not in made
    assert "| 2 | 0.400 ± 0.071 |" in made

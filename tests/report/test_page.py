"""The page: whole, offline, escaped, and the same for the same result."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from jepa_scale.report.figures import PLOTS
from jepa_scale.report.html import write_report
from jepa_scale.report.parts.reproduce import flatten
from tests.report.planted import SIZES, WIDTHS, empty_table, study_result

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced and collects what a browser would act on."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_report(study_result(name="<script>alert('x')</script> & co"), folder)
    return folder


@pytest.fixture(scope="module")
def content(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_page_is_balanced_and_its_ids_are_unique(content):
    page = Page(content)
    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)


def test_page_needs_nothing_from_outside(content):
    """Links lead to its own sections, or to a figure's file for who wants one; nothing is loaded."""
    page = Page(content)
    assert all(re.fullmatch(r"#.*|figures/\w+\.(png|svg)", link) for link in page.links)
    assert not {"link", "iframe", "img", "object"} & page.tags
    assert not re.search(r"<(script|use|image)[^>]* (src|xlink:href)=", content)
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|sendBeacon|import)\(", content)
    assert "@import" not in content
    assert not re.findall(r"url\((?!#)", content)


def test_links_lead_somewhere(folder, content):
    page = Page(content)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert all((folder / link).is_file() for link in page.links if not link.startswith("#"))


def test_names_from_outside_are_escaped(content):
    assert "<script>alert" not in content
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt; &amp; co" in content


def test_no_bare_angle_bracket_is_left(content):
    own = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", content, flags=re.DOTALL)
    assert not re.search(r"<(?![a-zA-Z/!])", own)


def test_every_figure_is_on_the_page_with_a_file_beside_it(folder, content):
    every = [plot for plot in PLOTS if not plot.missing(study_result())]
    # The first two are for what is not known exactly, the last for dials beside n and k.
    absent = ["spectrum_edge", "seen_by_width", "dials"]
    assert [plot.name for plot in PLOTS if plot not in every] == absent
    assert content.count('aria-label="Chart') == len(every)
    for plot in every:
        png = (folder / "figures" / f"{plot.name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
        root = ElementTree.parse(folder / "figures" / f"{plot.name}.svg").getroot()
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "pick:" not in (folder / "figures" / f"{plot.name}.svg").read_text()
        assert f'href="figures/{plot.name}.png"' in content
        assert f'href="figures/{plot.name}.svg"' in content
    drawn = sorted(path.name for path in (folder / "figures").iterdir())
    assert drawn == sorted(f"{plot.name}.{ending}" for plot in every for ending in ("png", "svg"))


def test_no_temporary_file_is_left(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["figures", "report.html"]


def test_page_is_small(content):
    assert len(content.encode()) < 2_000_000


def test_bounds_of_one_or_more_are_called_vacuous(content):
    assert re.search(r"<td>vacuous \(5\.\d+\) to vacuous \(1\d\d\)</td>", content)


def test_tables_hold_the_planted_numbers(content):
    assert "the interval does not contain the theory&#x27;s value" in content
    assert "89 of 90" in content or "89 of 91" in content
    assert "not identified: 3 cells for 2 free parameters" in content
    assert "run 0123456789ab (n = 100000, k = 64, seed 0): not run yet" in content
    assert "training loss 1e+05 at step 300" in content


def test_equal_results_give_equal_files(folder, tmp_path):
    write_report(study_result(name="<script>alert('x')</script> & co"), tmp_path)
    for path in (path for path in folder.rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()


ALL = tuple((n, k, seed) for n in SIZES for k in WIDTHS for seed in (0, 1, 2))


@pytest.mark.parametrize(
    "result",
    [
        study_result(
            table=empty_table(),
            records={},
            histories={},
            fits=(),
            forecasts=(),
            held_out_n=None,
            settings={},
            budget=None,
            tuning=None,
        ),
        study_result(diverged=ALL, fits=(), forecasts=()),
        study_result(seeds=(0,), fits=(), forecasts=(), held_out_n=None, histories={}, records={}, unfinished=()),
    ],
    ids=["empty", "all_diverged", "one_seed_table_only"],
)
def test_missing_pieces_are_sentences(result, tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "forecast.png").write_bytes(b"of an earlier state")
    content = write_report(result, tmp_path).read_text(encoding="utf-8")
    assert Page(content).open == []
    assert "Not drawn: " in content
    assert not (tmp_path / "figures" / "forecast.png").exists()
    assert not re.search(r"\bnan\b", content, flags=re.IGNORECASE)


def test_settings_are_flattened():
    assert flatten({"world": {"side": 5, "walls": {}}, "seed": 0}) == [
        ("world.side", "5"),
        ("world.walls", "{}"),
        ("seed", "0"),
    ]


def test_a_report_needs_no_training_library():
    code = "import sys, jepa_scale.report.html\n"
    code += "print({'torch', 'lightning', 'optuna', 'hydra', 'matplotlib.pyplot'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_points_of_an_epoch_name_the_run_that_they_are_of(content):
    result = study_result()
    figure = content[content.index('id="figure-epochs"') :]
    figure = figure[: figure.index("</svg>")]
    rows = [int(row) for row in re.findall(r'class="pt" data-p="r(\d+)"', figure)]
    assert set(rows) == {row for row in rows if result.table["n"][row] == 3000}
    assert len({int(result.table["k"][row]) for row in rows}) == 3
    assert len({int(result.table["seed"][row]) for row in rows}) == 1
    assert len(set(Counter(rows).values())) == 1, "as many for each run"

"""The page in a real browser: on a phone, in the dark, on paper, for everybody, and whatever it is made from."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.records import Arm, Finding, RunTable
from jepa_scale.report.compare import write_comparison
from jepa_scale.report.html import write_report
from jepa_scale.report.page.palette import GRAPHIC_CONTRAST, TEXT_CONTRAST, contrast
from tests.report.browsing import point_at, rows, shown, unfold
from tests.report.planted import SIZES, WIDTHS, many_runs, sampled_result, study_result

pytestmark = pytest.mark.browser

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=1>\"'&$x^{ -->"
ALL = tuple((n, k, seed) for n in SIZES for k in WIDTHS for seed in (0, 1, 2))


def evil_result(**changes):
    """The planted study, with markup in every text that comes from outside."""
    result = study_result()
    data = result.table
    columns = {
        **data.columns,
        "reason": np.array([EVIL if reason else "" for reason in data["reason"]]),
        "arm": np.array([EVIL] * len(data)),
    }
    evil = Finding("no_cell_left", EVIL, {"first": EVIL})
    fits = tuple(replace(fit, warnings=(evil,), reason=fit.reason and evil) for fit in result.fits)
    return replace(
        result,
        name=EVIL,
        question=EVIL,
        table=RunTable(columns),
        unfinished=(EVIL,),
        settings={EVIL: EVIL},
        fits=fits,
        tuning=replace(result.tuning, key=EVIL),
        **changes,
    )


def with_arms(label="objective=@"):
    """A study of two arms, the second with twice the regret."""
    arms = []
    for name, factor in (("spectral", 1.0), ("vicreg", 2.0)):
        one, said = study_result(unfinished=()), label.replace("@", name)
        columns = {
            **one.table.columns,
            "arm": np.array([said] * len(one.table)),
            "regret": np.minimum(one.table["regret"] * factor, 1),
        }
        records = {
            key: replace(record, final={"regret/density": float(regret)})
            for (key, record), regret in zip(one.records.items(), columns["regret"], strict=True)
        }
        result = replace(one, name=f"planted: {said}", table=RunTable(columns), records=records)
        arms.append(Arm(said, name, {"objective": said}, result))
    whole = {name: np.concatenate([arm.result.table[name] for arm in arms]) for name in RunTable.COLUMNS}
    given = [record for arm in arms for record in arm.result.records.values()]
    names = [f"{place:012d}" for place in range(len(given))]
    whole["run_id"] = np.array(names)
    records = {name: replace(record, run_id=name) for name, record in zip(names, given, strict=True)}
    nothing = {"fits": (), "forecasts": (), "advice": None, "unfinished": ()}
    return study_result(table=RunTable(whole), records=records, arms=tuple(arms), **nothing)


PAGES = {
    "planted": study_result,
    "sampled": sampled_result,
    "one_run": lambda: study_result(
        table=study_result().table.where(np.arange(90) == 40),
        fits=(),
        forecasts=(),
        advice=None,
        judged=(),
        tuning=None,
    ),
    "only_failures": lambda: study_result(diverged=ALL, fits=(), forecasts=(), advice=None, judged=()),
    "evil": evil_result,
    "arms": with_arms,
    "evil_arms": lambda: with_arms(EVIL + "@"),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    made = {}

    def page(name):
        if name not in made:
            made[name] = write_report(PAGES[name](), tmp_path_factory.mktemp(name))
        return made[name]

    return page


def accessible(tab):
    """Serious and critical violations that axe finds, with the elements."""
    from axe_playwright_python.sync_playwright import Axe

    # A dozen rows of the table of runs stand for the others, and glyphs are drawings: axe looks behind every element.
    tab.evaluate(
        """for (const one of [...[...document.querySelectorAll('#runs-table tbody tr')].slice(12),
             ...document.querySelectorAll('figure svg :is(path, defs, use:not(.pt))')]) one.remove();"""
    )
    found = Axe().run(tab).response["violations"]
    return [
        (one["id"], [node["html"][:120] for node in one["nodes"][:3]], one["nodes"][0]["failureSummary"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def keep(tab, tmp_path, name):
    """Leave a picture for who wants to look."""
    tab.screenshot(path=str(tmp_path / f"{name}.png"))


@pytest.mark.parametrize(
    ("name", "scheme"), [*((name, "light") for name in PAGES), ("planted", "dark"), ("arms", "dark")]
)
def test_nobody_is_kept_out(browsing, pages, tmp_path, name, scheme):
    with browsing.open(pages(name), color_scheme=scheme) as tab:
        keep(tab, tmp_path, f"{name}-{scheme}")
        assert accessible(tab) == []


def test_the_tooltip_and_what_is_unfolded_can_be_read_by_everybody(browsing, pages):
    with browsing.open(pages("planted"), color_scheme="dark") as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        point_at(tab, "regret_by_width", "c-1000-4")
        assert shown(tab)
        assert accessible(tab) == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overflows_a_phone(browsing, pages, tmp_path, name):
    with browsing.open(pages(name), width=360, height=740) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        keep(tab, tmp_path, f"{name}-phone")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360
        boxes = tab.evaluate(
            "[...document.querySelectorAll('.card, .wide')].map((b) => [b.getBoundingClientRect().right,"
            " b.scrollWidth > b.clientWidth + 1, b.tabIndex, getComputedStyle(b).overflowX])"
        )
        for right, scrolls, reachable, overflow in boxes:
            assert right <= 360
            assert not scrolls or (reachable == 0 and overflow == "auto")


FIGURE_COLORS = """
() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const found = [];
  for (const svg of document.querySelectorAll('figure svg')) {
    const card = rgb(getComputedStyle(svg.closest('.card')).backgroundColor);
    const add = (kind, element) => {
      const style = getComputedStyle(element);
      const ink = style.fill !== 'none' && kind !== 'outline' ? style.fill : style.stroke;
      found.push([kind, svg.closest('figure').id, rgb(ink).slice(0, 3), card.slice(0, 3)]);
    };
    svg.querySelectorAll('g[id*="-text_"] use').forEach((glyph) => add('text', glyph));
    svg.querySelectorAll('.pt').forEach((point) => add('outline', point));
  }
  return found;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_figures_write_and_mark_stands_out(browsing, pages, scheme):
    """Text is AA; every mark's outline is three to one, as the standard asks of graphics."""
    with browsing.open(pages("planted"), color_scheme=scheme) as tab:
        colors = {(kind, figure, tuple(ink), tuple(card)) for kind, figure, ink, card in tab.evaluate(FIGURE_COLORS)}
    cards = {card for _, _, _, card in colors}
    assert cards == {(255, 255, 255)} if scheme == "light" else max(max(cards)) < 64
    assert {kind for kind, _, _, _ in colors} == {"text", "outline"}
    for kind, figure, ink, card in colors:
        if len(ink) != 3:
            continue  # a small dot of one run, which has no outline
        least = TEXT_CONTRAST if kind == "text" else GRAPHIC_CONTRAST
        ratio = contrast(*(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in (map(int, ink), map(int, card))))
        # Colours are rounded to 8 bits twice on their way.
        assert ratio >= 0.97 * least, (kind, figure, ink, card)


def test_a_theme_can_be_chosen_against_the_system(browsing, pages):
    background = "getComputedStyle(document.body).backgroundColor"
    with browsing.open(pages("planted"), color_scheme="light") as tab:
        light = tab.evaluate(background)
        button = tab.locator("#theme")
        assert button.inner_text() == "Theme: auto"
        button.click()
        assert (button.inner_text(), tab.evaluate(background)) == ("Theme: light", light)
        button.click()
        assert button.inner_text() == "Theme: dark"
        assert tab.evaluate(background) != light
        tab.reload()
        assert button.inner_text() == "Theme: dark"
        tab.emulate_media(media="print")
        assert tab.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(255, 255, 255)"


def test_the_skip_link_comes_first_and_leads_to_the_content(browsing, pages):
    with browsing.open(pages("planted")) as tab:
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "skip"
        assert tab.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
        outline = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        tab.keyboard.press("Enter")
        assert tab.evaluate("document.activeElement.id") == "content"


def pdf_of(tab, path):
    """Pages of a PDF of the page, and its text without spaces."""
    pypdf = pytest.importorskip("pypdf")
    tab.pdf(path=str(path), format="A4")
    paper = pypdf.PdfReader(path).pages
    return paper, re.sub(r"\s", "", "".join(page.extract_text() for page in paper))


def test_paper_is_short_and_has_every_figure(browsing, pages, tmp_path):
    with browsing.open(pages("planted"), width=680) as tab:
        tab.emulate_media(media="print")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 680
        squeezed = tab.evaluate(
            "[...document.querySelectorAll('main :is(th, td)')].filter((cell) => cell.checkVisibility() &&"
            " cell.innerText.trim().length > 3 && cell.clientWidth < 24).map((cell) => cell.innerText)"
        )
        assert squeezed == []
        paper, text = pdf_of(tab, tmp_path / "page.pdf")
    for title in ("Regretagainstlatentwidth.", "Everyepoch.", "Boundsbesidetheregret."):
        assert title in text
    assert len(paper) <= 11


def test_paper_has_every_row_and_whatever_else_was_unfolded(browsing, pages, tmp_path):
    result = study_result()
    with browsing.open(pages("planted"), color_scheme="dark") as tab:
        tab.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
        tab.locator("#filter").fill("n=300")
        tab.emulate_media(media="print")
        fixed = tab.evaluate(
            "[...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() &&"
            " ['fixed', 'sticky'].includes(getComputedStyle(e).position)).length"
        )
        assert fixed == 0
        paper, text = pdf_of(tab, tmp_path / "page.pdf")
    for run in result.table["run_id"]:
        assert run in text, "a filter is not for paper"
    # What is folded away on a screen: a hypothesis, a checksum, a parameter.
    for said in ("T>1", "0" * 64, "Intervalsfromtheclusterbootstrap"):
        assert said in text
    assert len(paper) < 60


def test_no_table_is_cut_on_a_desktop_and_the_page_is_short(browsing, pages):
    with browsing.open(pages("planted"), width=1440) as tab:
        assert tab.evaluate("document.documentElement.scrollHeight") <= 6 * 900
        assert len(tab.evaluate("document.querySelector('main').innerText").split()) <= 2500
        tab.evaluate("document.querySelectorAll('details').forEach((box) => { box.open = true; })")
        cut = "[...document.querySelectorAll('.wide')].filter((b) => b.scrollWidth > b.clientWidth + 1).length"
        assert tab.evaluate(cut) == 0
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1440


def test_a_table_that_scrolls_on_a_phone_says_so_and_keeps_its_first_column(browsing, pages):
    with browsing.open(pages("planted"), width=390, height=844) as tab:
        box = tab.locator("#u-turn .wide").first
        box.scroll_into_view_if_needed()
        fades = "(box) => getComputedStyle(box).maskImage !== 'none'"
        assert box.evaluate(fades)
        left = "(box) => box.querySelector('tbody th').getBoundingClientRect().left - box.getBoundingClientRect().left"
        assert box.evaluate(left) == pytest.approx(0, abs=1)
        box.evaluate("(box) => { box.scrollLeft = box.scrollWidth; }")
        tab.wait_for_function("() => !document.querySelector('#u-turn .wide').classList.contains('more')")
        assert box.evaluate(left) == pytest.approx(0, abs=1)
        assert not box.evaluate(fades)


def test_a_drawing_is_named_without_repeating_its_caption(browsing, pages):
    with browsing.open(pages("planted")) as tab:
        labels = "[...document.querySelectorAll('figure')].map((one) => [one.querySelector('svg')?.ariaLabel ?? '',"
        for label, caption in tab.evaluate(labels + " one.querySelector('figcaption').textContent])"):
            assert label not in caption or not label
            assert len(label) < 80


def test_markup_from_outside_is_text_everywhere(browsing, pages):
    with browsing.open(pages("evil")) as tab:
        assert tab.evaluate("window.hacked") is None
        assert tab.locator("img").count() == 0
        assert tab.locator("h1").inner_text() == EVIL
        assert tab.evaluate("document.title") == EVIL
        point_at(tab, "regret_by_size", "r40")
        assert shown(tab)[1] == EVIL
        unfold(tab)
        tab.locator("#filter").fill("window.hacked")
        assert len(rows(tab)) == 90
        with tab.expect_download() as download:
            tab.locator("#csv").click()
        assert b"window.hacked" in download.value.path().read_bytes()
        assert tab.evaluate("window.hacked") is None


def test_arms_are_asked_by_their_cells(browsing, pages):
    with browsing.open(pages("arms")) as tab:
        point_at(tab, "arms", "c1-300-4")
        assert shown(tab)[:2] == ["n = 300, k = 4", "objective=vicreg"]
        tab.mouse.down()
        tab.mouse.up()
        table = with_arms().table
        mask = (table["n"] == 300) & (table["k"] == 4) & (table["arm"] == "objective=vicreg")
        assert rows(tab) == np.flatnonzero(mask).tolist()


def test_arms_of_any_name_are_found_again(browsing, pages):
    with browsing.open(pages("evil_arms")) as tab:
        point_at(tab, "arms", "c0-300-4")
        assert shown(tab)[1] == EVIL + "spectral"
        tab.mouse.down()
        tab.mouse.up()
        assert len(rows(tab)) == 3
        assert tab.evaluate("window.hacked") is None


def test_studies_are_compared_on_one_page(browsing, tmp_path):
    studies = {tmp_path / "a": study_result(), tmp_path / "b": evil_result(), tmp_path / "c": sampled_result()}
    write_report(studies[tmp_path / "a"], tmp_path / "a")
    page = write_comparison(studies, tmp_path / "reports" / "compare.html")
    for scheme, width in (("light", 1200), ("dark", 360)):
        with browsing.open(page, color_scheme=scheme, width=width) as tab:
            keep(tab, tmp_path, f"compare-{scheme}")
            assert tab.evaluate("window.hacked") is None
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert accessible(tab) == []
            # Six widths at the largest n and five sizes for each of three studies.
            assert tab.locator("#figure-compare .pt").count() == 3 * (6 + 5)
            point_at(tab, "compare", "c0-30000-1")
            assert shown(tab)[0] == "n = 30\u202f000, k = 1"
            assert "planted-nuisance" in shown(tab)[1]
            assert "seeds" in shown(tab)[2]
            assert tab.locator(".side .key").count() == 3


def test_thousands_of_runs_still_answer(browsing, tmp_path):
    page = write_report(many_runs(3000), tmp_path)
    with browsing.open(page) as tab:
        unfold(tab)
        assert len(rows(tab)) == 3000
        tab.locator('#runs-table th button[data-key="regret"]').click()
        values = many_runs(3000).table["regret"]
        assert rows(tab) == np.argsort(values, kind="stable").tolist()
        tab.locator("#filter").fill("seed=99")
        assert len(rows(tab)) == 30
        point_at(tab, "regret_by_width", "c-300-4")
        assert "100 seeds" in shown(tab)[1]

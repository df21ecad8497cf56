"""The site builds without a warning and without a network, and every link in it leads somewhere."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents.pages import ROOT

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """What a page of the site links to, what it loads, and where it can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.ids, self.words = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update(filter(None, (given.get("id"), given.get("name") if tag == "a" else None)))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "source") and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect") and given.get("href"):
            self.loaded.append(given["href"])

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="pip install -c constraints.txt -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    # A proxy that answers nothing: whatever asks a network fails.
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, **closed, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}


def test_links_lead_to_pages_and_anchors(site):
    assert len(site) > 40
    lost = []
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists() or (
                parts.fragment and target in site and unquote(parts.fragment) not in site[target].ids
            ):
                lost.append(f"{path.name}: {link}")
    assert lost == []


def test_pages_load_nothing_from_a_network(site):
    for path, page in site.items():
        assert [place for place in page.loaded if urlsplit(place).netloc] == [], path.name
        for place in page.loaded:
            if path.name != "404.html":
                assert (path.parent / unquote(urlsplit(place).path)).exists(), f"{path.name}: {place}"


def named(site, uri):
    (page,) = [page for path, page in site.items() if path.as_posix().endswith(f"/{uri}")]
    return page


def test_generated_pages_hold_what_the_program_declares(site):
    from jepa_scale.records import RunTable
    from jepa_scale.records.estimates import ESTIMATES

    glossary = "".join(named(site, "concepts/glossary.html").words)
    assert all(name in glossary for name in RunTable.COLUMNS)
    assert all(kind.pattern in glossary for kind in ESTIMATES)
    commands = named(site, "reference/cli.html")
    parts = {path.stem for path in (ROOT / "jepa_scale/cli/commands").glob("*.py")} - {"__init__"}
    assert parts <= commands.ids
    assert "--target-regret" in "".join(commands.words)
    options = named(site, "reference/configuration.html").ids
    assert {f"{path.parent.name}-{path.stem}" for path in (ROOT / "conf").glob("*/*.yaml")} <= options
    tables = {path.stem for path in (ROOT / "benchmarks/tables").glob("*.parquet")}
    assert tables <= named(site, "results/gallery.html").ids
    words = "".join("".join(page.words) for page in site.values())
    assert "<!-- quantities -->" not in words
    assert "from: exact_world" not in words

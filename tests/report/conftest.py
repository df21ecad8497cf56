"""A real browser for the tests that need one, and the pages that it is shown."""

from __future__ import annotations

import shutil

import pytest

from jepa_scale.report.html import write_report
from tests.report.browsing import Browsing
from tests.report.planted import many_runs, study_result


@pytest.fixture(scope="session")
def browsing():
    """Chromium, headless and without a network."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[test]'")
    found = next((path for name in Browsing.NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser ({', '.join(Browsing.NAMES)}): install the package chromium")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield Browsing(browser)
        browser.close()


@pytest.fixture(scope="session")
def planted_page(tmp_path_factory):
    """The page of the planted study."""
    return write_report(study_result(), tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def page_of_500(tmp_path_factory):
    """A page of at least 500 runs."""
    return write_report(many_runs(500), tmp_path_factory.mktemp("many"))

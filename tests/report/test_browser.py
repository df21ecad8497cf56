"""The page in a real browser, without a network."""

import re
import shutil
import subprocess

import pytest

from jepa_scale.report.html import write_report
from tests.report.planted import study_result

pytestmark = pytest.mark.browser


def test_the_page_opens_offline(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.fail("no Chromium: install the package chromium")
    page = write_report(study_result(), tmp_path)
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}",
            "--enable-logging=stderr", "--window-size=390,3000", f"--screenshot={tmp_path / 'page.png'}",
            "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    # One drawing for every figure that was also written as a file, and at least the seven that any study has.
    drawn = len(list((tmp_path / "figures").glob("*.png")))
    assert done.stdout.count("<svg") == drawn >= 7
    assert "CONSOLE" not in done.stderr, done.stderr
    assert not re.search(r"ERR_[A-Z_]+", done.stdout + done.stderr)
    assert (tmp_path / "page.png").stat().st_size > 20_000

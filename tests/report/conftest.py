"""Pages that a browser is shown."""

from __future__ import annotations

import pytest

from jepa_scale.report.html import write_report
from tests.report.planted import many_runs, study_result


@pytest.fixture(scope="session")
def planted_page(tmp_path_factory):
    """The page of the planted study."""
    return write_report(study_result(), tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="session")
def page_of_500(tmp_path_factory):
    """A page of at least 500 runs."""
    return write_report(many_runs(500), tmp_path_factory.mktemp("many"))

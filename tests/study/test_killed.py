"""A study in cohorts that is killed twice on one machine does every run, and none of them twice."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from killed import killed_twice

pytestmark = pytest.mark.slow


def test_every_run_of_a_study_that_is_killed_twice_is_done_once(tmp_path):
    counts = killed_twice(tmp_path, 80)
    assert counts.pop("lost") > 0, "the kills met runs"
    assert counts.pop("together") > 40
    assert counts == {"runs": 80, "told": 80, "told_once": 80, "rewritten": 0}

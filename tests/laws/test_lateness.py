"""When runs learnt, by hand."""

import dataclasses

import numpy as np
import pytest

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.lateness import expected_share, late_shares, learns_late
from jepa_scale.studies.advising import filled_table

ROWS = {
    "n": [300, 300, 1000, 1000, 1000, 3000, 3000],
    "k": [4, 8, 4, 8, 8, 4, 8],
    "seed": [0, 0, 0, 0, 1, 0, 0],
    "regret": [0.4, 0.3, 0.3, 0.1, 0.1, 0.2, 0.1],
    "regret_halfway": [0.4, 0.5, 0.25, 0.3, 0.2, 0.3, 0.38],
    "regret_random": [0.41, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5],
}


def cells(**changed):
    columns = {name: np.array(values) for name, values in {**ROWS, **changed}.items() if values is not None}
    status = np.full(len(columns["n"]), "finished")
    return cells_from_table(filled_table({**columns, "status": status}), "regret", np.inf)


def test_shares_are_of_what_was_learnt_and_means_over_seeds():
    #        (300, 4): learnt 0.01 of 0.41; (300, 8); (1000, 4): rose; (1000, 8): two seeds; (3000, 4); (3000, 8)
    expected = [np.nan, 1.0, -0.25, 0.15 / 0.4, 1 / 3, 0.28 / 0.4]
    np.testing.assert_allclose(late_shares(cells()), expected)


def test_the_best_width_at_the_largest_n_is_told():
    finding = learns_late(cells())
    assert (finding.code, finding.subject, finding.values["n"]) == ("learns_late", "k = 8", 3000)
    assert finding.values["share"] == pytest.approx(0.7)
    assert "70%" in str(finding) or "70 %" in str(finding)
    assert learns_late(cells(regret_halfway=[0.4, 0.5, 0.25, 0.3, 0.2, 0.5, 0.2])) is None


@pytest.mark.parametrize("missing", ["regret_halfway", "regret_random"])
def test_where_epochs_or_the_floor_are_not_known_nothing_is(missing):
    found = cells(**{missing: None})
    assert np.isnan(late_shares(found)).all()
    assert learns_late(found) is None


def test_another_target_was_not_followed_over_epochs():
    assert np.isnan(late_shares(dataclasses.replace(cells(), target="risk"))).all()


def test_half_of_the_last_change_is_expected_again():
    # The first size has no change; shares below 0 and above 1.3 are noise; after an unknown one no change is known.
    shares = expected_share(np.array([0.2, 0.6, -0.3, 1.5, np.nan, 0.4]))
    np.testing.assert_allclose(shares, [0.2, 0.8, 0.0, 1.3, np.nan, 0.4])

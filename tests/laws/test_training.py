"""When a study is untrained or barely trained, at the limits."""

import numpy as np
import pytest

from jepa_scale.laws.cells import cells_from_table
from jepa_scale.laws.training import trouble_of
from jepa_scale.studies.advising import filled_table


def cells(*regrets):
    """One cell for each pair of runs, at k = 2, 4, …"""
    k = np.repeat(2.0 ** np.arange(1, len(regrets) + 1), 2)
    table = {
        "n": np.full(len(k), 300.0),
        "k": k,
        "regret": np.ravel(regrets),
        "seed": np.tile([0.0, 1.0], len(regrets)),
    }
    return cells_from_table(filled_table({**table, "status": np.full(len(k), "finished")}), "regret", np.inf)


@pytest.mark.parametrize(
    ("regrets", "code"),
    [
        ([(0.399, 0.401), (0.4, 0.402)], "untrained"),
        # 4 % of what random plans lose is removed, beyond chance; 6 %; 4 %, no more than the runs scatter.
        ([(0.3839, 0.3841), (0.3999, 0.4001)], "barely_trained"),
        ([(0.3759, 0.3761), (0.3999, 0.4001)], None),
        ([(0.34, 0.428), (0.36, 0.44)], "untrained"),
    ],
)
def test_what_is_removed_is_held_against_chance_and_a_share(regrets, code):
    found = trouble_of(cells(*regrets), {"random plans": 0.4}, "regret")
    assert (found and found.code) == code
    assert found is None or (found.subject, found.values["floor"]) == ("random plans", 0.4)


def test_the_first_way_to_know_nothing_that_is_not_beaten_is_named():
    better = cells((0.2999, 0.3001))
    found = trouble_of(better, {"random plans": 0.4, "doing nothing": 0.3}, "regret")
    assert (found.code, found.subject) == ("untrained", "doing nothing")
    assert trouble_of(better, {"random plans": 0.4}, "regret") is None
    assert trouble_of(better, {}, "regret") is None

"""Answers for recordings whose gain is known."""

import json

import numpy as np
import pytest

from jepa_scale.data.enough import answer as answer_module
from jepa_scale.data.enough import ladder
from jepa_scale.data.enough.answer import Check, Status, enough
from jepa_scale.data.enough.forecast import Interval
from jepa_scale.records import ActionSpace, Episodes
from jepa_scale.report.recording.enough import enough_lines
from tests.data.recorded import episodes


def folded(generator, count, length=20):
    """x⁺ = sin(W (x, a)): the more of it is seen, the better it is predicted."""
    weights = np.random.default_rng(3).normal(size=(4, 5)) * 1.6
    seen = np.empty((count, length, 4))
    actions = generator.uniform(-1, 1, (count, length, 1))
    seen[:, 0] = generator.uniform(-1, 1, (count, 4))
    for t in range(length - 1):
        seen[:, t + 1] = np.sin(np.concatenate([seen[:, t], actions[:, t]], axis=1) @ weights.T)
    usable = np.tile(np.arange(length) < length - 1, count)
    rows = count * length
    return Episodes(
        seen.reshape(rows, 4).astype(np.float32), actions.reshape(rows, 1).astype(np.float32),
        np.full(count, length), usable, ActionSpace(size=1),
    )  # fmt: skip


def test_a_random_walk_is_learned_from_little(generator):
    found = enough(episodes(generator, [12] * 320, noise=0.5))
    assert found.status is Status.ENOUGH
    assert found.deciding.doubling.high < 0.05
    assert enough_lines(found)[0].startswith("ENOUGH for the reference learner: twice the data, n = ")


def test_a_folded_map_is_not(generator, monkeypatch):
    monkeypatch.setattr(ladder, "_LEARNERS", ((3.0, (512,)),))
    found = enough(folded(generator, 60))
    assert found.status is Status.MORE_HELPS
    later = enough(folded(np.random.default_rng(1), 120))
    curve = found.curves[0]
    gained = 1 - later.curves[0].ladder.means[-1] / curve.ladder.means[-1]
    assert curve.doubling.low - 0.05 < gained < curve.doubling.high + 0.05
    assert enough_lines(found)[0].startswith("MORE DATA HELPS: ")


def test_no_error_to_speak_of_is_enough(generator):
    found = enough(episodes(generator, [12] * 40))
    assert found.status is Status.ENOUGH
    assert found.curves[0].ladder.means[-1] < 1e-3


def test_nothing_predicted_is_no_answer(generator):
    found = enough(episodes(generator, [12] * 160, noise=30.0))
    assert found.status is Status.NOTHING
    assert enough_lines(found)[0].startswith("NOTHING IS PREDICTED: ")


@pytest.mark.parametrize(
    ("worth", "measured", "status"),
    [
        (0.02, 0.45, Status.ENOUGH),
        (0.02, 0.30, Status.CANNOT_TELL),  # fell faster than was forecast
        (0.02, 0.60, Status.ENOUGH),
        (0.98, 0.45, Status.MORE_HELPS),
        (0.98, 0.60, Status.CANNOT_TELL),  # fell more slowly
        (0.98, 0.30, Status.MORE_HELPS),
        (0.5, 0.45, Status.CANNOT_TELL),
    ],
)
def test_a_missed_check_speaks_against_the_answer(generator, worth, measured, status):
    found = ladder.measure(episodes(generator, [12] * 40, noise=0.5), 1)
    check = Check(1000.0, Interval(0.45, 0.4, 0.5), measured, 0.5)
    assert check.held == (0.4 <= measured <= 0.5)
    assert answer_module._status(found, worth, check) is status


def test_json_holds_the_curve(generator):
    content = json.loads(json.dumps(enough(episodes(generator, [12] * 40, noise=0.5)).to_dict(), allow_nan=False))
    ladder = content["curves"][0]["ladder"]
    assert len(ladder["n"]) == len(ladder["mean"]) == len(ladder["standard_error"])
    assert content["status"] in ("enough", "cannot tell", "more data helps")


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_shares_are_refused(generator, share):
    with pytest.raises(ValueError, match="above 0 and below 1"):
        enough(episodes(generator, [12] * 40), share)

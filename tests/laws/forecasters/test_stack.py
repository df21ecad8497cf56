"""The stack: weights against a search, intervals against planted misses, and what the library says."""

import dataclasses
import json

import numpy as np
import pytest

from jepa_scale.laws.forecasters import library as libraries
from jepa_scale.laws.forecasters.averaging import least_weights
from jepa_scale.laws.forecasters.base import Fitted, Forecaster
from jepa_scale.laws.forecasters.library import Library, distance_class, from_dict, shipped, situation
from jepa_scale.laws.forecasters.parametric import DoseResponse, SumLaw
from jepa_scale.laws.forecasters.simple import NoChange, PowerLaw
from jepa_scale.laws.forecasters.stack import (
    Stack,
    default_members,
    misses,
    stretched,
    weighted_quantile,
)
from jepa_scale.laws.scores import crps
from tests.laws.forecasters.test_contract import dose, seen

EMPTY = Library((), ())


@dataclasses.dataclass(frozen=True)
class Fixed(Forecaster, Fitted):
    """Says the same of every point."""

    centre: float
    sd: float

    def fit(self, cells):
        return self

    def draws(self, n, k, count, generator):
        return np.maximum(self.centre + self.sd * generator.standard_normal((count, len(n))), 0.0)


def test_the_member_that_was_right_has_the_weight():
    members = {"right": Fixed(0.2, 0.02), "wrong": Fixed(0.9, 0.02)}
    fitted = Stack(members, strength=0.01).fit_with(seen(0.2), EMPTY)
    assert fitted.shares["right"] > 0.95
    assert np.median(fitted.draws([30000.0], [8.0], 400, np.random.default_rng(0))) == pytest.approx(0.2, abs=0.02)


def test_the_library_counts_as_so_many_forecasts():
    members = {"low": Fixed(0.2, 0.02), "high": Fixed(0.9, 0.02)}
    cut = {
        "situation": [None] * 6,
        "quantiles": [[[0.2] * 8], [[0.9] * 8]],
        "observed": [0.9],
        "misses": [[], [], []],
    }
    studies = [{"name": "other", "source": "trained", "unit": 0.02, "cuts": [cut]}]
    library, own = from_dict({"members": list(members), "studies": studies}), seen(0.2)
    back = Stack(members).backtested(own, library).forecasts
    # The best member's CRPS of the back-tests is below the smallest unit.
    ratio = len(back) / 5e-3 * 0.02
    assert Stack(members, strength=0.8 * ratio).fit_with(own, library).shares["low"] > 0.9
    assert Stack(members, strength=1.25 * ratio).fit_with(own, library).shares["high"] > 0.9


def test_without_back_tests_the_library_decides():
    two_sizes = seen(dose, sizes=(300.0, 1000.0))
    fitted = Stack().fit(two_sizes)
    assert fitted.backtest.forecasts is None
    recalled = shipped().recalled(tuple(default_members()), situation(two_sizes))
    np.testing.assert_allclose(fitted.weights, least_weights(*recalled), atol=1e-3)


def test_members_that_the_library_does_not_know_share_until_they_are_tested():
    fitted = Stack({"a": Fixed(0.2, 0.02), "b": Fixed(0.9, 0.02)}).fit(seen(0.2, sizes=(300.0, 1000.0)))
    np.testing.assert_allclose(fitted.weights, 0.5, atol=1e-3)


def test_intervals_that_missed_are_widened_and_the_middle_stays():
    # Every cell at .5 and a member at .45 ± .02: it misses by .05, half-widths are 1.645 · .02, of 200 draws ± a tenth.
    fitted = Stack({"sure": Fixed(0.45, 0.02)}, strength=1e-6).fit_with(seen(0.5, noise=(0.003, 1e-4)), EMPTY)
    assert 1.3 < fitted.factors[0] < 2.1
    drawn = fitted.draws([30000.0], [8.0], 4000, np.random.default_rng(0))[:, 0]
    low, quarter, three, high = np.quantile(drawn, [0.05, 0.25, 0.75, 0.95])
    assert high - low == pytest.approx(fitted.factors[0] * 2 * 1.645 * 0.02, rel=0.1)
    assert three - quarter == pytest.approx(2 * 0.6745 * 0.02, rel=0.1)
    # Between the runs nothing was back-tested.
    inside = fitted.draws([2000.0], [8.0], 4000, np.random.default_rng(0))[:, 0]
    assert np.ptp(np.quantile(inside, [0.05, 0.95])) == pytest.approx(2 * 1.645 * 0.02, rel=0.1)


def test_stretching_keeps_order_and_does_nothing_by_one(generator):
    draws = generator.random((200, 2))
    np.testing.assert_allclose(stretched(draws, np.ones(2)), draws)
    wide = stretched(draws, np.array([3.0, 3.0]))
    assert (np.argsort(wide[:, 0]) == np.argsort(draws[:, 0])).all() or (wide == 0).any()
    assert (wide >= 0).all()


def test_quantiles_and_misses_are_those_of_the_definition():
    assert weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 8.0, 1.0]), 0.9) == 2.0
    draws = np.linspace(0, 1, 2001)[:, None]
    assert misses(draws, np.array([0.95]))[0] == pytest.approx(1.0, abs=1e-3)
    assert misses(draws, np.array([0.275]))[0] == pytest.approx(0.5, abs=1e-3)


def test_classes_of_distance():
    assert distance_class(np.array([0.3, 0.55, 0.6, 1.05, 2.0])).tolist() == [0, 0, 1, 1, 2]


def test_situations_are_slopes_level_noise_and_how_clear_the_last_change_was():
    # Log odds fall by 1.2 for each unit of ln n, far from both ends.
    cells = seen(dose, sizes=(2000.0, 3000.0, 4500.0), widths=(8.0,))
    slope, before, level, noise, clear, late = situation(cells)
    assert slope == pytest.approx(-1.2, abs=0.15)
    assert before == pytest.approx(-1.2, abs=0.15)
    assert level == pytest.approx(-1.2 * (np.log(4500) - 8.0 - 0.2 * np.log(8)), abs=0.1)
    assert noise < 0
    error = np.hypot(*cells.deviation(cells.mean[-2:], cells.seeds[-2:]))
    assert clear == pytest.approx(np.log(min(abs(cells.mean[-1] - cells.mean[-2]) / error, 10) + 0.3))
    assert np.isnan(late), "nobody knows when its runs learnt"
    known = dataclasses.replace(cells, late=np.array([0.0, 0.2, 0.4]))
    assert situation(known)[-1] == pytest.approx(0.5), "0.4, and half of the last change"
    assert np.isnan(situation(seen(dose, sizes=(300.0,)))[[0, 4]]).all()
    assert situation(seen(0.6))[4] == pytest.approx(np.log(0.3)), "nothing has changed"


def test_the_shipped_library_is_of_these_members_and_has_both_halves():
    path = libraries.files("jepa_scale.laws.forecasters").joinpath("library.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["members"] == list(default_members())
    now = {name: json.loads(json.dumps(dataclasses.asdict(member))) for name, member in default_members().items()}
    assert content["settings"] == now, "run benchmarks/library.py: a member's settings have changed"
    sources = [study["source"] for study in content["studies"]]
    assert sources.count("trained") >= 12
    assert sources.count("exact") >= 48


def test_a_study_can_be_left_out_and_networks_have_two_thirds():
    names = {cut.study for cut in shipped().cuts}
    assert "quickstart" in names
    assert "quickstart" not in {cut.study for cut in shipped().without("quickstart").cuts}
    assert "library torus" not in {cut.study for cut in shipped().without("torus").cuts}
    assert Stack().forgetting("torus").without == "torus"
    assert NoChange().forgetting("torus") == NoChange()
    exact = sum(cut.weight for cut in shipped().cuts if cut.study.startswith("exact "))
    assert exact == pytest.approx(sum(cut.weight for cut in shipped().cuts) / 3)


def test_what_looks_alike_counts_more():
    def cut(situation, right):
        quantiles = [[[0.2 if name == right else 0.9] * 8] for name in ("x", "y")]
        return {"situation": situation, "quantiles": quantiles, "observed": [0.2], "misses": [[], [], []]}

    here, there = [-1.0, -1.0, 0.0, -3.0, 1.0, 0.0], [0.0, 0.0, 3.0, -3.0, -1.0, None]
    studies = [
        {"name": str(number), "source": "exact", "unit": 0.05, "cuts": [part]}
        for number, part in enumerate((cut(here, "x"), cut(there, "y")))
    ]
    made = from_dict({"members": ["x", "y"], "studies": studies})
    assert least_weights(*made.recalled(("x", "y"), np.array(here, float)))[0] > 0.95
    assert least_weights(*made.recalled(("y", "x"), np.array(there, float)))[0] > 0.95, "members by name, in any order"
    (first, second), weights = made.recalled(("x", "y"), np.full(6, np.nan))
    assert weights == pytest.approx([10.0, 10.0]), "where nothing is known all are alike, in units of 0.05"
    assert first.scores[0, 0] == second.scores[1, 0] == pytest.approx(0.0, abs=1e-12)
    assert made.recalled(("x", "z"), np.zeros(6)) == ([], [])


def test_a_flat_study_is_left_as_it_is_and_a_falling_one_is_not():
    at = ([100_000.0, 100_000.0], [8.0, 32.0])
    flat = Stack().fit(seen(0.6, noise=(0.01, 0.01))).draws(*at, 2000, np.random.default_rng(0))
    assert np.abs(flat - 0.6).mean() < 0.03
    truth = dose(*map(np.array, at))
    falling = Stack().fit(seen(dose)).draws(*at, 2000, np.random.default_rng(0))
    simple = NoChange().fit(seen(dose)).draws(*map(np.array, at), 2000, np.random.default_rng(0))
    assert crps(falling, truth).mean() < 0.5 * crps(simple, truth).mean()


@pytest.mark.parametrize(
    ("family", "theta"),
    [(DoseResponse(), (0.1, 2.5, 0.2, 0.05, -6.0, -1.0)), (SumLaw(), (-4.0, 2.0, 0.6, -0.1, 0.0))],
    ids=["dose_response", "sum_law"],
)
def test_a_family_forecasts_its_own_curves(family, theta):
    place = np.log(np.array([2.0, 8.0, 32.0])).mean()

    def own(n, k):
        return family.level(np.array([theta]), np.log(np.asarray(n) / 300.0), np.log(np.asarray(k)) - place)[0]

    cells, at = seen(own, noise=(0.003, 0.01)), (np.array([30000.0, 100_000.0]), np.array([8.0, 32.0]))
    drawn = family.fit(cells).draws(*at, 1000, np.random.default_rng(0))
    power = PowerLaw().fit(cells).draws(*at, 1000, np.random.default_rng(0))
    assert crps(drawn, own(*at)).mean() < crps(power, own(*at)).mean()
    np.testing.assert_allclose(np.median(drawn, axis=0), own(*at), atol=0.03)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="expected members and a strength above 0"):
        Stack({})
    with pytest.raises(ValueError, match="expected members and a strength above 0"):
        Stack(strength=0.0)
    with pytest.raises(ValueError, match="as many spreads above 0"):
        DoseResponse(spread=(1.0,))

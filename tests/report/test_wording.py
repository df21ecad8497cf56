"""Numbers in words."""

from __future__ import annotations

import pytest

from jepa_scale.report.summary import Difference
from jepa_scale.report.wording import bound, difference, duration, number, probability, whole, with_error


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (3e-17, "0"),
        (0.44, "0.44"),
        (1.0, "1"),
        (-0.0123, "−0.0123"),
        (12345.0, "12\u202f345"),
        (1.5e-6, "1.50·10⁻⁶"),
        (float("nan"), "–"),
        (None, "–"),
        (float("inf"), "∞"),
    ],
)
def test_number(value, said):
    assert number(value) == said


@pytest.mark.parametrize(
    ("mean", "error", "said"),
    [
        (0.0294, 0.00051, "0.0294 ± 0.0005"),
        (0.1697, 0.0014, "0.1697 ± 0.0014"),
        (0.0, 0.0, "0"),
        (0.3, None, "0.3"),
        (-0.00003, 0.0008, "0.0000 ± 0.0008"),
        (-0.02, 0.005, "−0.020 ± 0.005"),
    ],
)
def test_error_decides_the_digits(mean, error, said):
    assert with_error(mean, error) == said


def test_a_bound_of_one_says_nothing():
    assert [bound(0.926), bound(1.0), bound(1.3), bound(float("nan"))] == [
        "0.926",
        "vacuous (1)",
        "vacuous (1.3)",
        "vacuous (–)",
    ]


def test_difference_without_scatter():
    assert difference(Difference(0.1, None)) == "0.1 (no standard error)"
    assert difference(Difference(0.1, 0.0)) == "0.1 (the seeds do not differ at all)"
    assert difference(Difference(0.1, 0.02)) == "0.100 ± 0.020 (5.0 SE)"


def test_times_are_in_a_unit_that_can_be_read():
    said = [duration(hours) for hours in (0.0013, 0.02, 0.5, 1.6, 48.0)]
    assert said == ["4.7 s", "72 s", "30 min", "96 min", "48 h"]


def test_small_probabilities_are_not_spelled_out():
    assert [probability(1e-64), probability(0.2), probability(None)] == ["p < 0.001", "p = 0.2", "–"]


def test_thousands_are_apart():
    assert whole(30000) == "30\u202f000"

"""What a page says that a regret is taken over."""

from types import SimpleNamespace

from jepa_scale.report.wording import over


def test_a_search_is_tried_on_pairs_and_an_enumeration_everywhere():
    enumerated = SimpleNamespace(settings={"planner": {"horizon": 2}, "evaluation": {"episodes": 50}})
    assert over(enumerated) == "exact over starts and goals"
    searched = SimpleNamespace(settings={"planner": {"candidates": 64}, "evaluation": {"episodes": 50}})
    assert over(searched) == "mean over 50 pairs of start and goal, same for all models"

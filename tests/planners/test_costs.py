"""Costs of plans against the sums of their definition."""

import pytest
import torch

from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.planners.costs import CostTerms, finite
from jepa_scale.records import ActionSpace
from tests.reference.planners import cost_of_path

SPACE = ActionSpace(None, 2, -2.0, 4.0)
TERMS = [
    CostTerms(),
    CostTerms(final=0.0, path=2.0),
    CostTerms(final=0.0, path=1.0, discount=0.7),
    CostTerms(final=0.0, inner=3.0),
    CostTerms(final=1.0, effort=0.5),
    CostTerms(0.5, 1.5, 2.5, 3.5, 0.9),
]


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("terms", TERMS, ids=str)
def test_every_term_by_its_definition(terms):
    reached, goals, plans = normals(2, 3, 4, 5), normals(2, 5, seed=1), normals(2, 3, 4, 2, seed=2)
    found = terms.of_latents(reached, goals[:, None], plans, SPACE)
    settings = (terms.final, terms.path, terms.inner, terms.effort, terms.discount)
    for task in range(2):
        for candidate in range(3):
            expected = cost_of_path(
                reached[task, candidate].tolist(), goals[task].tolist(), plans[task, candidate].tolist(), *settings, 3.0
            )
            assert float(found[task, candidate]) == pytest.approx(expected, rel=1e-12)


def test_the_last_step_alone_is_enough_where_no_path_counts():
    reached, goals, plans = normals(2, 3, 4, 5), normals(2, 5, seed=1), normals(2, 3, 4, 2, seed=2)
    for terms in TERMS:
        if not terms.every_step:
            whole, last = (
                terms.of_latents(part, goals[:, None], plans, SPACE) for part in (reached, reached[..., -1:, :])
            )
            torch.testing.assert_close(whole, last)


def test_true_distances_take_the_same_weights():
    far, plans = normals(2, 3, 4).abs(), normals(2, 3, 4, 2)
    found = CostTerms(0.5, 2.0, 0.25, 1.0, 0.9).of_distances(far, plans, SPACE)
    effort = (plans / 3).square().sum((-2, -1))
    expected = 0.75 * far[..., -1] + 2 * (far * 0.9 ** torch.arange(4)).sum(-1) + effort
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(CostTerms(0, 1).of_distances(far, plans, SPACE), far.sum(-1), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"final": 0.0}, "one of final, path or inner"),
        ({"final": 0.0, "effort": 1.0}, "one of final, path or inner"),
        ({"path": -1.0}, "weights ≥ 0"),
        ({"inner": float("nan")}, "weights ≥ 0"),
        ({"discount": 0.0}, "0 < discount ≤ 1"),
        ({"discount": 1.1}, "0 < discount ≤ 1"),
        ({"finale": 1.0}, r"expected cost terms from .* got \['finale'\]"),
    ],
)
def test_bad_weights_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CostTerms.of(settings)


def test_discrete_actions_have_no_effort():
    with pytest.raises(ValueError, match=r"cost\.effort=0"):
        CostTerms(effort=1.0).of_latents(
            normals(1, 2, 3, 4), normals(1, 1, 4), torch.zeros(1, 2, 3).long(), ActionSpace(3)
        )


def test_the_share_of_costs_that_are_no_numbers():
    costs = torch.tensor([[1.0, float("nan"), 2.0, float("-inf")]])
    with pytest.raises(NotFiniteError, match=r"50\.0% of the candidates"):
        finite(costs)
    assert finite(costs[:, ::2]).tolist() == [[1.0, 2.0]]

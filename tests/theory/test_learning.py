"""The statements about samples: what is drawn, what is minimised, and how often they fail."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from jepa_scale.theory.check import draw
from jepa_scale.theory.learning import (
    DELTA,
    certified_regret,
    excess_risk,
    learned_once,
    learned_roll_out,
    minimise_empirical_risk,
)
from jepa_scale.theory.model import TabularModel, truncated_svd
from jepa_scale.theory.spectrum import exact_risk
from jepa_scale.theory.statements import statement
from jepa_scale.worlds.families import FAMILIES


def some_trial(generator, family="dirichlet", attack="noisy_svd", **changes):
    return replace(draw(generator, FAMILIES[family], attack), **changes)


def test_the_minimiser_is_never_better_than_the_best_of_its_class(generator):
    excess = []
    for _ in range(40):
        learned = minimise_empirical_risk(some_trial(generator))
        assert (learned.risk >= learned.best_risk - 1e-12).all()
        world, model = learned.case.constants.world, learned.case.model
        found = exact_risk(world, model.encoder, model.predictor, learned.case.constants.negatives)
        np.testing.assert_allclose(found, learned.risk, atol=1e-12)
        excess.append((learned.risk - learned.best_risk).max())
    assert max(excess) > 0, "with few data another model should sometimes look best"


def test_every_coordinate_is_within_kappa_and_the_class_is_finite(generator):
    for _ in range(20):
        learned = minimise_empirical_risk(some_trial(generator))
        model, kappa = learned.case.model, learned.sampling.kappa
        assert max(np.abs(model.encoder).max(), np.abs(model.predictor).max()) <= kappa
        # Massart: 8 models of k coordinates each, on half of the sample.
        half = learned.sampling.n // 2
        expected = kappa * np.sqrt(2 * np.log(8 * model.k) / half)
        assert learned.sampling.encoder_complexity == pytest.approx(expected)
        assert learned.sampling.predictor_complexity == pytest.approx(expected)


def test_an_action_that_another_model_fits_better_breaks_the_hypothesis(generator):
    """T3 is about the minimiser of each action's risk; one model for all actions need not be it."""
    found = [minimise_empirical_risk(some_trial(generator)).sampling for _ in range(60)]
    assert 0 < sum(sampling.minimises for sampling in found) < len(found)
    assert 0 < sum(sampling.holds_optimum for sampling in found) < len(found)


def test_one_action_alone_always_has_its_optimum_in_the_class(generator):
    trial = some_trial(generator, "doubly_stochastic", "svd", negatives="same_action")
    world = replace(trial.world, transition=trial.world.transition[:1], policy=np.ones(1))
    one = trial.with_parts(world, truncated_svd(world, trial.model.k))
    sampling = minimise_empirical_risk(one).sampling
    assert sampling.minimises
    assert sampling.holds_optimum


def test_the_same_seed_draws_the_same_sample(generator):
    trial = some_trial(generator)
    again = trial.with_parts(trial.world, trial.model)
    other = replace(again, seed=trial.seed + 1, _cases={})
    assert excess_risk(trial)[1] == excess_risk(again)[1]
    assert certified_regret(replace(trial, negatives="same_action", _cases={}))
    bounds = [certified_regret(replace(one, negatives="same_action", _cases={}))[0].value for one in (trial, other)]
    assert bounds[0] != bounds[1]


def test_a_certificate_needs_same_action_negatives(generator):
    assert certified_regret(some_trial(generator, negatives="pooled")) is None
    assert statement("b4").evaluate(some_trial(generator, negatives="pooled")) is None


def test_a_model_that_is_zero_everywhere_is_certified(generator):
    trial = some_trial(generator, negatives="same_action")
    nothing = TabularModel(np.zeros_like(trial.model.encoder), np.zeros_like(trial.model.predictor))
    bound, regret = certified_regret(trial.with_parts(trial.world, nothing))
    assert bound.value >= regret


@pytest.mark.parametrize("name", ["t3", "t6", "t6_published_45", "t6_many", "t6_published_46", "b4"])
def test_statements_that_may_fail_by_chance_fail_no_more_often(generator, name):
    claim, violated, met = statement(name), 0, 0
    for family, attack in itertools.product(("dirichlet", "doubly_stochastic"), ("svd", "whitened")):
        for _ in range(25):
            outcome = claim.evaluate(some_trial(generator, family, attack))
            if outcome is not None and outcome.bound.applies:
                met, violated = met + 1, violated + outcome.violated
    assert claim.allowed == DELTA
    assert met > 5
    assert violated <= 3 + DELTA * met


def test_t6_is_about_the_learned_model(generator):
    """Its regret is the minimiser's, not the trial's own model's."""
    differs = 0
    for _ in range(20):
        trial = some_trial(generator, attack="gaussian")
        outcome, learned = statement("t6").evaluate(trial), learned_once(trial)
        assert outcome.actual == learned.case.regret
        differs += learned.case.regret != trial.case("density").regret
    assert differs > 0


def test_t6_over_several_steps_rolls_a_linear_minimiser_out(generator):
    assert learned_roll_out(some_trial(generator, attack="noisy_svd")) is None
    met = 0
    for _ in range(60):
        trial = some_trial(generator, "doubly_stochastic", "whitened")
        learned = learned_roll_out(trial)
        assert learned.case.model.maps is not None
        assert learned.case.constants.problem.horizon == trial.horizon
        assert learned.case.score == "inner"
        assert learned.sampling.delta == DELTA / trial.world.actions
        met += statement("t6_many").evaluate(trial).bound.applies
    assert met > 5


def test_wider_models_than_the_world_are_minimised_over_too(generator):
    trial = some_trial(generator)
    wide = TabularModel(
        generator.normal(size=(trial.world.states, trial.world.states + 2)),
        generator.normal(size=(trial.world.actions, trial.world.states, trial.world.states + 2)),
    )
    assert np.isfinite(statement("t3").evaluate(trial.with_parts(trial.world, wide)).bound.value)

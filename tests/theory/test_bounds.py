"""Every bound by its definition and by hand; where the published ones fail; which hypothesis is named for it."""

import itertools
import math

import numpy as np
import pytest

from jepa_scale.theory.bounds import b1, b1_double_prime, b1_prime, b2, b3, b4, b5, t3, t4, t5, t6
from jepa_scale.theory.bounds.base import BoundCase, WorldConstants
from jepa_scale.theory.bounds.t3 import Sampling
from jepa_scale.theory.graph import FiniteWorld, negative_law
from jepa_scale.theory.model import TabularModel, clip_spectrum, least_squares_predictor, truncated_svd
from jepa_scale.theory.planning import PlanningProblem, goal_weights
from jepa_scale.theory.spectrum import spectral_tail
from tests.reference import bounds as slow
from tests.reference import worlds as reference

UNIFORM = PlanningProblem(1, "uniform")


def doubly_stochastic(generator, states, actions):
    """Mixtures of permutations keep the uniform law, so q_a = p."""
    weights = generator.dirichlet(np.full(4, 0.5), size=actions)
    kernel = np.stack([sum(w * np.eye(states)[generator.permutation(states)] for w in row) for row in weights])
    return uniform_world(kernel / kernel.sum(-1, keepdims=True))


def uniform_world(kernel, groups=None):
    actions, states, _ = kernel.shape
    labels = np.arange(states) if groups is None else np.asarray(groups)
    return FiniteWorld(kernel, np.full(states, 1 / states), np.full(actions, 1 / actions), labels)


def case_of(world, model, score="density", goal_law="reachable", negatives="same_action", horizon=1, roll_out="latent"):
    constants = WorldConstants.of(world, PlanningProblem(horizon, goal_law), negatives)
    return BoundCase(constants, score, model, roll_out)


def noisy_model(generator, world, negatives="same_action"):
    """Exact factors plus noise of random size: models from perfect to useless."""
    predictor = world.transition / negative_law(world, negatives)[:, None, :]
    noise = 10 ** generator.uniform(-3, 0.5)
    return TabularModel(np.eye(world.states), predictor + noise * generator.normal(size=predictor.shape))


def failed(bound):
    return {hypothesis.statement for hypothesis in bound.hypotheses if not hypothesis.holds}


@pytest.mark.parametrize("goal_law", ["uniform", "data", "reachable"])
@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_one_step_bounds_by_their_definitions(generator, negatives, goal_law):
    world = reference.random_world(generator, states=4, actions=3)
    model = noisy_model(generator, world, negatives)
    case = case_of(world, model, goal_law=goal_law, negatives=negatives)
    goals = goal_weights(world, PlanningProblem(1, goal_law))
    expected = slow.one_step(world, model.encoder, model.predictor, goals, negatives == "pooled")
    _, _, residual = slow.parts(world, model.encoder, model.predictor, negatives == "pooled")
    risk = (residual**2).sum((1, 2))
    assert case.regret == pytest.approx(expected["regret"], rel=1e-12)
    for bound, value in (
        (t4, 2 * expected["c0"] * math.sqrt(risk.max())),
        (t5, 2 * expected["c3"] * math.sqrt(risk.max())),
        (b1, expected["b1"]),
        (b1_prime, 2 * math.sqrt(expected["omega"] * risk.sum())),
        (b1_double_prime, expected["b1_double_prime"]),
        (b5, expected["b5"]),
    ):
        assert bound.value(case).value == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("negatives", ["same_action", "pooled"])
def test_b3_by_its_definition(generator, negatives):
    world = reference.random_world(generator, states=3, actions=2)
    model = noisy_model(generator, world, negatives)
    case = case_of(world, model, horizon=3, roll_out="operator", negatives=negatives)
    root = np.sqrt(world.context_law)
    truth = root[:, None] * world.transition / root[None, :]
    learned = slow.operators(world, model.encoder, model.predictor, negatives == "pooled")
    learned = root[:, None] * learned / root[None, :]
    norm = max(np.linalg.norm(matrix, 2) for matrix in (*truth, *learned))
    error = max(np.linalg.norm(difference) for difference in truth - learned)
    largest = max(root[goal] / root[start] for start, goal in itertools.product(range(3), repeat=2))
    assert b3.value(case, "general").value == pytest.approx(2 * 3 * norm**2 * largest * error, rel=1e-12)


def test_b3_grows_linearly_where_q_is_p_and_the_forms_agree_there(generator):
    world = doubly_stochastic(generator, 5, 2)
    model = clip_spectrum(world, noisy_model(generator, world))
    values = [b3.value(case_of(world, model, horizon=T, roll_out="operator")) for T in (1, 2, 3)]
    assert all(bound.applies for bound in values)
    assert [bound.value / values[0].value for bound in values] == pytest.approx([1, 2, 3])
    general = b3.value(case_of(world, model, horizon=3, roll_out="operator"), "general")
    assert general.value == pytest.approx(values[2].value)


def test_b3_names_a_norm_above_one_and_a_law_that_is_not_stationary(generator):
    world = doubly_stochastic(generator, 4, 2)
    large = TabularModel(np.eye(4), 3 * 4 * world.transition)
    assert failed(b3.value(case_of(world, large, horizon=2, roll_out="operator"))) == {"‖M̄(a)‖ ≤ 1 and ‖GᵀF‖ ≤ 1"}
    other = reference.random_world(generator)
    model = clip_spectrum(other, noisy_model(generator, other))
    assert failed(b3.value(case_of(other, model, horizon=2, roll_out="operator"))) == {"q_a = p"}
    assert failed(b3.value(case_of(world, large, horizon=2), "general")) == {"plans ranked by the operator roll-out"}


@pytest.mark.parametrize("k", [1, 2, 4])
def test_b2_is_attained_where_the_next_laws_agree(generator, k):
    world = doubly_stochastic(generator, 5, 3)
    best = case_of(world, truncated_svd(world, k))
    floor = b2.value(best.constants, k).value
    assert world.policy @ best.risk == pytest.approx(floor, rel=1e-10)
    for _ in range(5):
        found = slow.shared_risk_by_alternation(world, generator.normal(size=(5, k)))
        assert found >= floor - 1e-9


@pytest.mark.parametrize("k", [1, 2, 3])
def test_b2_is_a_floor_where_the_next_laws_differ(generator, k):
    nearest = math.inf
    for _ in range(6):
        world = reference.random_world(generator, states=5, actions=3)
        constants = WorldConstants.of(world, UNIFORM, "same_action")
        floor = b2.value(constants, k).value
        assert floor >= world.policy @ spectral_tail(constants.singular_values, k) - 1e-12
        found = slow.shared_risk_by_alternation(world, truncated_svd(world, k).encoder, rounds=100)
        assert found >= floor - 1e-9
        nearest = min(nearest, found / floor)
    assert nearest < 20, "a floor far below everything says nothing"


def test_b2_shared_is_above_separate(generator):
    """E6: three actions with disjoint right singular spaces cannot share one encoder of width 1."""
    world = reference.random_world(generator, states=6, actions=3)
    constants = WorldConstants.of(world, UNIFORM, "pooled")
    separate = world.policy @ spectral_tail(constants.singular_values, 1)
    assert b2.value(constants, 1).value > separate + 0.01
    assert b2.value(constants, 6).value == pytest.approx(0, abs=1e-10)
    assert b2.value(constants, 6).vacuous


def test_t3_by_hand():
    sampling = Sampling(1000, 2, 0.5, 0.05, encoder_complexity=0.01, predictor_complexity=0.02)
    # Proof: c₁ = 32·4·(1/8) + 32·2·(1/2) = 48; later: 16·4·(1/4) + 16·4·(1/2) = 48; c₂ = 8·2·(1/4) + 2·4·(1/16) = 4.5.
    assert t3.constants(2, 0.5) == pytest.approx((48, 4.5))
    assert t3.constants(2, 0.5, "published_46") == pytest.approx((48, 4.5))
    assert t3.constants(3, 2.0) == pytest.approx((32 * 9 * 8 + 32 * 3 * 2, 8 * 3 * 4 + 2 * 9 * 16))
    assert t3.constants(3, 2.0, "published_45")[0] == pytest.approx(16 * 9 * 4 + 16 * 9 * 2)
    rate = math.sqrt(math.log(40) / 1000) + 0.05
    assert t3.value(sampling).value == pytest.approx(48 * 0.03 + 4.5 * rate)
    assert t3.sample_error(sampling, "published_45") == pytest.approx(48 * 0.0002 + 4.5 * rate)
    # |gᵀf| ≤ kκ² = 1/2: the loss lies in a range of 4·(1/2) + 1/4 whatever was learned.
    assert t3.value(sampling).trivial == pytest.approx(2.25)
    assert not t3.value(sampling).vacuous
    assert t3.value(Sampling(100, 2, 0.5, 0.05, 0.01, 0.02)).vacuous
    descent = Sampling(1000, 2, 0.5, 0.05, 0.01, 0.02, minimises=False)
    assert failed(t3.value(descent)) == {"(f̂, ĝ) minimises the empirical risk over its class"}


@pytest.mark.parametrize(
    "change", [{"n": 1}, {"k": 0}, {"kappa": 0.0}, {"kappa": math.nan}, {"delta": 1.0}, {"encoder_complexity": -0.1}]
)
def test_a_sample_that_is_none_is_refused(change):
    fields = {"n": 100, "k": 2, "kappa": 1.0, "delta": 0.05, "encoder_complexity": 0.1, "predictor_complexity": 0.1}
    with pytest.raises(ValueError, match="expected"):
        Sampling(**(fields | change))


@pytest.mark.parametrize("horizon", [1, 3])
def test_t6_is_the_planning_bound_of_tail_plus_sample_error(generator, horizon):
    world = reference.random_world(generator, states=4, actions=2)
    model, goals = truncated_svd(world, 2), PlanningProblem(horizon, "reachable")
    sampling = Sampling(5000, 2, 4.0, 0.05, 0.001, 0.002)
    matrices, _ = reference.normalised_co_occurrence(world, False)
    tail = max((np.linalg.svd(matrix, compute_uv=False)[2:] ** 2).sum() for matrix in matrices)
    found = slow.one_step(world, model.encoder, model.predictor, goal_weights(world, goals))
    assert found["c3"] > 1.2 * found["c0"]
    case = case_of(world, model, horizon=horizon)
    proof = found["c0"] if horizon == 1 else horizon * found["c3"]
    swapped = found["c3"] if horizon == 1 else horizon * found["c0"]
    expected = 2 * proof * math.sqrt(tail + t3.sample_error(sampling))
    assert t6.value(case, sampling).value == pytest.approx(expected)
    for form in ("published_45", "published_46"):
        printed = 1 + 2 * swapped * math.sqrt(tail + t3.sample_error(sampling, form))
        assert t6.value(case, sampling, form).value == pytest.approx(printed)
        assert t6.value(case, sampling, form).vacuous


def test_t6_names_what_training_does_not_promise(generator):
    world = doubly_stochastic(generator, 4, 2)
    sampling = Sampling(5000, 2, 1e-3, 0.05, 0.001, 0.002, minimises=False, holds_optimum=False)
    assert failed(t6.value(case_of(world, truncated_svd(world, 2)), sampling)) == {
        "(f̂, ĝ) minimises the empirical risk over its class",
        "the class holds F*, G* of T2 for every action",
        "|gᵀf| ≤ kκ²",
    }


def test_b4_counts_a_negative_risk_as_none_and_names_a_missing_one(generator):
    world = reference.random_world(generator, actions=3)
    case = case_of(world, noisy_model(generator, world))
    bound = b4.value(case, np.array([0.25, -3.0, 0.75]))
    assert bound.value == pytest.approx(2 * math.sqrt(case.constants.omega))
    assert bound.applies
    missing = b4.value(case, np.array([0.25, np.inf, 0.75]))
    assert missing.vacuous
    assert failed(missing) == {"every R(a) has a held-out upper bound"}


def test_b5_by_hand():
    """Two actions with values (.9, .1) everywhere: an error below .4 costs nothing, one above can cost .8."""
    kernel = np.array([[[0.9, 0.1], [0.1, 0.9]], [[0.1, 0.9], [0.9, 0.1]]])
    world = uniform_world(kernel)
    exact = 2 * kernel
    for error, expected in ((0.3, 0.0), (0.41, 0.8)):
        # g(f(x), a)ᵀf(x') q_a(x') = P − error at every entry of action 0.
        model = TabularModel(np.eye(2), exact - np.array([2 * error, 0.0])[:, None, None])
        bound = b5.value(case_of(world, model, goal_law="uniform"))
        assert bound.value == pytest.approx(expected)
    # Ties between best actions: the margin is to the next value, not to the tied action.
    tied = uniform_world(np.stack([kernel[0], kernel[0], kernel[1]]))
    model = TabularModel(np.eye(2), 2 * tied.transition + 0.3)
    assert b5.value(case_of(tied, model, goal_law="uniform")).value == 0.0


def test_no_violation_of_t4_by_inner_product_when_the_next_law_ignores_the_action(generator):
    for _ in range(150):
        world = doubly_stochastic(generator, int(generator.integers(2, 7)), 3)
        case = case_of(world, noisy_model(generator, world), "inner")
        assert t4.value(case).applies
        assert case.regret <= t4.value(case).value + 1e-12


def test_e2_the_published_assumption_is_not_enough(generator):
    """With exact factors the bound is 0; worlds whose q_a differ have regret all the same, and are flagged."""
    violated = 0
    for _ in range(100):
        world = reference.random_world(generator)
        predictor = world.transition / negative_law(world, "same_action")[:, None, :]
        case = case_of(world, TabularModel(np.eye(world.states), predictor), "inner", "uniform")
        published, repaired = t4.value(case, "published"), t4.value(case)
        assert published.value < 1e-6
        assert published.applies
        if case.regret > 1e-6:
            violated += 1
            assert failed(repaired) == {"q_a does not depend on a"}
    assert violated > 10


def test_t5_as_published_fails_with_no_risk_at_all():
    """Stay or go round three states: in the gauge with (CᵀC)^{-1} = K two latent steps prefer a plan that misses."""
    stay, round_ = np.eye(3), np.roll(np.eye(3), 1, axis=1)
    world = uniform_world(np.stack([stay, round_]))
    between = np.array([[0.1, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 0.9, 1.0]])
    encoder = np.linalg.cholesky(np.linalg.inv(between))
    inverse = np.linalg.inv(encoder)
    maps = np.stack([(3 * inverse @ kernel @ inverse.T).T for kernel in world.transition])
    model = TabularModel.linear(encoder, maps)

    # Plan (a, b) is worth Π_aΠ_b and scored Π_a K Π_b. Two pairs of nine go wrong: from 0 to 0 "round, round" has
    # K[1, 2] = .9 and ends elsewhere, where "stay, stay" has K[0, 0] = .1; from 2 to 1 it is the other way round.
    case = case_of(world, model, "inner", "uniform", horizon=2)
    scores = case.scores / 9
    np.testing.assert_allclose(scores[:, 0, 0], [0.1, 0.0, 0.0, 0.9], atol=1e-9)
    np.testing.assert_allclose(scores[:, 2, 1], [0.9, 0.0, 0.0, 0.1], atol=1e-9)
    assert case.lucky_regret == pytest.approx(2 / 9)
    bound = t5.value(case, "published")
    assert bound.applies
    assert bound.value < 1e-6
    assert failed(t5.value(case, "repaired")) == {"E_q[f fᵀ] = I"}
    # The operator roll-out of the same model knows nothing of the gauge.
    assert case_of(world, model, "density", "uniform", horizon=2, roll_out="operator").regret == 0.0


def test_t5_as_published_fails_by_the_distance_on_two_states():
    world = uniform_world(np.stack([np.eye(2), np.eye(2)[::-1]]))
    inverse = np.linalg.inv(encoder := np.array([[0.0, -0.5], [-0.5, 0.6]]))
    maps = np.stack([(2 * inverse @ kernel @ inverse.T).T for kernel in world.transition])
    case = case_of(world, TabularModel.linear(encoder, maps), "distance", "uniform", horizon=2)
    assert t5.value(case, "published").applies
    assert t5.value(case, "published").value < 1e-6
    assert case.lucky_regret == pytest.approx(0.5)


def test_t5_repaired_is_b3_in_the_gauge_where_the_roll_outs_agree(generator):
    """One encoder with E_q[f fᵀ] = I and a linear g = E[g fᵀ] f: latent and operator scores are the same."""
    for _ in range(30):
        world = doubly_stochastic(generator, int(generator.integers(2, 6)), 2)
        k = int(generator.integers(1, world.states + 1))
        encoder = np.sqrt(world.states) * np.linalg.qr(generator.normal(size=(world.states, k)))[0]
        predictor = least_squares_predictor(world, encoder)
        maps = np.einsum("x,axi,xj->aij", world.context_law, predictor, encoder)
        model = TabularModel.linear(encoder, maps)
        case = case_of(world, model, "inner", horizon=3)
        bound = t5.value(case, "repaired")
        assert bound.applies
        assert case.regret <= bound.value + 1e-12
        operator = case_of(world, model, "density", horizon=3, roll_out="operator")
        np.testing.assert_allclose(case.scores / world.states, operator.scores, atol=1e-10)


def test_bounds_count_goal_groups(generator):
    """A regret by group of M interchangeable observations is M times the one by observation, and so are its bounds."""
    hidden = doubly_stochastic(generator, 3, 2)
    kernel = np.kron(hidden.transition, np.full((4, 4), 0.25))
    by_group, by_observation = uniform_world(kernel, np.repeat(np.arange(3), 4)), uniform_world(kernel)
    model = noisy_model(generator, by_group)
    cases = [case_of(world, model) for world in (by_group, by_observation)]
    for bound in (t4, t5, b1_prime, b1, b1_double_prime, b3, b5):
        assert bound.value(cases[0]).value == pytest.approx(4 * bound.value(cases[1]).value)
    assert cases[0].regret == pytest.approx(4 * cases[1].regret)


@pytest.mark.parametrize("bound", [t4, t5, b1, b1_prime, b1_double_prime, b3, b5])
def test_goal_groups_that_are_not_interchangeable_leave_no_number(generator, bound):
    world = reference.random_world(generator, groups=[0, 0, 1, 1, 2, 2])
    found = bound.value(case_of(world, noisy_model(generator, world)))
    assert "members of a goal group are interchangeable" in failed(found)
    assert math.isnan(found.value)
    assert found.vacuous


@pytest.mark.parametrize("length", [1.0, 1e2, 1e4, 1e6])
def test_e3_is_about_squares_however_long_g_is(length):
    """A coordinate that f does not see makes all norms nearly equal and leaves what the distance ranks by."""
    world = uniform_world(np.array([[[0.6, 0.4], [0.4, 0.6]], [[0.4, 0.6], [0.6, 0.4]]]))
    turn = np.array([[1.0, 0.0], [3.0, 1.0]])
    encoder = np.hstack([turn.T, np.zeros((2, 1))])
    exact = np.concatenate([2 * world.transition @ np.linalg.inv(turn), np.full((2, 2, 1), length)], axis=2)
    case = case_of(world, TabularModel(encoder, exact), "distance", "uniform")
    assert case.risk.max() < 1e-20
    assert "‖g(f(x₀), a)‖ is the same for every a" in failed(t4.value(case))
    # Where the squares agree, the distance is as good as the inner product.
    squares = (exact[..., :2] ** 2).sum(-1)
    exact[..., 2] = np.sqrt(squares.max() - squares)
    level = case_of(world, TabularModel(encoder, exact), "distance", "uniform")
    assert t4.value(level).applies
    assert level.regret == pytest.approx(0, abs=1e-12)


def test_t5_as_published_fails_with_unit_norms_too():
    """Action a leads to state a. Two unit vectors .02 apart, each action predicting the other state's."""
    world = uniform_world(np.stack([np.tile([1.0, 0.0], (2, 1)), np.tile([0.0, 1.0], (2, 1))]))
    angle = 0.02
    encoder = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    inverse = np.linalg.inv(encoder)
    maps = np.stack([(inverse @ np.tile(encoder[other], (2, 1))).T for other in (1, 0)])
    model = TabularModel.linear(encoder, maps)
    np.testing.assert_allclose(np.linalg.norm(model.predictor, axis=-1), 1.0, atol=1e-12)
    case = case_of(world, model, "distance", "uniform", horizon=2)
    assert t5.value(case, "published").applies
    assert t5.value(case, "published").value < 0.002
    assert case.lucky_regret == pytest.approx(1.0)


def test_pooled_negatives_must_show_what_an_action_leads_to():
    kernel = np.stack([np.tile([1.0, 0.0], (2, 1)), np.tile([0.0, 1.0], (2, 1))])
    world = FiniteWorld(kernel, np.full(2, 0.5), np.array([1.0, 0.0]), np.arange(2))
    with pytest.raises(ValueError, match=r"pooled negatives never show observation 1.*same_action"):
        WorldConstants.of(world, UNIFORM, "pooled")
    assert WorldConstants.of(world, UNIFORM, "same_action").omega == 0.5


def test_a_huge_kappa_is_vacuous_and_no_error():
    bound = t3.value(Sampling(100, 2, 1e200, 0.05, 0.1, 0.1))
    assert bound.value == math.inf
    assert bound.vacuous


def test_hypotheses_name_what_fails(generator):
    world = reference.random_world(generator)
    model = noisy_model(generator, world)
    assert failed(t4.value(case_of(world, model, "distance"))) == {
        "q_a does not depend on a",
        "‖g(f(x₀), a)‖ is the same for every a",
    }
    assert failed(b1_prime.value(case_of(world, model, "inner"))) == {"plans ranked by the density score"}
    assert "P(x'|x, a) ∈ {0, 1}" in failed(t5.value(case_of(world, model)))


def test_vacuous_is_a_flag_and_never_a_clip(generator):
    world = reference.random_world(generator)
    wild = 50 * generator.normal(size=(world.actions, world.states, world.states))
    bound = b1_prime.value(case_of(world, TabularModel(np.eye(world.states), wild)))
    assert bound.vacuous
    assert bound.value > 10

"""Success estimates of a model that is lost, and of one that is planned with by part of its observations."""

import json
from dataclasses import replace

import pytest
import torch

from jepa_scale.callbacks.planning import regrets_of
from jepa_scale.callbacks.success import _Seen, success_estimates, tried
from jepa_scale.callbacks.tasks import protocol_of, trial_of
from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Evaluation
from jepa_scale.runs.build import build, build_context
from jepa_scale.runs.config import compose
from jepa_scale.runs.errors import UserError

SMALL = [
    "world=point_mass", "planner=cem", "evaluation.episodes=2", "evaluation.required_steps=[5]", "predictor=gru",
    "model.k=4", "model.hidden=16", "data.n=200", "data.heldout=700", "data.test=700", "data.batch_size=32",
    "optimizer.base_k=null", "logger=none",
]  # fmt: skip


PATH = ["planner.cost.final=0", "planner.cost.path=1"]


def test_predictions_that_are_not_numbers_lose_the_run(monkeypatch):
    parts = build(compose([*SMALL, "objective=latent"]))
    monkeypatch.setattr(parts.module.predictor, "forward", lambda z, a: torch.full_like(z, torch.nan))
    with pytest.raises(NotFiniteError, match=r"NaN or ∞ for 100\.0%"):
        success_estimates(parts.context, parts.module, 0, 0)


def test_noise_can_be_left_out_of_distances_between_observations():
    """Distances of the input level leave the noise coordinates out, and nothing else; the latent level has none."""
    reached = torch.zeros(1, 1, 1, 36)
    for objective, ignored in (("input_level", True), ("input_level", False), ("latent", True)):
        overrides = [*SMALL, f"objective={objective}", f"planner.ignore_noise={str(ignored).lower()}"]
        parts = build(compose([*overrides, "world.noise_std=1.0"]))
        with torch.no_grad():
            seen = _Seen(parts.context, parts.module)
            if objective == "latent":
                assert seen.weights is None
                continue
            far = seen.cost(reached, torch.tensor([0]), torch.zeros(1, 1, 1, 2))
        kept = seen.goals[0, : 20 if ignored else 36]
        torch.testing.assert_close(far.flatten()[0], kept.square().sum())


def test_images_take_the_same_way():
    overrides = [*SMALL[:4], *SMALL[5:], "world=two_rooms", "encoder=cnn", "objective=vicreg", "world.size=16"]
    parts = build(compose([*overrides, "evaluation.required_steps=[3]", *PATH, "planner.candidates=16"]))
    rows = {row.name: row for row in success_estimates(parts.context, parts.module, 0, 0)}
    assert rows["success/oracle"].value == 1.0
    parts = rows["regret/geometry"].value + rows["regret/dynamics"].value
    assert parts == pytest.approx(rows["regret/distance"].value, abs=1e-12)
    assert rows["success/model"].n == 2


def test_a_decoding_objective_is_planned_with_by_observations(monkeypatch):
    """A decoder of expected next observations, E[x⁺ | x, a], plans as that table does, whatever the latents are."""
    overrides = ["world=torus", "world.side=4", "world.blur=0.3", "objective=input_level", "planner.score=distance"]
    parts = build(compose([*overrides, "model.k=16", "model.hidden=16", "logger=none"]))
    known, module = parts.context.exact, parts.module
    expected = torch.as_tensor(known.world.finite.transition @ known.world.observations).float()
    # Latents are the observations, one-hot on a torus; the prediction is a table, which the decoder leaves as it is.
    monkeypatch.setattr(module.encoder, "forward", lambda x: x)
    monkeypatch.setattr(module.predictor, "forward", lambda z, a: expected[a, z.argmax(-1)])
    monkeypatch.setattr(module.objective, "decoder", torch.nn.Identity())
    by_table = regrets_of(known, module)["distance"].value
    shuffle = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(module.encoder, "forward", lambda x: x[..., shuffle])
    monkeypatch.setattr(module.predictor, "forward", lambda z, a: expected[a, shuffle[z.argmax(-1)]])
    assert regrets_of(known, module)["distance"].value == pytest.approx(by_table, abs=1e-12)
    assert by_table < 0.2 * known.truth.random_regret


def by_name(parts, **changes):
    context = replace(parts.context, evaluation=replace(parts.context.evaluation, **changes))
    return {row.name: row for row in success_estimates(context, parts.module, 0, 0)}


@pytest.fixture(scope="module")
def noisy():
    """Every source of numbers at once: noise in what is observed, planned and simulated; one difficulty removed."""
    return build(compose([*SMALL, "objective=latent", "world.noise_std=0.5", "evaluation.required_steps=[1, 5, 10]",
                          "evaluation.episodes=4"]))  # fmt: skip


def outcomes(parts, **changes):
    context = replace(parts.context, evaluation=replace(parts.context.evaluation, **changes))
    found = tried(context, parts.module)
    return {
        (policy, name): getattr(outcome, name).tolist()
        for policy, outcome in found.outcomes.items()
        for name in ("ever", "final", "first", "steps")
        if getattr(outcome, name) is not None
    }


def test_one_and_four_pairs_at_a_time_do_the_same(noisy):
    """Plans differ by the rounding of sums only, which moves nobody across a threshold here."""
    whole = outcomes(noisy)
    assert outcomes(noisy) == whole
    for pairs in (1, 4):
        assert outcomes(noisy, pairs=pairs) == whole


def test_rates_at_any_time_and_at_the_end(noisy):
    rows, found = by_name(noisy), outcomes(noisy)
    for policy in ("model", "oracle", "same_cost", "random", "do_nothing"):
        ever, final = (rows[f"success_{kind}/{policy}"] for kind in ("any_time", "final"))
        assert ever.value == sum(found[policy, "ever"]) / 8
        assert final.value == sum(found[policy, "final"]) / 8
        assert ever.value >= final.value
        assert ever.n == final.n == 8
        assert rows[f"success/{policy}"].value == ever.value
        assert rows[f"success/{policy}/required_1"].value is None, "a rate of no task is missing, not 0 or 1"
        assert rows[f"success/{policy}/required_1"].flag == "no_task_left"
    assert rows["tasks/removed"].value == rows["tasks/removed/required_1"].value == 4
    assert rows["tasks/removed/required_5"].value == 0
    ends = by_name(noisy, success="final")
    assert all(ends[f"success/{name}"].value == rows[f"success_final/{name}"].value for name in ("model", "random"))
    lost = rows["success_final/oracle"].value - rows["success_final/random"].value
    assert ends["regret/random"].value == pytest.approx(lost)
    stopped = by_name(noisy, stop_at_goal=True)
    assert not any(name.startswith("success_final") for name in stopped)
    assert stopped["success/oracle"].value == rows["success/oracle"].value


def test_two_models_of_a_world_get_the_same_tasks():
    contexts = [build_context(compose([*SMALL, f"objective={name}", f"seed={seed}"]))
                for name, seed in (("latent", 0), ("vicreg", 5))]  # fmt: skip
    one, other = (trial_of(context.world, context.evaluation) for context in contexts)
    assert torch.equal(one.drawn.starts, other.drawn.starts)
    assert torch.equal(one.drawn.goals, other.drawn.goals)
    assert torch.equal(one.kept, other.kept)
    assert protocol_of(contexts[0]) == protocol_of(contexts[1])


def test_the_protocol_says_how(noisy):
    protocol = protocol_of(noisy.context)
    assert json.loads(json.dumps(protocol)) == protocol
    expected = {
        "kind": "tasks", "success": "any_time", "stop_at_goal": False, "keep_solved": False, "tolerance": 0.08,
        "budget_rule": "2 T + 5", "budgets": {"1": 7, "5": 15, "10": 25}, "goal_noise": 0.5, "episodes": 4,
        "required_steps": [1, 5, 10], "removed": {"1": 4, "5": 0, "10": 0},
    }  # fmt: skip
    assert {name: protocol[name] for name in expected} == expected
    assert protocol["planner"]["name"] == "CEM"
    assert protocol["planner"]["horizon"] == 3
    assert protocol_of(replace(noisy.context, planner=NoPlanner())) == {"kind": "none"}
    exact = protocol_of(build_context(compose(["world=torus", "world.side=3", "planner.horizon=2"])))
    said = {name: exact[name] for name in ("kind", "goal_law", "horizon", "score")}
    assert said == {"kind": "exact", "goal_law": "reachable", "horizon": 2, "score": "density"}


def test_nothing_left_to_try_is_refused_before_training():
    with pytest.raises(UserError, match=r"expected tasks that do not start at their goal, got required_steps=\[1\]"):
        build_context(compose([*SMALL, "objective=latent", "evaluation.required_steps=[1]"]))
    kept = build_context(
        compose([*SMALL, "objective=latent", "evaluation.required_steps=[1]", "evaluation.keep_solved=true"])
    )
    assert len(trial_of(kept.world, kept.evaluation).kept) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"success": "final", "stop_at_goal": True}, "expected success=any_time with stop_at_goal=true"),
        ({"success": "sometimes"}, "expected success=any_time or final"),
        ({"pairs": 0}, "expected pairs ≥ 1 or null"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Evaluation(**settings)

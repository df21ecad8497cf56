"""Success estimates of a model that is lost, and of one that is planned with by part of its observations."""

import pytest
import torch

from jepa_scale.callbacks.planning import regrets_of
from jepa_scale.callbacks.success import _Seen, success_estimates
from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose

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

"""What runs log is declared, once, and every declaration that names another means one that is there."""

import pytest

from jepa_scale.records.estimates import ESTIMATES, kind_of, shown, summaries_of
from jepa_scale.records.quantities import MEASURED
from jepa_scale.runs.config import compose
from jepa_scale.runs.folder import RunFolder
from jepa_scale.runs.run import run

POINT_MASS = [
    "world=point_mass", "planner=cem", "planner.horizon=3", "evaluation.episodes=4", "evaluation.same_cost_episodes=2",
]  # fmt: skip


@pytest.mark.parametrize(
    "overrides",
    [[], [*POINT_MASS, "objective=vicreg", "finetune=distill", "finetune.pairs=40"]],
    ids=["finite world", "simulator"],
)
def test_every_logged_estimate_is_declared_once(overrides, tiny_overrides, tmp_path):
    run(compose([*tiny_overrides, *overrides]), tmp_path / "run")
    names = {row["name"] for row in RunFolder(tmp_path / "run").read_metrics()}
    assert len(names) > 50
    assert {name for name in names if kind_of(name) is None} == set()
    whole = [name for name in names if "/action_" not in name]
    assert [name for name in whole if sum(kind.matches(name) for kind in ESTIMATES) != 1] == []
    record = RunFolder(tmp_path / "run").read_record()
    final = record.final
    scored = {quantity.final.format(score="distance") for quantity in MEASURED if quantity.final}
    assert len(scored & set(final)) >= 10
    # Two epochs a stage: half of the last one's are done after the last but one.
    epochs = sorted({row["epoch"] for row in RunFolder(tmp_path / "run").read_metrics()})
    earlier = [row for row in RunFolder(tmp_path / "run").read_metrics() if row["epoch"] == epochs[-2]]
    name = f"regret/{record.config['planner'].get('score')}"
    assert record.halfway == {row["name"]: row["value"] for row in earlier if row["name"] == name}


def test_columns_are_declared_estimates_of_the_same_better_end():
    for quantity in MEASURED:
        for name in (quantity.final, quantity.sampled, quantity.pretrained, quantity.halfway):
            if name:
                kind = kind_of(name.format(score="density"))
                assert kind is not None, name
                assert quantity.better in (kind.better, ""), name


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("regret/density", ("min", "last")),
        ("success_final/policy", ("max", "last")),
        ("spectrum/total", ("max", "last")),
        ("spectrum/action_3/risk", ()),
        ("success/model/required_5", ()),
        ("prediction/horizon_3", ()),
        ("spectrum/gap", ()),
        ("of/somebody/else", ()),
    ],
)
def test_what_has_a_better_end_keeps_its_best(name, kept):
    assert summaries_of(name) == kept


def test_a_panel_shows_what_is_declared_for_it():
    names = {"prediction/horizon_2", "prediction/horizon_1", "spectrum/gap", "spectrum/action_0/gap"}
    assert shown(names, "Prediction error by horizon") == ("prediction/horizon_1", "prediction/horizon_2")
    assert shown(names, "Spectral gap, held out") == ("spectrum/gap",)
    assert shown(names, "Nothing") == ()

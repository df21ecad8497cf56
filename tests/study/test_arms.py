"""Arms of a study: their configurations, their tables, their pages."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from jepa_scale.records import Ask
from jepa_scale.report.html import write_report
from jepa_scale.report.parts.arms import deficit_and_regret
from jepa_scale.report.summary import mean_of
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.advising import advise_study
from jepa_scale.studies.design import design
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.specification.arms import arm_folder, combinations, label, overrides
from jepa_scale.studies.specification.spec import launcher_of, parse_spec
from jepa_scale.studies.sweep import run_study

STUDY = {
    "name": "compared",
    "question": "Which plans better?",
    "dials": {"data.n": [400], "model.k": [4]},
    "arms": {"objective": ["latent", "input_level"], "world.noise_std": [0.0, 0.5]},
    "seeds": [0, 1],
    "overrides": [
        "world=point_mass", "planner=cem", "evaluation.episodes=4", "evaluation.required_steps=[5, 10]",
        "predictor=gru",
        "model.normalise=true", "model.hidden=16", "data.horizon=2", "data.batch_size=64", "data.heldout=1600",
        "data.test=1600", "trainer.epochs=2", "trainer.steps_per_epoch=20", "optimizer.base_k=null", "logger=none",
    ],
    "hold_out_largest_n": False,
    "laws": ["generic"],
    "bootstrap_draws": 20,
}  # fmt: skip


def test_every_combination_is_an_arm():
    found = combinations({"a": (1, 2), "b": ("x", "y")})
    assert [label(one) for one in found] == ["a=1, b=x", "a=1, b=y", "a=2, b=x", "a=2, b=y"]
    assert combinations({}) == [{}]
    assert overrides({"world.slip": 0.30000001, "b": 0.0, "on": True}) == ["world.slip=0.30000001", "b=0.0", "on=true"]
    assert arm_folder("world.slip=0.3, objective=ema") == "world.slip-0.3-objective-ema"


def test_points_carry_their_arm_and_their_settings():
    points = design(parse_spec(STUDY, "file.yaml"))
    assert len(points) == 8
    assert len({point.run_id for point in points}) == 8
    for point in points:
        assert f"noise_std={point.config['world']['noise_std']:g}" in point.arm
        assert ("input_level" in point.arm) == point.config["objective"]["_target_"].endswith("InputPrediction")
    # A replicate of every arm before the next seed.
    assert [point.seed for point in points] == [0] * 4 + [1] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": [1]}, r"arms: expected a mapping"),
        ({"arms": {"data.n": [1, 2]}}, r"arms\.data\.n: expected a setting other than"),
        ({"arms": {"world.noise_std": []}}, r"arms\.world\.noise_std: expected a list"),
        ({"arms": {"world.noise_std": [[1]]}}, r"arms\.world\.noise_std: expected a list of numbers"),
        ({"arms": {"world.noise_std": [0.5, 0.5]}}, r"expected values that differ"),
        ({"tuning": {"optimizer.lr": [0.001, 0.002], "n": 400, "seeds": [9]}}, r"arms: expected no tuning"),
        (
            {"sampler": "design", "design": {"data.n": 800, "model.k": 4, "runs": 3}},
            r"arms: expected sampler: grid",
        ),
    ],
)
def test_mistakes_in_arms_are_named(change, message):
    with pytest.raises(UserError, match=message):
        parse_spec(STUDY | change, "file.yaml")


def test_an_arm_that_cannot_be_composed_is_named():
    with pytest.raises(UserError, match=r"study compared, .*world\.noise_std=-1: .*noise_std ≥ 0"):
        design(parse_spec(STUDY | {"arms": {"world.noise_std": [0.0, -1.0]}}, "file.yaml"))


def test_an_arm_is_no_override():
    with pytest.raises(UserError, match=r"world\.noise_std is a dial"):
        launcher_of(parse_spec(STUDY, "file.yaml"), ["world.noise_std=0.1"])


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies") / "compared"
    spec = parse_spec(STUDY, "file.yaml")
    return run_study(spec, folder, LocalLauncher(1), Console(quiet=True)), folder


def test_each_arm_is_a_study_of_its_own(result):
    found, folder = result
    assert [arm.label for arm in found.arms] == [
        f"objective={objective}, world.noise_std={noise}"
        for objective in STUDY["arms"]["objective"]
        for noise in (0, 0.5)
    ]
    assert len(found.table) == 8
    for arm in found.arms:
        assert set(arm.result.table["arm"]) == {arm.label}
        assert arm.result.sampled
        assert json.loads((folder / "arms" / arm.folder / "fit.json").read_text())
    written = pq.read_table(folder / "table.parquet").to_pydict()
    assert set(written["arm"]) == {arm.label for arm in found.arms}


def test_regret_is_the_sum_of_its_parts(result):
    table = result[0].table
    np.testing.assert_allclose(table["regret"], table["regret_geometry"] + table["regret_dynamics"], atol=1e-12)
    np.testing.assert_allclose(table["regret"], table["success_oracle"] - table["success"], atol=1e-12)
    # What no model changes is the same in every run of a world.
    assert len(set(table["success_random"])) == 1
    assert (table["success_oracle"] == 1).all()


def test_settings_that_differ_are_not_called_shared(result):
    settings = result[0].settings
    assert "noise_std" not in settings["world"]
    assert settings["world"]["damping"] == 0.9
    assert "_target_" not in settings.get("objective", {})


def test_the_page_compares_and_links(result, tmp_path):
    found, _ = result
    page = write_report(found, tmp_path).read_text()
    assert (tmp_path / "figures" / "arms.png").stat().st_size > 10_000
    for arm in found.arms:
        assert f'href="arms/{arm.folder}/report.html"' in page
        inner = (tmp_path / "arms" / arm.folder / "report.html").read_text()
        assert "exact over starts and goals" not in inner
    assert "90 % bootstrap" in page or "Too few cells" in page


def test_means_leave_out_what_is_missing():
    assert mean_of([float("nan")]) is None
    one = mean_of([1.0, float("nan")])
    assert (one.value, one.standard_error, one.seeds) == (1.0, None, 1)
    two = mean_of([1.0, 3.0])
    assert (two.value, two.standard_error) == pytest.approx((2.0, 1.0))


def test_few_cells_say_nothing_of_a_rank_correlation(result):
    assert deficit_and_regret(result[0]).startswith("Too few cells (4)")


def test_advice_is_on_one_arm(result):
    with pytest.raises(UserError, match=r"compares settings \(objective, world\.noise_std\)"):
        advise_study(result[1], Ask(0.1))

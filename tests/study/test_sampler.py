from __future__ import annotations

import numpy as np
import optuna
import pytest
import yaml

import jepa_scale
from jepa_scale.laws.adaptive import DesignSettings
from jepa_scale.laws.forecasters.trend import Trend
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.collect import collect
from jepa_scale.studies.design import design, design_sampler
from jepa_scale.studies.launching.local import LocalLauncher
from jepa_scale.studies.queue.storage import Queue
from jepa_scale.studies.sampler import SECONDS, RunBudget, ScalingDesignSampler, _seconds, cost_hours
from jepa_scale.studies.specification.spec import parse_spec

SETTINGS = DesignSettings((2, 4, 8, 16, 32), (300, 1000, 3000, 10000), 16, 100_000, cap=3, forecaster=Trend())


def regret(n, k):
    return float(np.sqrt(0.6 * k**-1.5 + 2.5e-5 * k**2 * n**-0.5))


def objective(trial):
    n, k = trial.suggest_int("n", 1, 2**40, log=True), trial.suggest_int("k", 1, 2**30, log=True)
    seed = trial.suggest_int("seed", 0, 2**31 - 1)
    trial.set_user_attr(SECONDS, 0.001 * n + k)
    return regret(n, k) * (1 + 0.03 * np.sin(7 * seed + k))


def play(budget, count=60, settings=SETTINGS):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=ScalingDesignSampler(settings, budget))
    study.optimize(objective, n_trials=count)
    return [trial for trial in study.trials if "n" in trial.params]


def test_a_study_is_designed_cell_by_cell_with_a_new_seed_for_each_repeat():
    trials = play(RunBudget(runs=24))
    cells = [(trial.params["n"], trial.params["k"]) for trial in trials]
    assert len(trials) == 24
    assert set(cells) <= {(n, k) for n in SETTINGS.sizes for k in SETTINGS.widths}
    runs = [(*cell, trial.params["seed"]) for cell, trial in zip(cells, trials, strict=True)]
    assert len(set(runs)) == len(runs)
    assert max(cells.count(cell) for cell in cells) <= 3
    assert {"start: a factorial over both dials"} == {trial.user_attrs["design"] for trial in trials[:8]}
    sds = [trial.user_attrs["forecast_sd"] for trial in trials[8:]]
    assert sds[-1] < sds[0]


def test_a_budget_of_hours_is_kept():
    trials = play(RunBudget(hours=60 / 3600))
    spent = sum(trial.user_attrs[SECONDS] for trial in trials[:-1])
    # The predicted cost of the last run may be off by what a power law misses of 0.001 n + k.
    assert 40 < spent < 75


def test_workers_that_ask_at_once_get_different_runs():
    study = optuna.create_study(sampler=ScalingDesignSampler(SETTINGS))
    asked = []
    for _ in range(12):
        trial = study.ask()
        asked.append((trial.suggest_int("n", 1, 2**40, log=True), trial.suggest_int("k", 1, 2**30, log=True),
                      trial.suggest_int("seed", 0, 2**31 - 1)))  # fmt: skip
    assert len(set(asked)) == 12


def test_costs_follow_the_wall_times():
    trials = play(RunBudget(runs=20))
    seconds = np.array([trial.user_attrs[SECONDS] for trial in trials])
    sizes = [np.array([float(trial.params[name]) for trial in trials]) for name in ("k", "n")]
    hours = cost_hours(seconds, sizes, [np.array([4.0, 4.0]), np.array([300.0, 10000.0])])
    assert hours[1] > hours[0]
    assert cost_hours(np.array([np.nan]), [np.ones(1), np.ones(1)], [np.array([4.0]), np.array([300.0])]) is None


SPEC = {
    "name": "chosen",
    "question": "?",
    "dials": {"data.n": [100, 200, 400], "model.k": [2, 4, 8]},
    "seeds": [0, 1],
    "overrides": [
        "world.hidden.side=3", "trainer.epochs=1", "trainer.steps_per_epoch=3", "data.batch_size=32",
        "data.heldout=800", "data.test=800", "logger=none",
    ],
    "sampler": "design",
    "design": {"data.n": 1000, "model.k": 8, "runs": 9},
    "hold_out_largest_n": False,
    "bootstrap_draws": 20,
}  # fmt: skip


def test_a_study_of_a_design_does_its_runs_once_and_goes_on_where_it_was(tmp_path):
    from rich.console import Console

    from jepa_scale.studies.sweep import run_study

    spec = parse_spec(SPEC, "spec")
    result = run_study(spec, tmp_path / "chosen", LocalLauncher(2), Console(quiet=True))
    assert len(result.table) == 9
    assert result.unfinished == ()
    again = run_study(spec, tmp_path / "chosen", LocalLauncher(2), Console(quiet=True))
    assert sorted(again.table["run_id"]) == sorted(result.table["run_id"])
    more = parse_spec({**SPEC, "design": {**SPEC["design"], "runs": 11}}, "spec")
    assert len(run_study(more, tmp_path / "chosen", LocalLauncher(1), Console(quiet=True)).table) == 11
    # The journal can be lost: the runs are the study.
    (tmp_path / "chosen" / "journal.log").unlink()
    queue = Queue(tmp_path / "chosen", spec.name, design_sampler(more))
    points = design(more)
    records = {p.run_id: r for p in points if (r := p.folder(tmp_path / "chosen").read_record()) is not None}
    assert queue.plan(points, records) == 0
    assert len(collect(more, points, tmp_path / "chosen", None).table) == 11


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "random"}, "expected grid or design"),
        ({"sampler": "grid"}, "design: only with sampler: design"),
        ({"design": {"data.n": 1000}}, "design: the field 'model.k' is missing"),
        ({"design": {"data.n": 1000, "model.k": 8}}, "got no end"),
        ({"design": {"data.n": 1000, "model.k": 8, "runs": 2.5}}, r"design\.runs: expected a whole number above 0"),
        ({"design": {"data.n": 1000, "model.k": 8, "hours": -1}}, r"design\.hours: expected a number above 0"),
        ({"extra": [{"data.n": 3}]}, "extra: expected a list of runs such as"),
        ({"laws": ["chinchilla"]}, "law: expected one of"),
    ],
)
def test_mistakes_in_a_design_are_named(change, message):
    with pytest.raises(UserError, match=message):
        parse_spec({**SPEC, **change}, "spec")


def test_single_runs_beside_the_grid_are_done_once():
    grid = {**SPEC, "sampler": "grid", "design": None}
    del grid["design"]
    extra = [{"data.n": 800, "model.k": 8, "seed": 0}, {"data.n": 100, "model.k": 2, "seed": 0}]
    points = design(parse_spec({**grid, "extra": extra}, "spec"))
    # The second is in the grid already.
    assert len(points) == 18 + 1
    assert (points[-1].n, points[-1].k, points[-1].seed) == (800, 8, 0)
    written = yaml.safe_load(yaml.safe_dump(parse_spec({**grid, "extra": extra}, "spec").to_dict()))
    assert parse_spec(written, "again") == parse_spec({**grid, "extra": extra}, "spec")


SIZES, WIDTHS = [300, 1000, 3000, 10000], [2, 4, 8, 16]


def plain(**settings):
    return jepa_scale.ScalingDesignSampler(SIZES, WIDTHS, (1e5, 16), **settings)


def rated(trial, n="n", k="k", sizes=(1, 10**6)):
    samples, width = trial.suggest_int(n, *sizes, log=True), trial.suggest_int(k, 1, 1000, log=True)
    return 0.05 + 1 / width + 5 / samples**0.5


def test_any_names_and_exactly_as_many_runs_as_asked_for():
    study = optuna.create_study(sampler=plain(names={"n": "data.num_samples", "k": "model.dim"}, n_runs=12))
    study.optimize(lambda trial: rated(trial, "data.num_samples", "model.dim"), n_trials=40)
    assert len(study.trials) == 12
    cells = {(trial.params["data.num_samples"], trial.params["model.dim"]) for trial in study.trials}
    assert cells <= {(n, k) for n in SIZES for k in WIDTHS}
    assert len(cells) >= 8


def test_durations_are_the_costs():
    study = optuna.create_study(sampler=plain(n_runs=6))
    study.optimize(rated, n_trials=10)
    assert all(_seconds(trial) == trial.duration.total_seconds() for trial in study.trials)


def test_what_it_cannot_serve_is_refused():
    for directions in (["maximize"], ["minimize", "minimize"]):
        study = optuna.create_study(sampler=plain(), directions=directions)
        with pytest.raises(ValueError, match="expected a study of one objective that is minimised"):
            study.optimize(rated, n_trials=2)
    study = optuna.create_study(sampler=plain())
    with pytest.raises(ValueError, match=r"expected the objective to suggest n, got data\.n, k: give names="):
        study.optimize(lambda trial: rated(trial, "data.n"), n_trials=2)
    study = optuna.create_study(sampler=plain())
    with pytest.raises(
        ValueError, match="expected n to be suggested from a range that holds 300, 1000, 3000, 10000, got Int"
    ):
        study.optimize(lambda trial: rated(trial, sizes=(20_000, 30_000)), n_trials=2)


@pytest.mark.parametrize(
    "suggest",
    [
        lambda trial: trial.suggest_int("n", 300, 100_000),
        lambda trial: trial.suggest_int("n", 100, 100_000, step=100),
        lambda trial: trial.suggest_float("n", 100, 1e6, log=True),
        lambda trial: trial.suggest_categorical("n", [300, 1000, 3000, 10000]),
    ],
    ids=["linear", "step", "float", "categorical"],
)
def test_ranges_of_any_kind(suggest):
    study = optuna.create_study(sampler=plain(n_runs=9))
    study.optimize(lambda trial: 1 / trial.suggest_int("k", 1, 64) + 5 / suggest(trial) ** 0.5, n_trials=20)
    assert len(study.trials) == 9
    assert {int(trial.params["n"]) for trial in study.trials} <= set(SIZES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"names": {"size": "n"}}, "names of n, k and seed"),
        ({"n_runs": 0}, "n_runs ≥ 1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        plain(**settings)
    with pytest.raises(ValueError, match="two or more sizes and widths"):
        jepa_scale.ScalingDesignSampler([300], WIDTHS, (1e5, 16))


def test_the_package_of_optunahub_exports_it():
    import importlib.util
    from pathlib import Path

    import yaml

    folder = Path(__file__).parents[2] / "docs" / "optunahub" / "scaling_design"
    spec = importlib.util.spec_from_file_location("scaling_design", folder / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.__all__ == ["ScalingDesignSampler"]
    assert module.ScalingDesignSampler is jepa_scale.ScalingDesignSampler
    head = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert set(head) == {"author", "title", "description", "tags", "optuna_versions", "license"}

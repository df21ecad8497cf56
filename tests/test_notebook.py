"""Runs in a table, as a notebook uses them."""

import sys
import types

import matplotlib as mpl
import numpy as np
import optuna
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jepa_scale
from jepa_scale import Runs
from jepa_scale.cli.app import main

mpl.use("Agg")
optuna.logging.set_verbosity(optuna.logging.ERROR)


def cells():
    generator = np.random.default_rng(0)
    rows = [(n, k, s) for n in (300, 1000, 3000, 10000) for k in (2, 4, 8) for s in (0, 1)]
    n, k, seed = (np.array(column) for column in zip(*rows, strict=True))
    regret = np.clip(0.3 / k + 6 / n**0.7 + 0.003 * generator.standard_normal(len(n)), 0, 1)
    return {"n": n, "k": k, "seed": seed, "regret": regret}


@pytest.fixture
def runs():
    return Runs.from_dataframe(cells())


class Frame:
    """What pandas and polars have in common."""

    def __init__(self, content):
        self.content, self.columns = content, list(content)

    def __getitem__(self, name):
        return self.content[name]


def test_every_source_gives_the_same_answer(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = cells()
    lines = [",".join(table), *(",".join(map(str, row)) for row in zip(*table.values(), strict=True))]
    (tmp_path / "runs.csv").write_text("\n".join(lines))
    pq.write_table(pa.table(table), tmp_path / "runs.parquet")
    study = optuna.create_study(study_name="sweep")
    for n, k, seed, regret in zip(*table.values(), strict=True):
        trial = study.ask({"n": optuna.distributions.IntDistribution(1, 10**6)})
        study._storage.set_trial_user_attr(trial._trial_id, "size", int(n))
        for name, value in (("k", int(k)), ("seed", int(seed))):
            trial.set_user_attr(name, value)
        study.tell(trial, float(regret))
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    others = [
        Runs.from_csv("runs.csv"), Runs.from_parquet(tmp_path / "runs.parquet"), Runs.from_dataframe(Frame(table)),
        Runs.from_dataframe(pa.table(table)), Runs.from_optuna(study, n="size"),
    ]  # fmt: skip
    wanted = runs.advise(0.05, n=30_000, k=8)
    for other in others:
        found = other.advise(0.05, n=30_000, k=8)
        assert (found.verdict, found.probability) == (wanted.verdict, pytest.approx(wanted.probability))
    with pytest.raises(SystemExit):
        main(["advise", "runs.csv", "--target-regret", "0.05", "--n", "30000", "--k", "8"])
    shown = " ".join(capsys.readouterr().out.split())
    assert wanted.lines[-1] in shown or wanted.verdict.upper() in shown


def test_success_of_an_optuna_study_is_turned_into_regret():
    study = optuna.create_study(direction="maximize")
    for n in (300, 1000, 3000):
        for k in (2, 4):
            trial = study.ask()
            trial.suggest_int("n", n, n)
            trial.suggest_int("k", k, k)
            study.tell(trial, 1 - (0.3 / k + 6 / n**0.7))
    table, _ = Runs.from_optuna(study, value="success")._rows
    np.testing.assert_allclose(table["regret"], 0.3 / table["k"] + 6 / table["n"] ** 0.7)


def maximised():
    study = optuna.create_study(direction="maximize")
    study.tell(study.ask(), 0.5)
    return study


def test_forecasts(runs):
    found = runs.forecast(n=[10_000, 30_000, 10**7], k=8)
    assert found.predicted.shape == (3,)
    assert (found.low <= found.predicted).all()
    assert (found.predicted <= found.high).all()
    assert found.checked.tolist() == [True, True, False]
    assert found.probability(0.9)[0] == 1
    assert "farther than checked" in repr(found)
    assert "<table>" in found._repr_html_()
    assert len(repr(found)) < 300
    # A forecast of a cell that was run is near what came.
    assert found.predicted[0] == pytest.approx(0.3 / 8 + 6 / 10_000**0.7, abs=0.01)


def test_fits_predict_and_are_short_to_print(runs):
    fit = runs.fit("regret = E + A k^-a + B n^-b", draws=60, loss="squares")
    assert fit.predict(n=[300, 1000], k=2).shape == (2,)
    np.testing.assert_allclose(fit.predict(n=1000, k=4), 0.3 / 4 + 6 / 1000**0.7, atol=0.01)
    assert set(fit.parameters) == {"E", "A", "B", "a", "b"}
    value, low, high = fit.parameters["A"]
    assert low <= value <= high
    assert len(repr(fit)) < 200
    assert "<table>" in fit._repr_html_()
    with pytest.raises(ValueError, match="expected k, n, got n"):
        fit.predict(n=300)


def test_plots_are_drawn_on_given_or_new_axes(runs):
    import matplotlib.pyplot as plt

    _, given = plt.subplots()
    assert runs.plot(given) is given
    for result in (
        runs.fit("regret = E + A k^-a + B n^-b", draws=40),
        runs.forecast([3e4, 1e5], [8, 8]),
        runs.advise(0.05),
    ):
        axes = result.plot()
        assert axes.get_xlabel()
        axes.figure.canvas.draw()
    plt.close("all")


def test_advice_is_a_record_with_sentences(runs):
    found = runs.advise(target_regret=0.1, n=10_000, k=8)
    assert found.verdict == "sufficient"
    assert found.lines[0].startswith("SUFFICIENT: n = 10")
    assert found.advice.verdict.n == 10_000
    assert "<li>" in found._repr_html_()
    assert len(repr(found)) < 120


def test_tables_of_pandas_where_it_is_installed(runs, monkeypatch):
    made = []
    fake = types.ModuleType("pandas")
    fake.DataFrame = lambda columns: made.append(columns) or "frame"
    monkeypatch.setitem(sys.modules, "pandas", fake)
    assert runs.to_pandas() == "frame"
    assert runs.forecast(3e4, 8).to_pandas() == "frame"
    assert runs.fit("regret = E + A k^-a + B n^-b", draws=40).to_pandas() == "frame"
    assert runs.advise(0.05).to_pandas() == "frame"
    assert [list(columns)[:2] for columns in made] == [["n", "k"], ["n", "k"], ["law", "parameter"], ["n", "k"]]
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        runs.to_pandas()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Runs.from_dataframe(3), "expected a pandas, polars or pyarrow table"),
        (lambda: Runs.from_dataframe({"n": [1], "k": [1, 2]}), "columns of one length"),
        (lambda: Runs.from_dataframe({"a": [1, 2]}).advise(), "has no column"),
        (lambda: Runs.from_csv("missing.csv"), "no file missing.csv"),
        (lambda: Runs.from_optuna(optuna.create_study()), "has no trials"),
        (lambda: Runs.from_optuna(optuna.create_study(directions=["minimize"] * 2)), "one objective"),
        (lambda: Runs.from_optuna(maximised()), "is maximised, so its objective is no regret"),
        (lambda: Runs.from_study("missing"), "is not a study folder"),
        (lambda: Runs.from_dataframe(cells()).forecast(0, 8), "expected n and k ≥ 1"),
    ],
)
def test_what_cannot_be_answered_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_table_without_sizes_still_prints():
    assert repr(Runs.from_dataframe({"C": [1, 2], "loss": [3.0, 2.0]})) == "Runs(2 rows of C, loss, from a data frame)"


def test_a_study_and_its_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = {
        "name": "small", "question": "?", "dials": {"data.n": [200, 400], "model.k": [2, 4]}, "seeds": [0],
        "laws": ["generic"], "bootstrap_draws": 20,
        "overrides": [
            "logger=none", "world=torus", "world.side=3", "model.hidden=8", "data.heldout=640", "data.test=640",
            "data.batch_size=32", "trainer.epochs=1", "trainer.steps_per_epoch=3",
        ],
    }  # fmt: skip
    runs = jepa_scale.study(spec, "small", workers=1)
    assert repr(runs).startswith("Runs(4 runs, 4 cells of n = 200 … 400 and k = 2 … 4")
    assert (tmp_path / "small" / "report.html").is_file()
    assert runs.advise(0.05).verdict in ("insufficient", "undecided", "sufficient", "cannot say")
    folder = next((tmp_path / "small" / "runs").iterdir())
    (record,) = jepa_scale.evaluate(folder, out=tmp_path / "tried")
    assert record.estimates
    tuned = jepa_scale.finetune(folder, "finetune=rollout", "finetune.schedule.epochs=1", folder="tuned")
    assert tuned.status == "finished"


def test_a_random_search_is_answered_from_some_of_its_sizes():
    generator = np.random.default_rng(0)
    n, k = np.exp(generator.uniform(np.log(300), np.log(30_000), 30)).astype(int), generator.integers(2, 64, 30)
    runs = Runs.from_dataframe({"n": n, "k": k, "regret": np.clip(0.3 / k + 6 / n**0.7, 0, 1)})
    found = runs.advise(0.2, n=30_000, k=16)
    assert found.verdict == "sufficient"
    widths = found.advice.surface.k
    assert len(widths) <= 12
    assert (widths.min(), widths.max()) == (k.min(), k.max())

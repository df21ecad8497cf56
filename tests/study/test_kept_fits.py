"""Fits and pages that are kept: read back only where rows, settings and code are the same, and then equal."""

import json

import numpy as np
import pytest

from jepa_scale.cli.app import main
from jepa_scale.laws.fit import fit
from jepa_scale.laws.forecast import forecast
from jepa_scale.records import RunTable
from jepa_scale.report.html import current_report, write_report
from jepa_scale.runs import code
from jepa_scale.studies import collect, kept_fits
from jepa_scale.studies.kept_fits import Fitted, inputs_of, read_fits, write_fits
from jepa_scale.studies.specification.laws import families_of
from jepa_scale.studies.specification.spec import parse_spec
from tests.study.planted_study import PlantedStudy

N, K, SEEDS = (300, 1000, 3000, 10000), (2, 4, 8, 16), (0, 1, 2)


def planted(factor=1.0):
    """A table whose regret falls with n and k, with some scatter of seeds."""
    rows = [(n, k, seed) for n in N for k in K for seed in SEEDS]
    noise = np.random.default_rng(0).normal(0, 0.01, len(rows))
    columns = {name: np.full(len(rows), np.nan) for name in RunTable.COLUMNS}
    columns |= {name: np.array([row[place] for row in rows]) for place, name in enumerate(("n", "k", "seed"))}
    columns |= {"status": np.array(["finished"] * len(rows)), "arm": np.array([""] * len(rows))}
    columns["regret"] = factor * (0.05 + 0.5 / columns["k"] + 5 / np.sqrt(columns["n"]) / 4 + noise)
    columns["regret_random"] = np.full(len(rows), 0.9)
    return RunTable(columns)


LAWS = parse_spec({"name": "x", "question": "?", "dials": {"data.n": [3, 6], "model.k": [2, 4]}, "seeds": [0]}, "x")


@pytest.fixture(scope="module")
def fitted():
    table = planted()
    generic = families_of(LAWS)[0]
    options = {"level": 0.9, "draws": 20}
    inside = table.where(table["n"] < N[-1])
    return Fitted((fit(generic, inside, "regret", **options),), (forecast(generic, table, "regret", N[-1], **options),))


def test_fits_are_read_back_equal_to_the_last_bit(fitted, tmp_path):
    assert fitted.fits[0].status == "converged"
    assert fitted.forecasts[0].points
    write_fits(tmp_path / "fit.json", "study", "inputs", fitted)
    again = read_fits(tmp_path / "fit.json", "inputs")
    assert again.fits[0].parameters == fitted.fits[0].parameters
    assert again.forecasts[0] == fitted.forecasts[0]
    assert np.array_equal(again.fits[0].bootstrap_draws, fitted.fits[0].bootstrap_draws)
    assert [str(finding) for finding in again.fits[0].warnings] == [str(one) for one in fitted.fits[0].warnings]
    before = (tmp_path / "fit.json").read_bytes()
    write_fits(tmp_path / "fit.json", "study", "inputs", again)
    assert (tmp_path / "fit.json").read_bytes() == before


@pytest.mark.parametrize("how", ["other inputs", "a digit", "torn", "nothing", "a list", "a folder"])
def test_a_file_that_is_damaged_or_of_other_inputs_is_not_read(fitted, tmp_path, how):
    path = tmp_path / "fit.json"
    write_fits(path, "study", "inputs", fitted)
    assert read_fits(path, "inputs") is not None
    text = path.read_text()
    if how == "a digit":
        content = json.loads(text)
        content["fits"][0]["parameters"][0]["value"] += 1e-12
        path.write_text(json.dumps(content))
    elif how in ("torn", "a list"):
        path.write_text(text[:-100] if how == "torn" else "[1]")
    elif how in ("nothing", "a folder"):
        path.unlink()
        if how == "a folder":
            path.mkdir()
    assert read_fits(path, "other" if how == "other inputs" else "inputs") is None


def test_inputs_change_with_rows_laws_settings_and_code(monkeypatch):
    families = families_of(LAWS)
    digests = [
        inputs_of(planted(), families, ["regret"], 1),
        inputs_of(planted(1 + 1e-15), families, ["regret"], 1),
        inputs_of(planted(), families[:1], ["regret"], 1),
        inputs_of(planted(), families, ["regret", "risk"], 1),
        inputs_of(planted(), families, ["regret"], 2),
    ]
    assert inputs_of(planted(), families_of(LAWS), ["regret"], 1) == digests[0]
    monkeypatch.setattr(kept_fits, "source_of", lambda *folders: "edited")
    digests.append(inputs_of(planted(), families, ["regret"], 1))
    assert len(set(digests)) == 6


def finished(folder):
    """A study whose runs all have a record."""
    study = PlantedStudy(folder / "study", N[:3], K[:3], SEEDS)
    for point in study.points:
        study.run(point)
    return study


def test_a_second_collection_fits_nothing_and_its_page_is_equal(tmp_path, monkeypatch):
    study = finished(tmp_path)
    folder = study.folder
    first = write_report(collect.collect_folder(folder, folder), folder).read_bytes()

    def refused(*_, **__):
        raise AssertionError("fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(collect, "fit", refused)
        patch.setattr(collect, "forecast", refused)
        assert write_report(collect.collect_folder(folder, folder), folder).read_bytes() == first
        study.finish(study.points[0], 0.9, told=False)
        with pytest.raises(AssertionError, match="fitted again"):
            collect.collect_folder(folder, folder)


def test_a_page_is_current_until_a_run_or_the_code_changes(tmp_path, monkeypatch):
    study = finished(tmp_path)
    folder = study.folder
    result = collect.collect_folder(folder, folder)
    assert current_report(result, folder) is None
    page = write_report(result, folder)
    assert current_report(collect.collect_folder(folder, None), folder) == page
    figure = next((folder / "figures").glob("*.svg"))
    figure.rename(folder / "moved.svg")
    assert current_report(result, folder) is None, "a figure is missing"
    (folder / "moved.svg").rename(figure)
    assert current_report(result, folder) == page
    with monkeypatch.context() as patch:
        patch.setattr("jepa_scale.report.html.source_of", lambda *folders: "edited")
        assert current_report(result, folder) is None
    study.finish(study.points[0], 0.9, told=False)
    assert current_report(collect.collect_folder(folder, None), folder) is None
    assert code.source_of("laws") != code.source_of("laws", "records")


def test_a_second_report_of_an_unchanged_study_writes_nothing_anew(tmp_path, capsys):
    folder = finished(tmp_path).folder

    def report():
        with pytest.raises(SystemExit) as ended:
            main(["report", str(folder)])
        assert ended.value.code == 0
        drawn = [folder / "report.html", *sorted((folder / "figures").iterdir())]
        printed = capsys.readouterr()
        return {path.name: path.stat().st_ino for path in drawn}, "draw the figures" in printed.err, printed.out

    first, drew, said = report()
    assert drew
    assert report() == (first, False, said)
    (folder / "figures" / sorted(first)[0]).unlink()
    again, drew, _ = report()
    assert drew
    assert again.keys() == first.keys()

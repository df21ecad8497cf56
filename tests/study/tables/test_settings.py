"""Settings that a table pools as if they were seeds, and rows of one setting alone."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jepa_scale.cli.app import main
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.advising import table_of
from jepa_scale.studies.fitting import FitSettings, fit_file

CELLS = [(n, k) for n in (100, 300, 900, 2700) for k in (2, 4, 8)]


def write(path, columns, repeats=3):
    """A table of ``repeats`` rows in each cell; ``columns`` give a cell by cell, repetition and generator."""
    generator = np.random.default_rng(0)
    lines = [",".join(("n", "k", *columns, "regret"))]
    for n, k in CELLS:
        for repeat in range(repeats):
            cells = [cell(repeat, generator) for cell in columns.values()]
            # The setting of the first repetition is worse by far.
            regret = 0.4 / k + 0.8 * (k / n) ** 0.5 + 0.15 * (repeat == 0) + 0.004 * generator.standard_normal()
            lines.append(",".join(map(str, (n, k, *cells, regret))))
    path.write_text("\n".join(lines) + "\n")
    return path


SETTINGS = {
    "rate": lambda repeat, _: (0.01, 0.001, 0.0001)[repeat],
    "encoder": lambda repeat, _: ("mlp", "cnn", "vit")[repeat],
    "my_coefficient": lambda repeat, _: (0.1, 0.5, 2)[repeat],
    "lr": lambda _, generator: generator.uniform(1e-4, 1e-2),
    "config.trainer.epochs": lambda _, generator: generator.integers(2, 9),
}
OTHERS = {
    "seed": lambda repeat, _: (11, 23, 47)[repeat],
    "init_seed": lambda repeat, _: (3, 5, 9)[repeat],
    "repetition": lambda repeat, _: repeat,
    "host": lambda repeat, _: f"node{repeat}",
    "gpu_name": lambda _, generator: generator.choice(["a100", "h100"]),
    "success": lambda _, generator: generator.integers(0, 4) / 4,
    "val_error": lambda _, generator: generator.random(),
    "solved": lambda _, generator: generator.integers(0, 3),
    "constant": lambda *_: "yes",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_differs_inside_a_cell_is_told_by_its_column(name, tmp_path):
    path = write(tmp_path / "runs.csv", {name: SETTINGS[name], **OTHERS})
    (finding,) = table_of(path, {}).findings
    assert (finding.code, finding.subject, finding.values["several"]) == ("settings_pooled", name, len(CELLS))
    assert f"--where {name}=" in str(finding)
    fitted = fit_file(path, FitSettings(("regret = E + A n^-a",), draws=0))
    assert [(one.code, one.subject) for one in fitted.findings] == [("settings_pooled", name)]


@pytest.mark.parametrize("name", OTHERS)
def test_seeds_places_and_results_are_no_settings(name, tmp_path):
    assert table_of(write(tmp_path / "runs.csv", {name: OTHERS[name]}), {}).findings == ()


def test_a_setting_that_is_read_under_another_name_is_known(tmp_path):
    path = write(tmp_path / "runs.csv", {"rate": SETTINGS["rate"]})
    law = "regret = A n^-a + B rate^0.5"
    assert fit_file(path, FitSettings((law,), draws=0)).findings == ()
    assert fit_file(path, FitSettings(("regret = A c^-a",), {"c": "n*rate"}, draws=0)).findings == ()


@pytest.mark.parametrize(
    ("conditions", "rows", "repeat"),
    [
        (["rate=0.001"], 12, 1),
        (["rate=1e-3"], 12, 1),
        (["Rate = .001", "encoder=CNN"], 12, 1),
        (["encoder=mlp"], 12, 0),
        (["n=900", "rate=0.01"], 3, 0),
    ],
)
def test_where_keeps_the_rows_with_these_values(conditions, rows, repeat, tmp_path):
    every = {name: SETTINGS[name] for name in ("rate", "encoder")}
    path = write(tmp_path / "runs.csv", every)
    chosen = table_of(path, {}, where=conditions)
    assert len(chosen.table) == rows
    assert chosen.findings == ()
    worse = chosen.table["regret"] - 0.4 / chosen.table["k"] - 0.8 * np.sqrt(chosen.table["k"] / chosen.table["n"])
    np.testing.assert_allclose(worse, 0.15 * (repeat == 0), atol=0.02)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("rate", "expected COLUMN=VALUE, such as rate=0.001, got 'rate'"),
        ("=1", "expected COLUMN=VALUE"),
        ("speed=1", "'speed' is no column; it has n, k, rate, regret"),
        ("rate=0.002", "has no such row; rate is 0.0001, 0.001, 0.01"),
    ],
)
def test_a_condition_that_holds_nowhere_says_what_is_there(condition, told, tmp_path):
    path = write(tmp_path / "runs.csv", {"rate": SETTINGS["rate"]})
    with pytest.raises(UserError, match="--where") as refused:
        table_of(path, {}, where=[condition])
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("law", "found"),
    [
        ("regret = E + A*exp(-n/tau) + B*reet", {"reet": "regret"}),
        ("regret = E + A n^-a + rat", {"rat": "rate"}),
        ("regret = E + A n^-a + B*exp(-tokens/n)", {"tokens": ""}),
        ("regret = floor + A n^-alpha", {}),
        ("regret = A n^-a + B rate^0.5", {}),
    ],
)
def test_words_that_are_fitted_as_parameters_are_told(law, found, tmp_path):
    path = write(tmp_path / "runs.csv", {"rate": SETTINGS["rate"]})
    findings = fit_file(path, FitSettings((law,), draws=0)).findings
    assert {one.subject: one.values["meant"] for one in findings if one.code == "name_is_parameter"} == found


def run(arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_commands_tell_the_code_and_take_one_setting(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "runs.csv", {"rate": SETTINGS["rate"]})
    asked = ["advise", "runs.csv", "--target-regret", 0.2, "--n", 2700, "--k", 8, "--forecaster", "trend", "--json"]
    assert run(asked) == 0
    pooled = json.loads(capsys.readouterr().out)
    assert pooled["findings"][0]["code"] == "settings_pooled"
    assert "rate" in pooled["cautions"][0]
    alone = ["--where", "rate=0.001", "--decision", "page.md"]
    assert run([*asked, *alone]) == 0
    chosen = json.loads(capsys.readouterr().out)
    assert "settings_pooled" not in {one["code"] for one in chosen["findings"]}
    # What one rate reaches for certain is open where a bad one counts as its seed.
    assert (pooled["status"], chosen["status"]) == ("undecided", "sufficient")
    assert "--where rate=0.001" in (tmp_path / "page.md").read_text()


def test_rows_of_an_arm_are_chosen_as_the_refusal_says(tmp_path):
    path = write(tmp_path / "runs.csv", {"arm": lambda repeat, _: ("a=1", "a=2", "a=3")[repeat]})
    with pytest.raises(UserError, match=r"--where arm=a=1$"):
        table_of(path, {})
    assert len(table_of(path, {}, where=["arm=a=1"]).table) == len(CELLS)

"""The dashboard shows what runs logged, and the study's run holds what the study found."""

import dataclasses
import json
import sys

import pytest
import yaml

from jepa_scale.cli.app import main
from jepa_scale.integrations.wandb.dashboard import (
    Line,
    dashboard_of,
    keys_of,
    logged,
    save,
    save_report,
    spec_of_workspace,
    workspace,
)
from jepa_scale.integrations.wandb.files import offline_folders, read_runs
from jepa_scale.integrations.wandb.names import SPECTRUM_TABLE, THROUGHPUT
from jepa_scale.integrations.wandb.study_run import JOB_TYPE, log_study, study_numbers, study_tables
from jepa_scale.records import Arm
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.collect import collect
from jepa_scale.studies.design import design
from jepa_scale.studies.specification.spec import find_sweep, spec_of
from tests.integrations.wandb.runs import closed
from tests.report.planted import sampled_result, study_result

TINY = [
    "logger.mode=offline", "trainer.epochs=2", "trainer.steps_per_epoch=20", "data.heldout=1600", "data.test=1600",
    "data.batch_size=64", "model.hidden=16",
]  # fmt: skip


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory):
    """The quickstart, of four short runs: its folder and what was collected."""
    root = tmp_path_factory.mktemp("dashboard")
    content = yaml.safe_load(find_sweep("quickstart").read_text())
    content |= {"dials": {"data.n": [300, 600], "model.k": [2, 4]}, "seeds": [0], "bootstrap_draws": 20}
    content |= {"overrides": [*content["overrides"], *TINY]}
    del content["tuning"]
    (root / "quickstart.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit) as left:
        main(["study", str(root / "quickstart.yaml"), "workers=1", "--folder", str(root / "study")])
    assert left.value.code == 0
    folder = root / "study"
    spec = spec_of(folder)
    return folder, collect(spec, design(spec, folder), folder, folder)


def command(*arguments):
    with pytest.raises(SystemExit) as left:
        main(["dashboard", *map(str, arguments)])
    return left.value.code


def keys_in(spec):
    """Every key that a saved workspace names: axes, metrics, tables, groups, pinned columns."""
    found = set()

    def walk(place, value):
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(name, inner)
            if value.get("name") == "tableKey":
                found.add(value["value"])
        elif isinstance(value, list):
            for inner in value:
                walk(place, inner)
        elif isinstance(value, str) and place in ("xAxis", "yAxis", "zAxis", "metrics", "groupBy", "tableKey"):
            # As one kind of panel has it.
            found.add(value.replace("summary_metrics.", "summary:"))

    for section in spec["spec"]["section"]["panelBankConfig"]["sections"]:
        walk("panels", section["panels"])
    return found


def keys_on_disk(folder):
    """Every key that the offline runs of a study hold, as W&B's panels name them."""
    found = set()
    for run in read_runs(folder):
        found |= {name for row in run.history for name in row}
        for name, value in run.summary.items():
            found |= {
                f"summary:{name}.{end}" for end in ("min", "max", "last") if isinstance(value, dict) and end in value
            }
            found.add(f"summary:{name}")
        for group, values in run.config.items():
            inner = values if isinstance(values, dict) else {}
            found |= {f"config:{group}.value", *(f"config:{group}.value.{name}" for name in inner)}
    return found


def test_the_spec_of_the_quickstart_names_only_what_its_runs_logged(quickstart, capsys, monkeypatch):
    folder, _ = quickstart
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert command(folder, "--dry-run") == 0
    spec = json.loads(capsys.readouterr().out)
    assert not (folder / "dashboard.json").exists()
    assert not (folder / "wandb").exists(), "nothing is written"
    assert command(folder) == 0
    assert "not logged in" in capsys.readouterr().out
    assert json.loads((folder / "dashboard.json").read_text())["spec"]["displayName"] == spec["displayName"]
    named, there = keys_in(spec), keys_on_disk(folder)
    assert len(named) > 30
    assert named <= there, named - there
    # What the library's own reader makes of it: nothing that it does not know.
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces.workspaces import internal

    read = ws.Workspace._from_model(internal.View.model_validate(spec))
    panels = [panel for section in read.sections for panel in section.panels]
    kinds = {type(panel) for panel in panels}
    assert {wr.LinePlot, wr.ScatterPlot, wr.CustomChart, wr.WeavePanelSummaryTable, wr.ScalarChart} <= kinds
    assert all("Unknown" not in kind.__name__ for kind in kinds)
    assert all(run.group == "quickstart" for run in read_runs(folder)), "whatever its folder is called"
    assert read.runset_settings.filters == "Metric(\"Group\") == 'quickstart'"
    titles = " ".join(section["name"] for section in spec["spec"]["section"]["panelBankConfig"]["sections"])
    for subject in ("Answer", "Regret by n and k", "Spectrum", "bounds", "Deficits", "forecasts", "Health"):
        assert subject in titles
    assert "summary:regret/density.last" in named
    assert {"regret/density", "bound/b1_prime", "spectrum/total", "run/samples_per_second", "study/cells"} <= named


def test_what_is_called_logged_is(quickstart):
    folder, result = quickstart
    if not (folder / "wandb").exists():
        command(folder)
    held = {key for key in logged(result) if not key.startswith("config:")}
    assert held <= keys_on_disk(folder), held - keys_on_disk(folder)


def test_the_run_of_the_study_reads_back(quickstart, tmp_path, monkeypatch):
    _, result = quickstart
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "report.html").write_text("<p>report</p>")
    options = {"project": "p", "entity": None, "mode": "auto", "files": [tmp_path / "report.html"]}
    first = log_study(result, tmp_path, **options)
    log_study(result, tmp_path, **options)
    for place in offline_folders(tmp_path):
        closed(place)
    (found,) = read_runs(tmp_path)
    assert first.startswith(str(tmp_path))
    assert (found.run_id, found.group, found.job_type) == ("study-quickstart", "quickstart", JOB_TYPE)
    for name, value in study_numbers(result).items():
        assert found.summary[name] == value
    tables = study_tables(result)
    assert {"study/cells", "study/best_width", "study/fit", "study/advice"} <= set(tables)
    for key, table in tables.items():
        paths = list(tmp_path.rglob(f"{key}_*.table.json"))
        assert len(paths) == 2, "one each time"
        for held in (json.loads(path.read_text()) for path in paths):
            assert held["columns"] == list(table.columns)
            assert [tuple(row) for row in held["data"]] == list(table.rows)


def test_tables_hold_the_planted_study():
    result = study_result()
    tables = study_tables(result)
    cells = [dict(zip(tables["study/cells"].columns, row, strict=True)) for row in tables["study/cells"].rows]
    row = next(one for one in cells if (one["n"], one["k"]) == (3000, 16))
    here = (result.table["n"] == 3000) & (result.table["k"] == 16) & (result.table["status"] == "finished")
    values = result.table["regret"][here]
    assert row["seeds"] == len(values)
    assert row["regret"] == pytest.approx(values.mean())
    assert row["regret_se"] == pytest.approx(values.std(ddof=1) / len(values) ** 0.5)
    widths = {row[1]: row[3] for row in tables["study/best_width"].rows}
    assert widths[3000] == 16
    forecast = tables["study/forecast"]
    covered = forecast.columns.index("covered")
    points = [point for one in result.forecasts for point in one.points]
    assert [row[covered] == "yes" for row in forecast.rows] == [point.covered is True for point in points]
    assert tables["study/advice"].rows[0][1].startswith(result.advice.verdict.status.upper())
    n, k = next(
        (int(result.table["n"][row]), int(result.table["k"][row]))
        for row in range(len(result.table))
        if result.table["status"][row] != "finished"
    )
    row = next(one for one in cells if (one["n"], one["k"]) == (n, k))
    here = (result.table["n"] == n) & (result.table["k"] == k)
    assert row["seeds"] == here.sum() - 1, "a run that diverged counts for nothing"
    failed = [record for record in result.records.values() if record.status != "finished"]
    assert len(tables["study/missing"].rows) == len(failed) + len(result.unfinished)
    assert study_numbers(result)["study/diverged"] == len(failed)


def with_arms():
    one = study_result()
    arms = tuple(Arm(label, label, {}, dataclasses.replace(one, name=label)) for label in ("a=1", "a=2"))
    return dataclasses.replace(one, histories={}, fits=(), forecasts=(), advice=None, arms=arms)


@pytest.mark.parametrize("result", [study_result(), sampled_result(), with_arms()], ids=["exact", "sampled", "arms"])
def test_every_kind_of_study_has_a_dashboard_of_what_it_logged(result):
    shown = dashboard_of(result, "me", "project")
    held = logged(result)
    for part in shown.parts:
        for panel in part.panels:
            assert keys_of(panel) <= held
    assert len(shown.parts) >= 4
    spec = spec_of_workspace(workspace(shown))
    assert (spec["entity"], spec["project"]) == ("me", "project")


def test_metrics_that_no_run_logged_are_not_shown():
    result = study_result()

    def lines(of):
        parts = dashboard_of(of, "me", "p").parts
        return {panel.title: set(panel.metrics) for part in parts for panel in part.panels if isinstance(panel, Line)}

    before = lines(result)
    title, metrics = max(before.items(), key=lambda item: len(item[1]))
    lost = sorted(metrics)[0]
    assert len(metrics) > 1
    without = {run: [row for row in rows if row["name"] != lost] for run, rows in result.histories.items()}
    after = lines(dataclasses.replace(result, histories=without))
    assert before[title] - after[title] == {lost}
    assert all(lost not in metrics for metrics in after.values())


def test_one_epoch_has_no_throughput_and_no_spectrum_no_table():
    result = study_result()
    short = {run: [row | {"epoch": 0} for row in rows] for run, rows in result.histories.items()}
    records = {run: dataclasses.replace(record, spectrum={}) for run, record in result.records.items()}
    held = logged(dataclasses.replace(result, histories=short, records=records))
    assert {THROUGHPUT, SPECTRUM_TABLE} & held == set()
    assert {THROUGHPUT, SPECTRUM_TABLE} <= logged(result)


def test_lines_of_arms_are_lines_of_their_own():
    table = study_tables(with_arms())["study/cells"]
    width, size = table.columns.index("width"), table.columns.index("size")
    assert {row[width] for row in table.rows} >= {"a=1, k=8", "a=2, k=8"}
    assert len({(row[width], row[size]) for row in table.rows}) == len(table.rows)


def test_a_question_is_shown_as_it_is_written():
    result = dataclasses.replace(study_result(), question="is <b>k</b> **enough**?")
    text = dashboard_of(result, "me", "p").parts[0].panels[0].markdown
    assert "is \\<b\\>k\\</b\\> \\*\\*enough\\*\\*?" in text


def test_saving_makes_one_workspace_and_replaces_it(quickstart, monkeypatch, capsys):
    import wandb
    import wandb_workspaces.workspaces as ws

    folder, _ = quickstart
    (folder / "dashboard.json").unlink(missing_ok=True)
    saved = []

    def keep(self):
        saved.append(self)
        self._internal_name = self._internal_name or "nw-abc-v"
        return self

    monkeypatch.setattr(ws.Workspace, "save", keep)
    monkeypatch.setattr(ws.Workspace, "url", property(lambda self: f"https://host/{self.entity}?nw={len(saved)}"))
    monkeypatch.setattr("jepa_scale.cli.commands.dashboard._logged_in", lambda: True)
    monkeypatch.setattr(wandb, "Api", lambda: type("Api", (), {"default_entity": "somebody"}))
    assert command(folder) == 0
    assert "workspace: https://host/somebody?nw=1" in capsys.readouterr().out
    asked = []

    def earlier(url):
        asked.append(url)
        return ws.Workspace(entity="somebody", project="jepa-scale", name="old")

    monkeypatch.setattr(ws.Workspace, "from_url", earlier)
    assert command(folder) == 0
    assert asked == ["https://host/somebody?nw=1"]
    assert saved[1].name == saved[0].name
    assert [section.name for section in saved[1].sections] == [section.name for section in saved[0].sections]

    assert command(folder, "--project", "another") == 0
    assert saved[2] is not saved[1], "one in another place is left alone"
    assert (saved[2].entity, saved[2].project) == ("somebody", "another")

    def gone(url):
        raise ValueError("no such view")

    monkeypatch.setattr(ws.Workspace, "from_url", gone)
    assert command(folder, "--entity", "other") == 0
    assert saved[3].entity == "other"
    spec = json.loads((folder / "dashboard.json").read_text())["spec"]
    assert spec["entity"] == "other"


def test_what_w_and_b_refuses_is_one_line(monkeypatch, capsys):
    import wandb_workspaces.workspaces as ws

    def refuse(self):
        raise ValueError("permission denied\nand more")

    shown = dashboard_of(study_result(), "me", "p")
    monkeypatch.setattr(ws.Workspace, "save", refuse)
    with pytest.raises(UserError, match=r"did not take the workspace \(permission denied\): check the network"):
        save(shown)


def test_a_report_has_the_same_panels(monkeypatch):
    import wandb
    import wandb_workspaces.reports.v2 as wr

    held = []
    monkeypatch.setattr(wandb, "Api", lambda *arguments, **options: type("Api", (), {"default_entity": "me"}))
    monkeypatch.setattr(wr.Report, "save", lambda self, *arguments: held.append(self) or self)
    monkeypatch.setattr(wr.Report, "url", property(lambda self: "https://host/report"))
    shown = dashboard_of(study_result(), "me", "p")
    assert save_report(shown) == "https://host/report"
    grids = [block for block in held[0].blocks if isinstance(block, wr.PanelGrid)]
    assert [len(grid.panels) for grid in grids] == [len(part.panels) for part in shown.parts]


def test_bad_input_is_said_in_one_line(quickstart, tmp_path, capsys, monkeypatch):
    folder, result = quickstart
    assert command(tmp_path) == 2
    assert "is not a study folder" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert command(folder, "--dry-run") == 2
    assert "pip install 'jepa-scale[wandb]'" in capsys.readouterr().err
    for name, value in (("--entity", ""), ("--project", "a/b")):
        assert command(folder, "--dry-run", name, value) == 2
        assert f"{name}: expected a name" in capsys.readouterr().err
    empty = dataclasses.replace(result, records={}, histories={})
    monkeypatch.setattr("jepa_scale.studies.collect.collect", lambda *arguments: empty)
    assert command(folder) == 2
    assert "has no finished run yet" in capsys.readouterr().err
    none = {
        run: dataclasses.replace(record, config={**record.config, "logger": {"_target_": "x"}})
        for run, record in result.records.items()
    }
    monkeypatch.setattr(
        "jepa_scale.studies.collect.collect", lambda *arguments: dataclasses.replace(result, records=none)
    )
    assert command(folder) == 2
    assert "were not logged to W&B" in capsys.readouterr().err


def test_a_w_and_b_that_cannot_write_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    (tmp_path / "wandb").write_text("in the way")
    with pytest.raises(UserError, match="W&B did not take the study's run"):
        log_study(study_result(), tmp_path, project="p", entity=None, mode="auto")

"""What the sections of the page say: the answer, the next sweep, the noise of seeds, several studies."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from jepa_scale.records import NextRun, RunTable
from jepa_scale.report.compare import write_comparison
from jepa_scale.report.conclusions.answer import answer
from jepa_scale.report.html import write_report
from jepa_scale.report.page.markup import json_block
from jepa_scale.report.parts.next_sweep import next_sweep, study_file
from jepa_scale.report.parts.runs_table import columns, page_data, regret_of_run
from jepa_scale.report.parts.seed_noise import pooled, seed_noise
from jepa_scale.report.summary import Cell
from jepa_scale.report.wording import law_name
from jepa_scale.studies.advising import write_next
from jepa_scale.studies.design import design
from jepa_scale.studies.manifest import write_plan
from jepa_scale.studies.specification.spec import parse_spec
from tests.report.planted import SIZES, WIDTHS, empty_table, sampled_result, study_result

SPEC = {
    "name": "planted",
    "question": "Which?",
    "dials": {"data.n": list(SIZES), "model.k": list(WIDTHS)},
    "seeds": [0, 1, 2],
    "extra": [{"data.n": 10000, "model.k": 32, "seed": 3}],
}


@pytest.mark.parametrize("result", [study_result(), sampled_result()], ids=["exact", "sampled"])
def test_the_answer_begins_with_the_verdict_and_its_uncertainty(result):
    found = answer(result)
    assert 3 <= len(found) <= 5
    assert all(sentence.endswith(".") for sentence in found)
    assert found[0].startswith(
        "Enough at n = 10\u202f000: k = 8, 16, 32 and 64 reach a regret of 0.02, best 0 in all 3 seeds"
    )
    assert "n = 3\u202f000, the best is 0.0295 ± 0.0006 (3 seeds)" in found[0]


def test_the_answer_follows_the_numbers():
    _, tuned, best, *_, trust = answer(study_result())
    assert "shared learning rate" in tuned, "a shared rate is told of before what it misleads to"
    assert (
        "With one rate for all widths, at 3 of 5 sample sizes the best width lies inside the grid (k* = 32 at n = 300, "
        in best
    )
    assert "would have had 1 right, 3 wrong" in trust
    alone = answer(replace(study_result(), judged=()))
    assert alone[-1] == "How far this carries beyond the runs is not known: no advice could be judged."
    falling = dict.fromkeys(SIZES, (0.43, 0.3, 0.2, 0.15, 0.1, 0.05))
    found = answer(study_result(falling))
    assert found[0].startswith("Not enough: no cell reaches a regret of 0.02. The lowest is 0.0")
    assert found[0].endswith("Forecast to do so: n = 10\u202f000, k = 16, P = 0.93.")
    assert "At none of 5 sample sizes" in found[1]
    assert "one seed per cell cannot tell" in answer(study_result(seeds=(0,)))[2]
    assert answer(study_result(seeds=(0,)))[0].startswith("Perhaps enough at n = 10\u202f000")
    # What is within its errors at less data does not hide what is sure with more.
    near = {**dict.fromkeys(SIZES[:2], (0.43, 0.4, 0.3, 0.3, 0.3, 0.3)), SIZES[2]: (0.4, 0.3, 0.1, 0.0193, 0.1, 0.1)}
    near |= dict.fromkeys(SIZES[3:], (0.4, 0.2, 0.0, 0.0, 0.0, 0.0))
    sure = answer(study_result(near))[0]
    assert sure.startswith("Enough at n = 10\u202f000: k = 8, 16, 32 and 64 reach")
    assert "With less data, n = 3\u202f000, the best is 0.0" in sure
    assert sure.endswith("within 2 standard errors of it: perhaps enough.")
    saturated = {**falling, 300: (0.43, 0.43, 0.43, 0.43, 0.43, 0.42)} | dict.fromkeys(SIZES[1:4], (0.43,) * 6)
    assert answer(study_result(saturated))[1].startswith("Saturated: 25 of 30 cells have at least 90 %")
    assert not any("Saturated" in sentence for sentence in found), "a study that is not says nothing of it"
    hardly = answer(study_result(dict.fromkeys(SIZES, (*(0.45,) * 5, 0.427)), seeds=tuple(range(12))))
    assert hardly[0].startswith("Barely trained: the lowest regret, 0.4")
    assert not any("Saturated" in sentence for sentence in hardly), "said by the verdict"
    useless = dict.fromkeys(SIZES, (0.5,) * 6)
    assert answer(study_result(useless))[0].startswith("Untrained: no cell is better than random plans, whose ")
    assert answer(study_result(table=empty_table(), records={})) == [
        "The study has no runs yet. 1 run without a record."
    ]


def test_sections_come_in_order(tmp_path):
    page = write_report(study_result(), tmp_path).read_text(encoding="utf-8")
    assert re.findall(r'<section id="([\w-]+)"', page) == [
        "answer", "u-turn", "spectrum", "bounds", "laws", "forecasts", "advice", "diagnostics", "runs",
        "reproducibility",
    ]  # fmt: skip
    assert page.index("Outlined: lowest mean") < page.index('id="spectrum"')


def test_the_next_sweep_is_the_file_that_advise_writes(tmp_path):
    """A cell that was run gets its next seed, past the one that was added before; both ways, to the last line."""
    spec = parse_spec(SPEC, "here")
    result = study_result()
    runs = (NextRun(10000, 32, 2, 0.1, 0.7, "why"), NextRun(50000, 16, 1, None, 0.6, "why not"))
    result = replace(result, advice=replace(result.advice, next_runs=runs))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(spec.to_dict()))
    write_next(spec, result.advice, tmp_path / "next.yaml")
    shown = study_file(result, yaml.safe_load((tmp_path / "study.yaml").read_text()))
    assert yaml.safe_load(shown) == yaml.safe_load((tmp_path / "next.yaml").read_text())
    added = parse_spec(yaml.safe_load(shown), "there").extra
    assert [(one["data.n"], one["model.k"], one["seed"]) for one in added] == [
        (10000, 32, 3), (10000, 32, 4), (10000, 32, 5), (50000, 16, 0),
    ]  # fmt: skip
    assert "name: planted" in next_sweep(result, tmp_path)


def test_without_its_file_a_study_gets_the_lines_to_add(tmp_path):
    said = next_sweep(study_result(), tmp_path)
    assert "is not beside this page" in said
    # Seeds 0 to 2 of the cell were run.
    assert "seed: 3" in said
    assert "no next study file" in next_sweep(study_result(advice=None), tmp_path)


def test_pooled_scatter_recovers_the_planted_one():
    generator = np.random.default_rng(0)
    row = []
    for place in range(200):
        values = 0.3 + 0.02 * generator.standard_normal(4)
        row.append(Cell(100, place, float(values.mean()), float(values.std(ddof=1) / 2), 4))
    sd, low, high, freedom = pooled(row)
    assert freedom == 600
    # The sd of a sample sd is σ/√(2ν), 0.0006 here.
    assert abs(sd - 0.02) < 4 * 0.02 / math.sqrt(2 * freedom)
    assert low < 0.02 < high
    assert high - low == pytest.approx(2 * 1.645 * 0.02 / math.sqrt(2 * freedom), rel=0.1)
    assert pooled([replace(row[0], standard_error=None, seeds=1)]) is None
    assert "not known" in seed_noise(study_result(seeds=(0,)))


def test_a_run_says_its_regret_with_its_error():
    sampled = sampled_result()
    assert "(SE over 50 tasks)" in regret_of_run(sampled, 0)
    assert "±" in regret_of_run(sampled, 0)
    exact = study_result()
    assert "(exact over starts and goals; 1 seed)" in regret_of_run(exact, 0)
    lost = int(np.flatnonzero(exact.table["status"] == "diverged")[0])
    assert regret_of_run(exact, lost) == "no regret: diverged"


def test_the_data_of_the_page_are_those_of_the_table():
    result = study_result()
    found = columns(result)
    assert {len(column) for column in found.values()} == {90}
    assert "success" not in found
    lost = result.table["status"] != "finished"
    assert [value is None for value in found["regret"]] == lost.tolist()
    assert set(page_data(result)["tips"]) >= {"r0", "r89", "c-300-1", "c-30000-64"}
    assert page_data(result)["filters"]["c-300-1"] == "n=300 k=1"


def test_data_cannot_end_their_block():
    block = json_block({"a": "</script><!--\u2028&"})
    inside = block.removeprefix('<script type="application/json" id="page-data">').removesuffix("</script>")
    assert "<" not in inside
    assert not re.search("[\u2028\u2029]", inside)
    assert json.loads(inside) == {"a": "</script><!--\\u2028&"}  # a letter that nobody sees is shown by its number
    with pytest.raises(ValueError, match="JSON"):
        json_block({"a": float("nan")})


def test_several_studies_are_told_apart_and_called_comparable_only_if_they_are(tmp_path):
    same = {tmp_path / "one": study_result(), tmp_path / "two": study_result()}
    page = write_comparison(same, tmp_path / "compare.html").read_text(encoding="utf-8")
    for folder in same:
        assert page.count(f"planted-nuisance ({folder})") > 2
    assert "are the same in all studies" in page
    assert (tmp_path / "figures" / "compare.svg").is_file()
    assert (tmp_path / "figures" / "compare.png").is_file()
    for fit in study_result().fits:
        assert f"<td>{law_name(fit.law)}</td><td>{fit.target}</td>" in page
    other = {tmp_path / "one": study_result(), tmp_path / "two": study_result(horizon=4)}
    assert "maybe an easier task" in write_comparison(other, tmp_path / "compare.html").read_text(encoding="utf-8")


def test_studies_without_a_regret_are_compared_in_words(tmp_path):
    lost = study_result(
        table=RunTable({name: column[:0] for name, column in study_result().table.columns.items()}),
        records={}, fits=(), forecasts=(),
    )  # fmt: skip
    page = write_comparison({tmp_path / "a": lost, tmp_path / "b": study_result()}, tmp_path / "c.html")
    assert "Left out, without a regret: planted-nuisance" in page.read_text(encoding="utf-8")
    none = write_comparison({tmp_path / "a": lost, tmp_path / "b": lost}, tmp_path / "d.html")
    assert "Not drawn: No study has a run with a regret." in none.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["a", "b", "--out", "there/page.html"], 0, "report: there/page.html"),
        (["a", "b"], 0, "report: reports/compare.html"),
        (["a"], 0, "report: a/report.html"),
        (["a", "a"], 0, "report: a/report.html"),
        (["a", "--out", "there/page.html"], 2, "expected a folder to write the report of one study into"),
        (["a", "nowhere"], 2, "nowhere is not a study folder"),
    ],
    ids=["out", "default", "one", "twice the same", "out of one", "no study"],
)
def test_the_command_reports_one_and_compares_several(tmp_path, monkeypatch, capsys, arguments, code, said):
    from jepa_scale.cli.app import main

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        spec = {**SPEC, "name": name, "dials": {"data.n": [300, 1000], "model.k": [2, 4]}, "seeds": [0], "extra": []}
        (tmp_path / name / "study.yaml").write_text(yaml.safe_dump(spec))
        write_plan(tmp_path / name, design(parse_spec(spec, "study.yaml")))
    with pytest.raises(SystemExit) as ended:
        main(["report", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == code
    assert said in out + err
    if code == 0:
        assert (tmp_path / said.removeprefix("report: ")).is_file()

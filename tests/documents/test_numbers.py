"""Numbers of the README are those of the committed tables, and what it prints is what the program prints."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml

from jepa_scale.cli.app import main
from tests.documents.pages import ROOT, blocks, normalised, pages

README = pages()["README.md"]


def test_the_tables_of_the_readme_are_computed_from_committed_tables():
    import tables

    found = re.findall(r"<!-- table (\{.*?\}) -->\n(.*?)\n<!-- /table -->", README, flags=re.DOTALL)
    assert len(found) == 1
    for settings, written in found:
        assert written == tables.pivot(yaml.safe_load(settings)), "docs/_site/tables.py computes it anew"


def test_the_numbers_of_its_sentences_are_those_of_the_study():
    import tables

    from jepa_scale.runs.config import compose
    from jepa_scale.studies.design import design
    from jepa_scale.studies.specification.spec import find_sweep, read_spec

    data = tables.read_table("quickstart")
    spec = read_spec(find_sweep("quickstart"))
    purposes = [point.purpose for point in design(spec)]
    cells, checks = purposes.count("cell"), purposes.count("tuning")
    assert f"This trains {cells} models and {checks} more that check the learning rate" in README
    assert len(data["n"]) == cells
    assert f"mean of {len(set(data['seed']))} seeds" in README
    assert f"(random plans: {data['regret_random'][0]:.2f})" in README
    low, high = map(int, re.search(r"in (\d+) to (\d+) minutes on 2 cores", README).groups())
    assert low < sum(data["wall_seconds"]) / 2 / 60 <= high
    hidden, copies = map(
        int, re.search(r"(\d+) hidden states, each seen through (\d+) inter", normalised(README)).groups()
    )
    world = compose(list(spec.overrides))["world"]
    assert (world["hidden"]["side"] ** 2, world["observations_per_state"]) == (hidden, copies)
    assert f"for a regret of {spec.target_regret}?" in README


def test_what_it_says_about_widths_is_so():
    import tables

    data = tables.read_table("quickstart")

    def regret(n, k):
        return np.mean([r for a, b, r in zip(data["n"], data["k"], data["regret"], strict=True) if (a, b) == (n, k)])

    assert "k = 2 and 4 stop improving" in normalised(README)
    assert all(abs(regret(30000, k) - regret(10000, k)) < 0.01 for k in (2, 4))
    assert "From n = 10 000 on, every width from 16 to 64 plans without loss" in normalised(README)
    assert all(regret(n, k) < 5e-4 for n in (10000, 30000) for k in (16, 32, 64))
    assert all(regret(n, 64) > regret(n, 16) for n in (300, 1000, 3000))


@pytest.mark.parametrize(
    "page",
    ["README.md", "docs/how-to/advise.md", "docs/tutorials/quickstart.md"],
    ids=["readme", "advise", "quickstart"],
)
def test_the_advice_shown_is_the_advice_given(page, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    commands = [
        words[1:]
        for block in blocks("bash", page=page)
        for words in block.commands()
        if words[:2] == ["jepa-scale", "advise"] and words[2].startswith("benchmarks/")
    ]
    answers = [block.text for block in blocks("text", page=page) if block.text.startswith(("SUFFICIENT", "• At "))]
    for command, shown in zip(commands, answers, strict=True):
        printed = advice(tuple(command), capsys)
        for line in shown.splitlines():
            if line != "…":
                assert normalised(line) in printed


_GIVEN: dict[tuple[str, ...], str] = {}


def advice(command, capsys):
    if command not in _GIVEN:
        with pytest.raises(SystemExit) as ended:
            main(list(command))
        assert ended.value.code == 0
        _GIVEN[command] = normalised(capsys.readouterr().out)
    return _GIVEN[command]


def test_the_picture_is_drawn_from_the_committed_table():
    import picture

    for theme, content in picture.files().items():
        drawn, stored = (
            path_data(text) for text in (content, (ROOT / f"docs/assets/quickstart-{theme}.svg").read_bytes())
        )
        assert drawn.shape == stored.shape, "python docs/_site/picture.py draws it anew"
        # Half a pixel: fonts and rounding differ between machines.
        assert np.abs(drawn - stored).max() < 0.5, "python docs/_site/picture.py draws it anew"


def path_data(svg):
    """Numbers of all lines of an SVG; those of its glyphs are left out."""
    body = re.sub(rb"<defs>.*?</defs>", b"", svg, flags=re.DOTALL)
    paths = b" ".join(re.findall(rb'<path d="([^"]*)" clip-path', body))
    return np.array([float(number) for number in re.findall(rb"-?\d+\.?\d*", paths)])


def test_a_changed_table_changes_the_page(monkeypatch):
    import tables

    data = dict(tables.read_table("quickstart"))
    data["regret"] = [value + 0.001 for value in data["regret"]]
    monkeypatch.setattr(tables, "read_table", lambda name: data)
    assert tables.pivot({"from": "quickstart", "rows": "n", "columns": "k", "value": "regret"}) not in README


@pytest.mark.slow
def test_the_record_of_the_advice_is_what_the_benchmark_prints():
    rows = {row[0]: row[1:] for row in table_rows(printed_by("advice.py"))}
    shown = {row[0]: row[1:] for row in table_rows(pages()["docs/results/forecasts.md"])}
    for study in ("quickstart", "exact_world", "pointmaze", "reacher", "pusht"):
        assert shown[study] == rows[study]
    studies = len(rows) - 2  # the head and the sum
    assert shown[f"all {studies} studies"] == rows["all"]
    questions, right, wrong, undecided, refused, rule_right, rule_wrong = rows["all"]
    sentence = (
        f"On {studies} studies, of {questions} such questions {right} were answered right, {wrong} wrong, {undecided} "
        f'were undecided and {refused} refused; the rule "a width suffices if it did at the largest size seen" is '
        f"right in {rule_right} and wrong in {rule_wrong}."
    )
    assert sentence in normalised(README)
    sentence = (
        f"is measured on {studies} studies: of {questions} questions, {right} were answered right, {wrong} wrong, "
        f"{undecided} were undecided and {refused} refused as too far; the simplest rule was right "
        f"in {rule_right} and wrong in {rule_wrong}."
    )
    assert sentence in normalised(pages()["docs/concepts/verdicts.md"])


def table_rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("|--")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_quickstart_tutorial_says_what_survives_tuning():
    import tables
    import widths

    text = normalised(pages()["docs/tutorials/quickstart.md"])
    shown = widths.numbers()
    slow = shown["networks, a quarter of the rate"][3000, 64]
    tuning = tables.read_csv("quickstart_tuning")
    rows = zip(tuning["k"], tuning["rate"], tuning["regret"], strict=True)
    shared = [regret for k, rate, regret in rows if (k, rate) == (64, 0.007)]
    cost = (np.mean(shared), np.std(shared, ddof=1) / np.sqrt(len(shared)))
    assert f"{cost[0]:.3f} ± {cost[1]:.3f} becomes {slow[0]:.3f} ± {slow[1]:.3f}" in text
    assert f"at n = 3000, k = 64 falls from {cost[0]:.3f} to {slow[0]:.3f}." in normalised(README)
    assert "best at k = 32 and pays for k = 64" in text
    exact = shown["exact minimisers of the empirical risk"]
    for n in (3000, 10000):
        cells = {k: exact[n, k] for size, k in exact if size == n}
        assert min(cells, key=lambda k: cells[k][0]) == 32
        assert cells[64][0] - cells[32][0] > 3 * np.hypot(cells[64][1], cells[32][1])
        assert all(shown["networks"][n, k][0] < cells[k][0] for k in cells)


@pytest.mark.slow
def test_the_scores_of_forecasts_are_what_the_benchmark_prints():
    rows = [row for row in table_rows(printed_by("forecast.py")) if row[0] != "study"]
    means = {row[2]: row[4].split(", ") for row in rows if row[0].startswith("geometric mean")}
    crps = {row[2]: row[3] for row in rows if row[0].startswith("geometric mean")}
    kept = [row for row in rows if not row[0].startswith("geometric mean")]
    shown = {row[0].replace("**", ""): row[1:] for row in table_rows(pages()["docs/results/forecasts.md"])}
    names = {"no_change": "no change", "power_law": "power law for each k", "trend": "trend", "stack": "stack"}
    for forecaster, name in names.items():
        mine = [row for row in kept if row[2] == forecaster]
        coverage, width = (float(np.mean([float(row[place]) for row in mine])) for place in (5, 6))
        expected = [crps[forecaster], *means[forecaster], f"{coverage:.2f}", f"{width:.2f}"]
        assert [cell.strip("*") for cell in shown[name]] == expected
    cells = sum(int(row[1]) for row in kept if row[2] == "stack")
    assert f"on {len(mine)} studies ({cells} cells)" in pages()["docs/results/forecasts.md"]
    score, covered = means["stack"][0], 100 * float(shown["stack"][3].strip("*"))
    sentence = f"90 % intervals covered {covered:.0f} % and its CRPS was {score} of the better simple rule"
    assert sentence in normalised(pages()["docs/concepts/calibration.md"])


def printed_by(script):
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
def test_the_exact_learners_table_is_what_its_script_writes(tmp_path):
    import tables

    subprocess.run(
        [sys.executable, "benchmarks/exact_learners.py", "--sweep", "quickstart", "--csv", str(tmp_path / "again.csv")],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    again = np.loadtxt(tmp_path / "again.csv", delimiter=",", skiprows=1)
    stored = tables.read_csv("quickstart_exact")
    assert again[:, :3].tolist() == np.array([stored["n"], stored["k"], stored["dataset"]]).T.tolist()
    # The last digit of a singular value may decide a tie between plans.
    assert np.abs(again[:, 3] - stored["regret"]).max() < 0.01

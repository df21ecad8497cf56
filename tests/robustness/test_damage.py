"""Every file of a finished study, damaged in every way, under every command that reads it.

Each ends in a rebuild, with the table as it was, or in a clear message that leaves out no run without a word.
"""

import itertools
import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.robustness.conftest import ALL_CASES

NESTED = b"[" * 100_000
FILES = (
    "study.yaml", "plan.json", "journal.log", "table.parquet", "fit.json", "budget.json", "report.html",
    "run/config.yaml", "run/metrics.jsonl", "run/record.json", "run/checkpoints/last.ckpt",
)  # fmt: skip
DAMAGES = ("half", "empty", "flipped", "swapped", "other type", "other encoding", "nested", "digits", "folder", "gone")
COMMANDS = ("report", "advise", "status", "collect", "study", "evaluate")


def table(study):
    """Cells of the table by run, times left out."""
    columns = pq.read_table(study / "table.parquet").to_pydict()
    rows = zip(*(columns[name] for name in columns if name != "wall_seconds"), strict=True)
    # Missing numbers are None, so that equal rows are equal.
    return dict(zip(columns["run_id"], rows, strict=True))


def runs(study):
    return sorted((study / "runs").iterdir())


def path_of(study, name):
    victim, _ = runs(study)[:2]
    return victim / name.removeprefix("run/") if name.startswith("run/") else study / name


def damage(study, name, how):
    """Damage a file of the study, or one of its first run."""
    path = path_of(study, name)
    content = path.read_bytes()
    if how == "half":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "flipped":
        generator = np.random.default_rng(len(content))
        flipped = bytearray(content)
        for place in generator.integers(0, len(content), size=16):
            flipped[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(bytes(flipped))
    elif how == "swapped":
        other = runs(study)[1] / name.removeprefix("run/") if name.startswith("run/") else study / "journal.log"
        if other == path:
            other = study / "plan.json"
        path.write_bytes(other.read_bytes())
    elif how == "other type":
        path.write_text(json.dumps({"runs": 7, "study": [1], "config": None, "run_id": {}, "final": "x"}))
    elif how == "other encoding":
        path.write_bytes(content.decode("latin-1").encode("utf-16"))
    elif how == "nested":
        path.write_bytes(NESTED)
    elif how == "digits":
        path.write_bytes(b'{"n": ' + b"9" * 400 + b"}")
    else:
        path.unlink()
        if how == "folder":
            path.mkdir()


def arguments(study, command):
    if command == "evaluate":
        return ("evaluate", runs(study)[0], "evaluation.episodes=2")
    if command == "study":
        return ("study", study.parent / "tiny.yaml", "workers=1", "--folder", study)
    return (command, study)


def check(study, call, name, how, command):
    before = table(study)
    damage(study, name, how)
    said = call(*arguments(study, command))
    if said.code != 0:
        assert "jepa-scale: error: " in said.err or "has no record: " in said.err or "missing: " in said.out, said
        # Named steps, which end in their seconds, say how far it came.
        told = [line for line in said.err.splitlines() if not re.fullmatch(r".+: [\d.]+ s", line)]
        assert len(told) <= 4, said.err
    if command in ("report", "collect", "study") and (study / "table.parquet").is_file():
        try:
            after = table(study)
        except (OSError, ValueError):
            # The table itself is what was damaged, and nothing was collected.
            assert name == "table.parquet"
            return said
        named = said.out + said.err
        assert all(after[run] == before[run] for run in after)
        assert all(run in named or f"n={before[run][4]}" in named for run in set(before) - set(after))
    return said


CASES = list(itertools.product(FILES, DAMAGES, COMMANDS))
# In the fast suite one damage of four of each file meets one command, in turn; in the slow one, some of the others.
FEW = [
    (name, how, COMMANDS[index // 4 % len(COMMANDS)])
    for index, (name, how) in enumerate(itertools.product(FILES, DAMAGES))
    if ALL_CASES or index % 6 == 0
]
OTHERS = [case for case in CASES if case not in FEW]


@pytest.fixture
def damaged(study, call, finished):
    shutil.copy(finished.parent / "tiny.yaml", study.parent / "tiny.yaml")
    return lambda name, how, command: check(study, call, name, how, command)


@pytest.mark.parametrize(("name", "how", "command"), FEW)
def test_a_damaged_file_ends_in_a_rebuild_or_a_message(damaged, name, how, command):
    damaged(name, how, command)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "how", "command"), OTHERS[:: 1 if ALL_CASES else 30])
def test_damages_under_other_commands(damaged, name, how, command):
    damaged(name, how, command)


@pytest.mark.parametrize("command", ["report", "collect", "study"])
def test_a_record_of_another_run_enters_no_table(study, call, finished, command):
    first, second = runs(study)[:2]
    shutil.copy(second / "record.json", first / "record.json")
    shutil.copy(finished.parent / "tiny.yaml", study.parent / "tiny.yaml")
    said = call(*arguments(study, command))
    assert f"is the record of run {second.name}, expected that of run {first.name}" in " ".join(
        (said.out + said.err).split()
    )
    if command == "collect":
        assert said.code == 1
        assert sorted(table(study)) == sorted(run.name for run in runs(study)[1:])
    if command == "study":
        assert said.refused()


@pytest.mark.parametrize("name", ["metrics.jsonl", "config.yaml", "checkpoints/last.ckpt"])
def test_a_file_of_another_run_is_refused_by_a_run_that_goes_on(study, call, finished, name):
    first, second = runs(study)[:2]
    (first / "record.json").unlink()
    shutil.copy(second / name, first / name)
    kept = (first / name).read_bytes()
    shutil.copy(finished.parent / "tiny.yaml", study.parent / "tiny.yaml")
    said = call(*arguments(study, "study"))
    assert said.code == 1
    assert f"run {second.name}" in said.err or f"expected one of run {first.name}" in said.err
    assert (first / name).read_bytes() == kept
    assert not (first / "record.json").exists()


def test_a_plan_of_another_study_is_refused(study, call):
    text = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(text.replace("model.hidden=16", "model.hidden=32"))
    said = call("report", study)
    assert said.refused()
    assert "is the plan of study" in said.err

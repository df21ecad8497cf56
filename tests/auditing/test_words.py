"""What an audit says of itself: options without effect, ranks above the width, cells, files that are whole."""

import os
import signal

import numpy as np
import pytest

import jepa_scale
from jepa_scale.auditing import page
from jepa_scale.auditing.page import key_numbers, write_audit
from jepa_scale.cli.app import main
from jepa_scale.report.page.files import replaced_together
from tests.auditing.test_audit import QUICK, pairs, saved


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        ({"cells": 4}, "--cells 4 has no effect: only continuous actions"),
        ({"components": 8}, "--components 8 has no effect: the embeddings are no wider"),
        ({"tokens": "sample"}, "--tokens sample has no effect: there is no axis"),
        ({"resolution": (0.3,)}, "--resolution has no effect: there is no reference"),
        ({"train_n": 50.0}, "--train-n 50 has no effect: the dictionary advises no width"),
    ],
)
def test_options_without_effect_are_named(settings, start, generator, tmp_path):
    file = saved(tmp_path, **pairs(generator))
    found = jepa_scale.audit(file, **{**QUICK, **settings})
    assert [sentence for sentence in found.warnings if sentence.startswith(start)]
    plain = jepa_scale.audit(file, **QUICK)
    assert not [sentence for sentence in plain.warnings if "no effect" in sentence]


def test_fewer_cells_than_asked_for(generator, tmp_path):
    arrays = pairs(generator)
    for different, expected in ((2, True), (1000, False)):
        arrays["action"] = generator.integers(different, size=(4000, 1)) / 2
        found = jepa_scale.audit(saved(tmp_path, **arrays), **QUICK, cells=4)
        said = [sentence for sentence in found.warnings if sentence.startswith("Only ") and "of actions" in sentence]
        assert bool(said) is expected


def test_a_rank_above_the_width_is_called_so(tmp_path):
    """Of white embeddings every rank is full, and taking its downward bias off often leads beyond that."""
    found = []
    for seed in range(6):
        generator = np.random.default_rng(seed)
        audit = jepa_scale.audit(saved(tmp_path, **pairs(generator, n=2000, k=8)), **QUICK)
        rank = audit.ranks["participation_ratio"].value
        assert ("participation_ratio" in audit.ranks_above_width) == (rank > 8)
        text = dict(key_numbers(audit))["participation ratio, centred"]
        assert text.endswith("above the width") == (rank > 8)
        assert any("no rank can be" in sentence for sentence in audit.warnings) == bool(audit.ranks_above_width)
        found.append(rank > 8)
    assert any(found)


def test_a_place_that_cannot_be_written_is_found_before_reading(generator, tmp_path, capsys, monkeypatch):
    """Nothing can be made in /proc, whoever asks."""
    monkeypatch.setattr("jepa_scale.auditing.audit.run_audit", lambda *_: pytest.fail("it has begun to read"))
    file = saved(tmp_path, **pairs(generator))
    with pytest.raises(SystemExit) as end:
        main(["audit", str(file), "--folder", "/proc/audit"])
    assert end.value.code == 2
    assert "expected a place to write the report" in capsys.readouterr().err


def test_an_interruption_leaves_the_old_audit_or_none(generator, tmp_path, monkeypatch):
    found = jepa_scale.audit(saved(tmp_path, **pairs(generator)), **QUICK)
    folder = tmp_path / "out"

    def interrupted(*_):
        raise KeyboardInterrupt

    whole = page._page
    monkeypatch.setattr(page, "_page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_audit(found, folder)
    assert not folder.exists()
    monkeypatch.setattr(page, "_page", whole)
    write_audit(found, folder)
    (folder / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(page, "_page", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_audit(found, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_an_interruption_between_two_files_waits(tmp_path, monkeypatch):
    replace, names = os.replace, []

    def replace_and_interrupt(source, target):
        os.kill(os.getpid(), signal.SIGINT)
        names.append(target.name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_and_interrupt)
    with pytest.raises(KeyboardInterrupt), replaced_together(tmp_path / "out") as draft:  # noqa: PT012
        (draft / "a.json").write_text("1")
        (draft / "b.html").write_text("2")
    assert names == ["a.json", "b.html"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.json", "b.html"]


def test_a_tail_beside_a_latent_that_predicts_everything_is_explained():
    """Products of independent modes are functions of the next latent too: a tail, though nothing of z⁺ is missed."""
    generator, rho = np.random.default_rng(0), np.array([0.95, 0.9])
    z = [generator.normal(size=(160, 2))]
    for _ in range(20):
        z.append(rho * z[-1] + np.sqrt(1 - rho**2) * generator.normal(size=(160, 2)))
    found = jepa_scale.audit(z=np.stack(z, 1), dictionary=32, resolution=())
    assert (found.verdict.reason.code, found.dictionary.tail_own.low > 0.1) == ("fits", True)
    assert found.verdict.reason.values["held"] > 0.99
    assert "bent functions" in page.sufficiency(found)
    assert "next latent" in str(found.verdict.reason)

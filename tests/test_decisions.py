"""Decision records of ``audit`` and ``data``: what they hold, and whose command and digest."""

import hashlib

import numpy as np
import pytest

from jepa_scale.cli.app import main
from jepa_scale.cli.common import command_line
from jepa_scale.report.decision import digest_of, record_page


@pytest.fixture
def embeddings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    z, action = np.zeros((40, 26, 6)), generator.integers(0, 3, (40, 25))
    for t in range(25):
        z[:, t + 1] = 0.5 * z[:, t] + np.eye(6)[action[:, t]] + 0.3 * generator.standard_normal((40, 6))
    np.savez(tmp_path / "emb.npz", z=z, action=action)
    return tmp_path / "emb.npz"


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def sections(page):
    parts = page.split("\n## ")
    return {part.splitlines()[0]: "\n".join(part.splitlines()[1:]).strip() for part in parts[1:]}


def test_an_audit_leaves_a_record(embeddings, capsys):
    assert run("audit", "emb.npz", "--decision", "docs/width.md", "-q") == 0
    verdict = " ".join(capsys.readouterr().out.split())
    page = (embeddings.parent / "docs" / "width.md").read_text()
    found = sections(page)
    assert page.startswith("# Is a width of 6 right? ")
    assert list(found)[:3] == ["Question", "Verdict", "Evidence"]
    assert " ".join(found["Verdict"].split()) in verdict
    assert "predictable energy" in found["Evidence"]
    assert "jepa-scale audit emb.npz\n" in found["How to repeat it"]
    assert digest_of(embeddings) in found["How to repeat it"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_card_leaves_a_record(embeddings, capsys, asked):
    options = ["--enough"] if asked else []
    assert run("data", "emb.npz", "--observation", "z", *options, "--decision", "card.md") == 0
    found = sections((embeddings.parent / "card.md").read_text())
    assert ("are they enough?" in found["Question"]) == asked
    assert ("twice the data" in found["Verdict"]) == asked
    assert ("was not asked: --enough" in found["What would change it"]) != asked
    assert f"jepa-scale data emb.npz --observation z{' --enough' * asked}\n" in found["How to repeat it"]


@pytest.mark.parametrize("command", [("audit", "emb.npz"), ("data", "emb.npz", "--observation", "z")])
def test_a_folder_is_no_place_for_a_record(embeddings, capsys, command):
    assert run(*command, "--decision", ".") == 2
    assert "--decision: . is a folder" in capsys.readouterr().err
    assert not (embeddings.parent / "audits").exists()


def test_the_command_is_told_without_what_changes_only_the_output():
    given = ["audit", "my file.npz", "--decision", "a.md", "-v", "--widths", "2", "--json"]
    assert command_line(given) == "jepa-scale audit 'my file.npz' --widths 2"
    assert command_line(["data", "x", "--decision=a.md"]) == "jepa-scale data x"


def test_the_digest_is_of_content_and_of_names_in_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "z.npy").write_bytes(b"one")
    file = hashlib.sha256(b"one").hexdigest()
    assert digest_of(tmp_path / "a" / "z.npy") == file
    before = digest_of(tmp_path / "a")
    assert before == hashlib.sha256(f"{file}  z.npy\n".encode()).hexdigest()
    (tmp_path / "a" / "z.npy").rename(tmp_path / "a" / "y.npy")
    assert digest_of(tmp_path / "a") not in (before, file)


def test_empty_sections_are_left_out():
    page = record_page("T?", {"Question": "Q", "Cautions": []}, "c", "s", "d")
    assert "Cautions" not in page
    assert page.endswith("s: sha256 d.\n")

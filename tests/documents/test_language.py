"""The style that CONTRIBUTING.md asks of the README and the documentation, where a program can check it."""

import re

import pytest

from tests.documents.pages import ROOT, normalised, pages

STYLE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
REFUSED = re.findall(r"^\| (.*?) \| .*? \|$", STYLE.partition("| instead of | write |")[2], flags=re.MULTILINE)


def test_the_style_page_names_phrases():
    assert "nobody is at it any more" in REFUSED
    assert len(REFUSED) == 6


def prose(text):
    return normalised(re.sub(r"```.*?```", "", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", [page for page in pages() if page not in ("CONTRIBUTING.md", "docs/recordings.md")])
def test_no_page_uses_a_refused_phrase(page):
    text = prose(pages()[page]).lower()
    assert not [phrase for phrase in REFUSED if phrase.lower() in text]


def test_the_readme_is_short():
    assert len(pages()["README.md"].splitlines()) <= 150


def test_the_citation_names_the_version_and_the_paper():
    import yaml

    import jepa_scale

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert jepa_scale.__version__.startswith(citation["version"])
    assert citation["references"][0]["identifiers"][0]["value"] in pages()["README.md"]


def test_the_changelog_is_in_the_order_of_its_format():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    versions = re.split(r"^## ", text, flags=re.MULTILINE)
    assert versions
    for version in versions:
        found = re.findall(r"^### (\w+)$", version, flags=re.MULTILINE)
        assert found == sorted(found, key=kinds.index)
        assert len(found) == len(set(found))

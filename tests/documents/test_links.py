"""Links of the pages as they lie in the repository lead somewhere."""

import re

import pytest

from tests.documents.pages import DOCS, ROOT, pages

GENERATED = {
    *(f"docs/reference/{name}.md" for name in ("cli", "json", "configuration", "study-file", "studies", "python")),
    *(f"docs/results/{name}.md" for name in ("gallery", "benchmarks")),
    *(f"docs/{name}.md" for name in ("how-to/slurm", "security", "contributing", "changelog")),
}
"""Pages that the site has and the repository has not; their links are checked in the site."""


def anchors(text):
    found = {match.strip() for match in re.findall(r"\{ #([\w-]+) \}", text)}
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.MULTILINE):
        slug = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        found.add(re.sub(r"\s", "-", slug))
    return found


@pytest.mark.parametrize("page", pages())
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", pages()[page], flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)
    for link in links:
        target, _, anchor = link.partition("#")
        if target.startswith(("http://", "https://")) or anchor in ("only-light", "only-dark"):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        name = path.resolve().relative_to(ROOT).as_posix()
        if name in GENERATED or name.startswith("docs/assets/benchmarks/"):
            continue
        assert path.exists(), f"{page}: {link}"
        # The glossary's own headings are written when the site is built.
        if anchor and path.suffix == ".md" and anchor not in ("columns", "estimates"):
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {link}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = set(re.findall(r"([\w./-]+\.md)", navigation))
    lying = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "optunahub" not in path.parts}
    # Those in docs/ itself are added to the how-to guides where they are not listed.
    lying = {name for name in lying if "/" in name or name in listed}
    assert listed == lying | {name.removeprefix("docs/") for name in GENERATED}

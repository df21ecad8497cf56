"""The README and the pages of the documentation, and the code blocks that they hold."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SITE = DOCS / "_site"
if str(SITE) not in sys.path:
    sys.path.insert(0, str(SITE))

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str

    def commands(self) -> list[list[str]]:
        """Words of every command of a bash block; those of a line that ``&&`` or ``|`` joins are several."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found: list[list[str]] = []
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="&|")
            lexer.whitespace_split = True
            lexer.commenters = "#"
            command: list[str] = []
            for word in lexer:
                if set(word) <= {"&", "|"}:
                    found.append(command)
                    command = []
                else:
                    command.append(word)
            found.append(command)
        # VAR=value before a command is of its environment.
        found = [words[next((i for i, word in enumerate(words) if "=" not in word), 0) :] for words in found if words]
        return [[Path(words[0]).name if "/bin/" in words[0] else words[0], *words[1:]] for words in found if words]


def pages():
    """Names of the README and of every page of the documentation, with their texts."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "slurm/README.md"]
    paths += [ROOT / "benchmarks/README.md", ROOT / "benchmarks/tables/README.md"]
    paths += sorted(path for path in DOCS.rglob("*.md") if "optunahub" not in path.parts)
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def blocks(*languages, page=""):
    """Blocks of some languages, of one page or of all."""
    return [
        Block(name, language, text)
        for name, content in pages().items()
        if not page or name == page
        for language, text in _BLOCK.findall(content)
        if language in languages
    ]


def jepa_scale_commands():
    """Every ``jepa-scale COMMAND …`` of every page with the page's name, each once."""
    found = {}
    for block in blocks("bash"):
        for words in block.commands():
            if words[0] == "jepa-scale" and words[1:] and not words[1].startswith("--"):
                found.setdefault(tuple(words[1:]), block.page)
    return [(page, list(words)) for words, page in found.items()]


def normalised(text):
    """Text with every run of white space as one blank."""
    return " ".join(text.split())

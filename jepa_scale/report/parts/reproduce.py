"""How to reproduce a study: commands, versions, hashes, data."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jepa_scale.records import StudyResult
from jepa_scale.report.page.markup import folded, paragraph, table, text
from jepa_scale.report.wording import plural, whole


def reproducibility(result: StudyResult, folder: Path) -> str:
    """Return commands, then versions and data of the runs, then the settings that all runs share."""
    return _commands(folder) + _versions(result) + _data(result) + settings(result)


def _commands(folder: Path) -> str:
    lines = [
        "# from where the study was started, FOLDER being that of this page",
        "jepa-scale study FOLDER/study.yaml --folder FOLDER   # does only what is missing",
        "jepa-scale report FOLDER                             # writes this page again from the runs",
    ]
    written = folder / "study.yaml"
    checksum = ""
    if written.is_file():
        checksum = paragraph(f"SHA-256 of study.yaml: {hashlib.sha256(written.read_bytes()).hexdigest()}.")
    return (
        "<h3>Commands</h3>"
        + paragraph("In the study's folder, where study.yaml and the runs lie:")
        + f"<pre>{text(chr(10).join(lines))}</pre>"
        + checksum
        + paragraph(
            "The name of a run is a hash of its whole configuration, which is in runs/NAME/config.yaml: runs of equal "
            "name have equal configurations."
        )
    )


def _versions(result: StudyResult) -> str:
    known = Counter((name, version) for record in result.records.values() for name, version in record.versions.items())
    rows = [(text(name), text(version), str(count)) for (name, version), count in sorted(known.items())]
    if not rows:
        return paragraph("No run recorded its versions.")
    return "<h3>Versions</h3>" + table(
        ("package", "version", "runs"), rows, "Versions that the numbers may depend on.", (2,)
    )


def _data(result: StudyResult) -> str:
    counts: dict[tuple[int, int, str], int] = {}
    for record in result.records.values():
        key = int(record.dials["n"]), int(record.dials["seed"]), record.data_checksum
        counts[key] = counts.get(key, 0) + 1
    if not counts:
        return paragraph("No run recorded a checksum of its data.")
    rows = [
        (whole(n), str(seed), f"<code>{text(checksum)}</code>", str(count))
        for (n, seed, checksum), count in sorted(counts.items())
    ]
    listing = table(("n", "seed", "SHA-256 of the training data", "runs"), rows, "", (0, 1, 3))
    different = len({checksum for _, _, checksum in counts})
    summary = f"{plural(different, 'data set')} behind {plural(len(result.records), 'run')}"
    return f"<h3>Data</h3>{folded(summary, listing)}"


def settings(result: StudyResult) -> str:
    """Return the settings that all runs share."""
    rows = [(f"<code>{text(name)}</code>", f"<code>{text(value)}</code>") for name, value in flatten(result.settings)]
    if not rows:
        return paragraph("No shared settings were recorded.")
    return "<h3>Settings</h3>" + table(("setting", "value"), rows, "What all runs share.")


def flatten(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return nested settings as dotted names with their values."""
    pairs: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            pairs += flatten(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", str(value)))
    return pairs

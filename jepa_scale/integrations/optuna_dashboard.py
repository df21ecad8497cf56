"""What optuna-dashboard shows of a study beside its trials: the verdict, the report and its figures.

The verdict is a user attribute of the Optuna study. Report and figures are artifacts of it, in the folder
``artifacts``: hard links where the file system has any, so that they take no room.
"""

from __future__ import annotations

import json
import mimetypes
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from optuna.artifacts._upload import ARTIFACTS_ATTR_PREFIX

from jepa_scale.files import written
from jepa_scale.studies.view.status import open_study

FOLDER = "artifacts"
"""Folder of the artifacts inside a study's: the dashboard's ``--artifact-dir``."""
_NAMES = uuid.UUID("6f1f3d5e-0b0c-5f0e-9a36-6a70612d7363")
"""Space of the ids: a file of one name has one id, so that a new report takes the place of the old one."""


def publish(study: Path, verdict: str, files: Iterable[Path]) -> None:
    """Give a study's Optuna study the verdict, and the files as artifacts; what it has already is not written again.

    A study whose trials are nowhere is left alone: a journal is not created for this.

    Raises
    ------
    UserError
        If the folder holds no planned study, its journal is damaged, or its server does not answer.
    NotWritten
        If the operating system refuses.
    """
    if not (study / "journal.log").is_file() and not (study / "launch.json").is_file():
        return
    _, _, queue = open_study(study)
    if queue.reads:
        return
    shown = queue.study
    if shown.user_attrs.get("verdict") != verdict:
        shown.set_user_attr("verdict", verdict)
    known = queue.storage.get_study_system_attrs(shown._study_id)
    wanted = {}
    for file in files:
        number = str(uuid.uuid5(_NAMES, file.name))
        _place(file, study / FOLDER / number)
        kind, encoding = mimetypes.guess_type(file.name)
        content = {"artifact_id": number, "filename": file.name, "mimetype": kind, "encoding": encoding}
        wanted[ARTIFACTS_ATTR_PREFIX + number] = json.dumps(content)
    # A figure of an earlier report would pass for one of this.
    gone = {name: json.dumps(None) for name in known if _ours(name, known[name]) and name not in wanted}
    for name, text in {**wanted, **gone}.items():
        if known.get(name) != text:
            queue.storage.set_study_system_attr(shown._study_id, name, text)
    for name in gone:
        (study / FOLDER / name.removeprefix(ARTIFACTS_ATTR_PREFIX)).unlink(missing_ok=True)


def _ours(name: str, content: str) -> bool:
    """Whether a system attribute is an artifact that this module has attached; users attach others."""
    number = name.removeprefix(ARTIFACTS_ATTR_PREFIX)
    if number == name or content == json.dumps(None):
        return False
    return number == str(uuid.uuid5(_NAMES, json.loads(content)["filename"]))


def _place(file: Path, place: Path) -> None:
    """Link a file to its place among the artifacts, or copy it; readers see the old one or the new one."""
    draft = place.with_name(f".{place.name}")
    with written(place):
        place.parent.mkdir(exist_ok=True)
        draft.unlink(missing_ok=True)
        try:
            os.link(file, draft)
        except OSError:
            shutil.copyfile(file, draft)
        os.replace(draft, place)

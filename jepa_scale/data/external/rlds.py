"""RLDS and TFDS, which need TensorFlow and are not read: their near miss names the converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepa_scale.data.external.formats import Format
from jepa_scale.foreign import Refused

_ADVICE = (
    "RLDS needs TensorFlow, which is not loaded here: convert it to LeRobot's format (openx2lerobot of any4lerobot, or "
    "LeRobot's own port_droid.py as a pattern), or write .npz with observations, actions and ep_len from tfds.load"
)


def read(path: Path, **options: Any) -> Any:
    """Refuse the folder and name the converter.

    Raises
    ------
    Refused
        Always.
    """
    raise Refused(f"{path}: expected a format that can be read without TensorFlow, got RLDS: {_ADVICE}")


def _is_rlds(path: Path) -> bool:
    if path.is_file():
        return ".tfrecord" in path.name
    for folder in (path, *(inner for inner in path.iterdir() if inner.is_dir())) if path.is_dir() else ():
        if (folder / "features.json").is_file() or next(folder.glob("*.tfrecord*"), None) is not None:
            return True
    return False


FORMATS = (Format("rlds", "RLDS or TFDS, which has to be converted", _is_rlds, read, order=40),)

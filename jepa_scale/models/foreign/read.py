"""Finding and reading checkpoints of other programs; only tensors and plain values of a file are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_scale.models.foreign.lewm import LeWM

_PARTS = ("encoder", "predictor", "action_encoder")


@dataclass(frozen=True)
class ForeignCheckpoint:
    """Weights of another program's world model, with the configuration that lies beside them."""

    path: Path
    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]
    digest: str
    """SHA-256 of the file."""

    @property
    def action_size(self) -> int:
        """Coordinates of an action of the model."""
        return int(self.weights["action_encoder.patch_embed.weight"].shape[1])

    def model(self, mean: Tensor, deviation: Tensor) -> LeWM:
        """Build the model, in evaluation mode; ``mean`` and ``deviation`` (size,) are those of the recorded actions.

        Raises
        ------
        ValueError
            If weights are missing, left over or of other shapes.
        """
        try:
            return LeWM(self.weights, mean, deviation).eval()
        except (KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise ValueError(f"{self.path}: expected the weights of a LeWM, got others ({reason})") from None


def weights_of(path: Path) -> Path | None:
    """The file of weights that a path names: itself, or the only one of its folder; None if this is no such path."""
    if path.is_dir():
        files = (
            sorted(path.glob("*.pt")) if (path / "config.json").is_file() or (path / "config.yaml").is_file() else []
        )
        return files[0] if len(files) == 1 else None
    return path if path.suffix in (".pt", ".pth") and path.is_file() else None


def read_foreign(path: Path) -> ForeignCheckpoint:
    """Read the weights of a LeWM: a ``.pt`` file of stable-worldmodel, or a folder with one and a ``config.json``.

    Raises
    ------
    ValueError
        If the file is a pickle of a model, which runs code when it is read, or holds other weights.
    """
    file = weights_of(path)
    if file is None:
        raise ValueError(f"{path}: expected a .pt file, or a folder with one .pt file and config.json, got neither")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise ValueError(
                f"{file}: expected a state dict, got a pickled model, which runs code when it is read: load it with "
                "the program that wrote it and save model.state_dict() as a .pt file"
            ) from None
        raise ValueError(f"{file}: cannot be read ({str(error).splitlines()[0]}): expected a state dict") from None
    weights = _state(content)
    missing = [part for part in _PARTS if not any(name.startswith(f"{part}.") for name in weights)]
    if missing or not all(isinstance(value, Tensor) for value in weights.values()):
        kinds = sorted({str(name).partition(".")[0] for name in weights})
        raise ValueError(
            f"{file}: expected the weights of a LeWM ({', '.join(_PARTS)}), got {', '.join(kinds[:8]) or 'none'}: of "
            "DINO-WM and others save embeddings and audit these, or plan with jepa_scale.callbacks.PlanningSuccess"
        )
    return ForeignCheckpoint(file, weights, _config(file.parent), hashlib.sha256(file.read_bytes()).hexdigest())


def _state(content: Any) -> dict[str, Any]:
    """The state dict itself, or that of a Lightning checkpoint, whose names begin with ``model.``."""
    if not isinstance(content, Mapping):
        return {}
    inner = content.get("state_dict", content)
    names = {str(name).removeprefix("model."): value for name, value in inner.items()}
    return {name: value for name, value in names.items() if not name.startswith("sigreg.")}


def _config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

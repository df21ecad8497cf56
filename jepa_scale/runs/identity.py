"""The identity of a run: a hash of its resolved configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NOT_IDENTITY = ("logger",)
"""Where a run reports to does not change what it computes."""


def canonical(config: Mapping[str, Any]) -> str:
    """Return the canonical text of a resolved configuration."""
    kept = {key: value for key, value in config.items() if key not in NOT_IDENTITY}
    return json.dumps(kept, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def run_id(config: Mapping[str, Any]) -> str:
    """Return 12 hexadecimal digits, the same for the same configuration on every machine."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:12]

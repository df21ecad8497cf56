"""Independent random streams by name, so that changing one dial does not reshuffle the others."""

from __future__ import annotations

import hashlib


def stream_seed(seed: int, name: str) -> int:
    """Return a 63-bit seed for the stream ``name`` of run seed ``seed``; different names share nothing."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

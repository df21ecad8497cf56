"""Planted run tables, and the laws as the configuration offers them."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.runs.instantiate import build_law


@pytest.fixture
def generic():
    return build_law("generic")


@pytest.fixture
def theory_free():
    return build_law("theory_free")


@pytest.fixture
def theory_fixed():
    return build_law("theory_fixed")


@pytest.fixture
def generator():
    return np.random.default_rng(20)

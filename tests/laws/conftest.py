"""Planted run tables, and the laws as the configuration offers them."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_scale.laws.generic import Generic
from jepa_scale.laws.theory_shaped import TheoryShaped


@pytest.fixture
def generic():
    return Generic()


@pytest.fixture
def theory_free():
    return TheoryShaped(name="theory_free")


@pytest.fixture
def theory_fixed():
    return TheoryShaped(name="theory_fixed", p=2.0, q=0.5)


@pytest.fixture
def generator():
    return np.random.default_rng(20)

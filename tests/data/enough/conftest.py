"""A smaller learner: what is tested does not depend on its size."""

import pytest

from jepa_scale.data.enough import ladder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(ladder, "_LEARNERS", ((2.0, (0, 96)),))

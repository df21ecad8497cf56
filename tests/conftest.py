"""Shapes and types of the mathematics are checked at run time in every test."""

import os

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")
# Nothing that a test collects is found by another one, or by the user.
os.environ["JEPA_SCALE_CACHE"] = "off"

from jaxtyping import install_import_hook

install_import_hook(["jepa_scale.theory", "jepa_scale.estimators", "jepa_scale.worlds"], "beartype.beartype")

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

# The same examples on every machine; a slow one is no failure on a shared machine.
settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("fixed")

torch.set_num_threads(1)


@pytest.fixture
def generator():
    return np.random.default_rng(20260627)


@pytest.fixture
def tiny_overrides():
    """A run of a second: two epochs of twenty steps."""
    return [
        "logger=none",
        "trainer.epochs=2",
        "trainer.steps_per_epoch=20",
        "data.n=600",
        "data.heldout=1600",
        "data.test=1600",
        "data.batch_size=64",
        "model.k=4",
        "model.hidden=16",
    ]


@pytest.fixture(scope="session")
def browsing():
    """Chromium, headless and without a network."""
    import shutil

    from tests.report.browsing import Browsing

    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[test]'")
    found = next((path for name in Browsing.NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser ({', '.join(Browsing.NAMES)}): install the package chromium")
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield Browsing(browser)
        browser.close()

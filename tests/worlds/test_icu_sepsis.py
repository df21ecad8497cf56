"""ICU-Sepsis as its package has it, but for the restart; read without importing the package."""

import sys
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest

from jepa_scale.theory.graph import next_law
from jepa_scale.worlds import icu_sepsis
from jepa_scale.worlds.icu_sepsis import IcuSepsis

try:
    distribution("icu-sepsis")
    PRESENT = True
except PackageNotFoundError:
    PRESENT = False

pytestmark = pytest.mark.slow
needs_data = pytest.mark.skipif(not PRESENT, reason="needs pip install --no-deps icu-sepsis")


@pytest.fixture(scope="module")
def world():
    return IcuSepsis()


@needs_data
def test_sizes_and_restart(world):
    finite = world.finite
    assert (finite.actions, finite.states) == (25, 716)
    with np.load(icu_sepsis._file()) as held:
        kernel, start = held["tx_mat"], held["d_0"]
    np.testing.assert_array_equal(finite.transition[:, :715], kernel.swapaxes(0, 1)[:, :715])
    # d_0 is divided by its sum, which is 1 to rounding.
    np.testing.assert_allclose(finite.transition[:, 715], np.broadcast_to(start, (25, 716)), atol=1e-15)
    assert finite.transition.flags.c_contiguous


@needs_data
def test_the_law_is_that_of_one_admission_after_another(world):
    """Length and outcome of an admission by first-step analysis of the package's own absorbing chain."""
    with np.load(icu_sepsis._file()) as held:
        chain, start = held["tx_mat"].mean(1)[:713], held["d_0"][:713]
    visits = np.linalg.solve(np.eye(713) - chain[:, :713].T, start)
    law = world.finite.context_law
    # Beside the visits to patients' states an admission shows death or survival once and the end once.
    np.testing.assert_allclose(law[:713], visits / (visits.sum() + 2), rtol=1e-9)
    survived = visits @ chain[:, 714]
    np.testing.assert_allclose(law[714] / law[715], survived, rtol=1e-9)
    # The return of the random policy that the package's authors report.
    assert survived == pytest.approx(0.78, abs=0.005)


@needs_data
def test_observations_are_standardised_centres_and_flags(world):
    seen = world.observations
    assert seen.shape == (716, 50)
    np.testing.assert_allclose(seen[:, :47].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(seen[:, :47].std(0), 1, atol=1e-12)
    np.testing.assert_array_equal(seen[713:, 47:], np.eye(3))
    assert not seen[:713, 47:].any()
    np.testing.assert_array_equal(IcuSepsis(centroids=False).observations, np.eye(716))


@needs_data
def test_the_package_is_not_imported(world):
    assert "icu_sepsis" not in sys.modules
    assert np.isfinite(next_law(world.finite)).all()


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(icu_sepsis, "DISTRIBUTION", "icu-sepsis-that-is-not-there")
    with pytest.raises(ValueError, match=r"pip install --no-deps icu-sepsis.*jepa-scale\[icu\]"):
        IcuSepsis()


def fake(monkeypatch, tmp_path, **arrays):
    path = tmp_path / "dynamics.npz"
    np.savez(path, **arrays)
    monkeypatch.setattr(icu_sepsis, "_file", lambda: path)


def test_other_files_are_refused(monkeypatch, tmp_path):
    fake(monkeypatch, tmp_path, tx_mat=np.ones((2, 1, 2)) / 2)
    with pytest.raises(ValueError, match=r"expected d_0, state_cluster_centers in icu-sepsis's dynamics\.npz"):
        IcuSepsis()
    fake(monkeypatch, tmp_path, tx_mat=np.ones((2, 1, 2)) / 2, d_0=np.ones(2) / 2, state_cluster_centers=np.eye(2))
    with pytest.raises(ValueError, match=r"expected one absorbing state.*got 0"):
        IcuSepsis().kernel()


def test_a_distribution_without_the_file_is_refused(monkeypatch):
    monkeypatch.setattr(icu_sepsis, "DISTRIBUTION", "numpy")
    with pytest.raises(ValueError, match=r"expected dynamics\.npz among the files of numpy"):
        IcuSepsis()

import numpy as np
import pytest

from jepa_scale.estimators.model import estimate_model
from jepa_scale.estimators.moments import grouped_moments
from jepa_scale.estimators.rank import (
    alpha_req,
    effective_ranks,
    erank_eig_centred,
    lidar_wm,
    participation_ratio,
    rankme_sv_uncentred,
)


def entropy_rank(values):
    share = values / values.sum()
    return np.exp(-sum(p * np.log(p) for p in share if p > 0))


def test_from_moments_as_from_embeddings(generator):
    embeddings = generator.normal(size=(3000, 32)) * np.arange(1, 33) ** -0.5 + 0.7
    n = len(embeddings)
    moments = grouped_moments(embeddings, embeddings, generator.integers(2, size=n), np.arange(n) // 10, 2)
    found = effective_ranks(moments)
    singular = np.linalg.svd(embeddings, compute_uv=False)
    eigenvalues = np.linalg.eigvalsh(np.cov(embeddings.T, bias=True))[::-1]
    assert found["rankme_sv_uncentred"].whole == pytest.approx(entropy_rank(singular), rel=1e-9)
    assert found["erank_eig_centred"].whole == pytest.approx(entropy_rank(eigenvalues), rel=1e-9)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert found["participation_ratio"].whole == pytest.approx(expected, rel=1e-9)
    slope = np.polyfit(np.log(np.arange(11, 33)), np.log(eigenvalues[10:32]), 1)[0]
    assert found["alpha_req"].whole == pytest.approx(-slope, rel=1e-9)
    assert all(one.standard_error > 0 for one in found.values())


def test_closed_forms():
    power = np.diag(np.arange(1, 257.0) ** -1)
    assert alpha_req(power) == pytest.approx(1.0)
    assert rankme_sv_uncentred(np.eye(7)) == pytest.approx(7.0)
    assert erank_eig_centred(np.diag([3.0, 3.0, 0.0])) == pytest.approx(2.0)
    assert participation_ratio(np.eye(5)) == pytest.approx(5.0)
    assert np.isnan(alpha_req(np.eye(19)))
    # The two conventions on one spectrum, λ_i = 1/i at k = 256.
    assert rankme_sv_uncentred(power) == pytest.approx(209, abs=1)
    assert erank_eig_centred(power) == pytest.approx(74.6, abs=0.1)


def test_lidar_is_the_spectrum_of_between_over_within(generator):
    """Classes instead of contexts: S_w⁻¹ S_b has the eigenvalues ρ²/(1 − ρ²), which the moments see as ρ."""
    classes = generator.integers(5, size=4000)
    means = generator.normal(size=(5, 4))
    embeddings = means[classes] + generator.normal(size=(4000, 4))
    moments = grouped_moments(np.eye(5)[classes], embeddings, np.zeros(4000, dtype=np.int64), np.arange(4000), 1)
    values = estimate_model(moments, "same_action").spectra[0].singular_values.whole
    residuals = embeddings - np.stack([embeddings[classes == c].mean(0) for c in range(5)])[classes]
    within = residuals.T @ residuals / len(residuals)
    between = np.cov(embeddings.T, bias=True) - within
    eigenvalues = np.sort(np.linalg.eigvals(np.linalg.solve(within, between)).real)[::-1]
    assert lidar_wm(values, delta=0.0) == pytest.approx(entropy_rank(np.clip(eigenvalues, 0, None)), rel=1e-9)


def test_collapsed_embeddings():
    moments = grouped_moments(np.ones((500, 3)), np.ones((500, 3)), np.zeros(500, dtype=np.int64), np.arange(500), 1)
    found = effective_ranks(moments)
    assert found["rankme_sv_uncentred"].whole == pytest.approx(1.0)
    assert found["participation_ratio"].whole == pytest.approx(0.0, abs=1e-9)

"""Estimators the slow way."""

import numpy as np


def unbiased_loss(predicted, observed, rows, rivals):
    """−2 mean h_iᵀf_i over rows, + mean over pairs (i in rows, j in rivals, j ≠ i) of (h_iᵀf_j)²."""
    own = np.mean([predicted[i] @ observed[i] for i in rows])
    pairs = [(predicted[i] @ observed[j]) ** 2 for i in rows for j in rivals if i != j]
    return -2 * own + np.mean(pairs)


def canonical_correlations(predicted, observed, law=None):
    """By QR of the sample matrices (same-action: both from the same rows)."""
    left = np.linalg.qr(predicted)[0]
    right = np.linalg.qr(observed)[0]
    return np.linalg.svd(left.T @ right, compute_uv=False)

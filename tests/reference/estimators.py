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


def grouped_sums(h, f, cells, trajectories, weights, cell_count, groups):
    """Sums of w [1, h][1, h]ᵀ and so on, row by row."""
    p, q = h.shape[1] + 1, f.shape[1] + 1
    sums = {
        "zz": np.zeros((cell_count, groups, p, p)),
        "yy": np.zeros((cell_count, groups, q, q)),
        "zy": np.zeros((cell_count, groups, p, q)),
        "weight_square": np.zeros((cell_count, groups)),
        "rows": np.zeros((cell_count, groups)),
    }
    for row in range(len(h)):
        z, y, w = np.append(1, h[row]), np.append(1, f[row]), weights[row]
        place = cells[row], trajectories[row] % groups
        for name, term in {
            "zz": w * np.outer(z, z),
            "yy": w * np.outer(y, y),
            "zy": w * np.outer(z, y),
            "weight_square": w * w,
            "rows": 1,
        }.items():
            sums[name][place] += term
    return sums

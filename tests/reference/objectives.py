"""Terms of objectives the slow, obvious way: loops and closed forms written from the definitions."""

import math


def variance_hinge(rows, target=1.0):
    """Mean over coordinates of max(0, target − √(var + 1e-4)), the variance with B − 1."""
    count, width = rows.shape
    total = 0.0
    for j in range(width):
        mean = sum(rows[i, j] for i in range(count)) / count
        variance = sum((rows[i, j] - mean) ** 2 for i in range(count)) / (count - 1)
        total += max(0.0, target - math.sqrt(variance + 1e-4))
    return total / width


def covariance_penalty(rows):
    """Σ_{j ≠ l} cov(j, l)² / k, the covariance with B − 1."""
    count, width = rows.shape
    means = [sum(rows[i, j] for i in range(count)) / count for j in range(width)]
    total = 0.0
    for j in range(width):
        for other in range(width):
            if j != other:
                products = sum((rows[i, j] - means[j]) * (rows[i, other] - means[other]) for i in range(count))
                total += (products / (count - 1)) ** 2
    return total / width


def epps_pulley(values):
    """∫ |φ_B(t) − e^{−t²/2}|² N(t; 0, 1) dt of numbers u_1 … u_B, in closed form.

    With w = N(·; 0, 1) and ∫ cos(st) e^{−ct²} w dt = (1 + 2c)^{−1/2} e^{−s²/(2 (1 + 2c))}:
    |φ_B|² = B⁻² Σ_jk cos(t (u_j − u_k)) with c = 0; −2 Re φ_B e^{−t²/2} = −2 B⁻¹ Σ_j cos(t u_j) e^{−t²/2} with c = 1/2;
    e^{−t²} with s = 0, c = 1.
    """
    count = len(values)
    pairs = sum(math.exp(-((one - other) ** 2) / 2) for one in values for other in values) / count**2
    cross = sum(math.exp(-(one**2) / 4) for one in values) / math.sqrt(2) / count
    return pairs - 2 * cross + 1 / math.sqrt(3)


def mean_square(predicted, observed):
    """Mean over rows, steps and coordinates of the squared difference."""
    total, count = 0.0, 0
    for rows in zip(predicted, observed, strict=True):
        for steps in zip(*rows, strict=True):
            for one, other in zip(*steps, strict=True):
                total, count = total + (one - other) ** 2, count + 1
    return total / count


def over_steps(term, latents):
    """Mean over the steps of a window of a term of the rows at each."""
    return sum(term(latents[:, step]) for step in range(latents.shape[1])) / latents.shape[1]


def cross_entropy(scores, actions):
    """Mean over rows and steps of −log softmax(scores)[action]."""
    total, count = 0.0, 0
    for rows, taken in zip(scores, actions, strict=True):
        for row, action in zip(rows, taken, strict=True):
            total += math.log(sum(math.exp(score) for score in row)) - row[action]
            count += 1
    return total / count

"""The spectral loss on held-out pairs as independent bounded values, one per block.

The held-out loss is a U-statistic of order 2: its terms (h_iᵀz_j)² share rows, so they are not independent, and a bound
for independent values does not apply to their average. Cut into disjoint blocks of b rows, each block's own U-statistic
is an unbiased value of L(a), and blocks share no row, so the values are i.i.d. (Hoeffding 1963, section 5a). The price
is a factor b in the number of values; what is lost in variance is only of the second order, ζ₂/(n (b − 1)), as
Var(mean of blocks) = 4 ζ₁/n + O(ζ₂/(n b)), against 4 ζ₁/n + O(ζ₂/n²) for all pairs.

Averaging over several partitions of the same rows is not done: the averaged values are no longer independent.
"""

from __future__ import annotations

import numpy as np

from jepa_scale.shapes import Float64
from jepa_scale.theory.concentration import betting_upper

BLOCK = 4
"""Rows per block. On tori (k from 4 to 24) the tightest of 2, 4, 8, 16 was 2 at 10³ rows, 4 at 10⁴ and 8 at 10⁵ rows
of an action; 4 was never wider than 1.7 times the best. Choose before the data are seen."""


def block_losses(
    predicted: Float64[np.ndarray, "n k"], observed: Float64[np.ndarray, "n k"], block: int = BLOCK
) -> Float64[np.ndarray, " blocks"]:
    """L of each block, −(2/b) Σ_i h_iᵀz_i + 1/(b(b−1)) Σ_{i≠j} (h_iᵀz_j)²; x' of law q_a (same-action negatives).

    Rows are pairs h = g(f(x), a), z = f(x⁺), all of one action a, independent of each other and of the model. Rows left
    over after the last whole block are not used.

    Raises
    ------
    ValueError
        If a block has fewer than two rows, or there are fewer rows than one block.
    """
    inner = block_products(predicted, observed, block)
    own = np.diagonal(inner, axis1=1, axis2=2)
    cross = (inner**2).sum((1, 2)) - (own**2).sum(1)
    return -2 * own.mean(1) + cross / (block * (block - 1))


def block_losses_pooled(
    predicted: Float64[np.ndarray, "n k"],
    observed: Float64[np.ndarray, "n k"],
    negatives: Float64[np.ndarray, "m k"],
    block: int = BLOCK,
) -> Float64[np.ndarray, " blocks"]:
    """L of each block against its own share of independent negatives z', (1/(b r)) Σ_{i,j} (h_iᵀz'_j)².

    For x' of the pooled law q = Σ_a π(a) q_a: ``negatives`` are z of rows of any action, set aside before their actions
    were looked at, and independent of the pairs. Each block takes the next r = ⌊m / blocks⌋ of them, so blocks stay
    independent.

    Raises
    ------
    ValueError
        If there are fewer rows than one block, or fewer negatives than blocks.
    """
    own = np.diagonal(block_products(predicted, observed, block), axis1=1, axis2=2)
    return -2 * own.mean(1) + (negative_products(predicted, negatives, block) ** 2).mean((1, 2))


def block_products(
    predicted: Float64[np.ndarray, "n k"], observed: Float64[np.ndarray, "n k"], block: int = BLOCK
) -> Float64[np.ndarray, "blocks b b"]:
    """h_iᵀz_j within each block.

    Raises
    ------
    ValueError
        If a block has fewer than two rows, or there are fewer rows than one block.
    """
    if block < 2:
        raise ValueError(f"expected blocks of at least 2 rows, as the loss compares two, got {block=}")
    return _blocks(predicted, block) @ _blocks(observed, block).transpose(0, 2, 1)


def negative_products(
    predicted: Float64[np.ndarray, "n k"], negatives: Float64[np.ndarray, "m k"], block: int = BLOCK
) -> Float64[np.ndarray, "blocks b r"]:
    """h_iᵀz'_j of each block with its own share of r = ⌊m / blocks⌋ negatives.

    Raises
    ------
    ValueError
        If there are fewer rows than one block, or fewer negatives than blocks.
    """
    rows = _blocks(predicted, block)
    blocks = len(rows)
    share = len(negatives) // blocks
    if share < 1:
        raise ValueError(f"expected at least one negative per block, got {len(negatives)} for {blocks} blocks")
    return rows @ _blocks(negatives, share)[:blocks].transpose(0, 2, 1)


def _blocks(rows: Float64[np.ndarray, "n k"], size: int) -> Float64[np.ndarray, "blocks b k"]:
    count = len(rows) // size
    if count < 1:
        raise ValueError(f"expected at least one block of {size} rows, got {len(rows)} rows: hold out more data")
    return rows[: count * size].reshape(count, size, -1)


def check_products(products: Float64[np.ndarray, "blocks b r"], inner_bound: float) -> None:
    """Refuse data that prove a stated bound on |hᵀz| wrong; no data can prove it right.

    Raises
    ------
    ValueError
        If a product exceeds the bound by more than rounding, or is NaN.
    """
    largest = float(np.abs(products).max())
    # NaN fails the comparison, so it is refused here too.
    if not largest <= inner_bound * (1 + 1e-9):
        raise ValueError(
            f"|hᵀz| reaches {largest:g} on these rows, more than {inner_bound=:g}: it must hold for every pair of "
            "observations; take the product of the caps on both norms"
        )


def loss_range(inner_bound: float, block: int = BLOCK, width: int | None = None) -> tuple[float, float]:
    """Ends of a block's loss when |hᵀz| ≤ c: at most 2c + c², at least −2c, or more for a narrow model.

    Both ends are attained when k ≥ b (own products −c and cross products ±c; own products c and cross products 0). With
    ``width`` k < b, the b × b matrix of products has rank ≤ k, hence ‖·‖²_F ≥ (trace)²/k, and with t the mean own
    product the loss is at least −2t + max(0, (b t²/k − c²)/(b − 1)). That is least at
    t = min(c, max(c √(k/b), k (b − 1)/b)).

    Raises
    ------
    ValueError
        If the bound is negative or not finite, a block has fewer than two rows or the width is below 1.
    """
    if not 0 <= inner_bound < np.inf:
        raise ValueError(f"expected a finite bound ≥ 0 on |hᵀz|, got {inner_bound=}")
    if block < 2 or (width is not None and width < 1):
        raise ValueError(f"expected a block of at least 2 rows and a width of at least 1, got {block=}, {width=}")
    high = float(2 * inner_bound + inner_bound**2)
    if width is None or width >= block:
        return float(-2 * inner_bound), high
    own = min(inner_bound, max(inner_bound * (width / block) ** 0.5, width * (block - 1) / block))
    cross = max(0.0, (block * own**2 / width - inner_bound**2) / (block - 1))
    return float(-2 * own + cross), high


def loss_upper_bound(
    predicted: Float64[np.ndarray, "n k"],
    observed: Float64[np.ndarray, "n k"],
    inner_bound: float,
    delta: float,
    block: int = BLOCK,
) -> float:
    """U with P(L(a) ≤ U) ≥ 1 − δ, by ``betting_upper`` on the block losses.

    ``inner_bound`` c ≥ |g(f(x), a)ᵀ f(x')| for every x and x', not only for those drawn: a property of the model, known
    before these rows were seen. The rows are independent, of one action, and the model did not see them.

    Raises
    ------
    ValueError
        If a product within a block exceeds c, which proves the bound wrong; or as ``block_losses``.
    """
    check_products(block_products(predicted, observed, block), inner_bound)
    low, high = loss_range(inner_bound, block, predicted.shape[1])
    return betting_upper(block_losses(predicted, observed, block), low, high, delta)


def excess_upper_bound(
    predicted: Float64[np.ndarray, "n k"],
    observed: Float64[np.ndarray, "n k"],
    inner_bound: float,
    reference_predicted: Float64[np.ndarray, "n r"],
    reference_observed: Float64[np.ndarray, "n r"],
    reference_inner_bound: float,
    delta: float,
    block: int = BLOCK,
) -> float:
    """U with P(L(a) − L_ref(a) ≤ U) ≥ 1 − δ, from paired block losses of both models on the same rows.

    As ‖M̄(a)‖² cancels, it bounds R(a) − R_ref(a) where ‖M̄(a)‖² is unknown. The reference is fixed before the rows are
    seen, like the model.

    Raises
    ------
    ValueError
        As ``loss_upper_bound``, for either model.
    """
    check_products(block_products(predicted, observed, block), inner_bound)
    check_products(block_products(reference_predicted, reference_observed, block), reference_inner_bound)
    low, high = loss_range(inner_bound, block, predicted.shape[1])
    reference_low, reference_high = loss_range(reference_inner_bound, block, reference_predicted.shape[1])
    paired = block_losses(predicted, observed, block) - block_losses(reference_predicted, reference_observed, block)
    return betting_upper(paired, low - reference_high, high - reference_low, delta)

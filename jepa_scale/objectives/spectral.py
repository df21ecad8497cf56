"""The spectral contrastive objective of S-JEPA, in moment form."""

from __future__ import annotations

import torch
from torch import Tensor

from jepa_scale.objectives.base import Objective, gather
from jepa_scale.records import ActionSpace, Negatives, View


class SpectralObjective(Objective):
    """L = −2 E[hᵀf⁺] + E_{x ⊥ x'}[(hᵀf')²], h = g(f(x), a) (arXiv:2606.27014, eq. 13/16).

    Minibatch pairs (i, j) with i ≠ j estimate the second term without bias (U-statistic), in O(B k²).

    A data set of n transitions is passed many times, and on it the sum over i ≠ j alone is unbounded below: a sample's
    own pair is rewarded and never charged, so h_iᵀf_i of a memorised sample grows without limit. The empirical risk is
    the sum over *all* n² pairs, where a sample meets itself with weight 1/n. ``self_pairs`` adds that term, so that
    minibatches estimate the empirical risk ‖M̂ − GᵀF‖² + const without bias; False leaves it out.

    Of windows of H transitions it is the mean over steps of the loss of (ẑ_t, x_t).

    Raises
    ------
    ValueError
        If ``negatives`` names no known law, or one that continuous actions do not have.
    """

    action_counts: Tensor
    bounded_below = False

    def __init__(
        self,
        negatives: Negatives,
        action_counts: Tensor,
        self_pairs: bool = True,
        action_space: ActionSpace | None = None,
    ) -> None:
        super().__init__()
        continuous = action_space is not None and not action_space.discrete
        if continuous and negatives == "same_action":
            raise ValueError(
                "expected negatives=pooled for continuous actions, got same_action: no two transitions share an action"
            )
        if negatives not in _SECOND_TERM:
            raise ValueError(f"expected negatives from {sorted(_SECOND_TERM)}, got {negatives!r}")
        self.negatives: Negatives = negatives
        self.second_term = _SECOND_TERM[negatives]
        self.self_pairs = self_pairs
        # Not persistent: a property of the training data, not of the model.
        self.register_buffer("action_counts", action_counts.float(), persistent=False)

    def forward(self, view: View) -> Tensor:
        """Loss of a batch."""
        steps = zip(view.predicted.unbind(1), view.latents[:, 1:].unbind(1), view.actions.unbind(1), strict=True)
        losses = [self.one_step(gather(h), gather(f), gather(a)) for h, f, a in steps]
        return losses[0] if len(losses) == 1 else torch.stack(losses).mean()

    def one_step(self, predicted: Tensor, observed: Tensor, actions: Tensor) -> Tensor:
        """Loss of transitions: predicted h (B, k), observed f(x⁺) (B, k), actions (B,) → scalar."""
        matched = (predicted * observed).sum(-1)
        counts = self.action_counts if self.self_pairs else torch.full_like(self.action_counts, torch.inf)
        if self.stacked and self.negatives == "same_action":
            return masked_same_action_loss(predicted, observed, actions, matched, counts)
        return self.second_term(predicted, observed, actions, matched, counts)


def pooled_loss(predicted: Tensor, observed: Tensor, actions: Tensor, matched: Tensor, counts: Tensor) -> Tensor:
    """x' from any transition: law q = Σ_a π(a) q_a. ``counts`` are the data set's, (A,); inf for fresh data."""
    del actions  # the pooled law does not look at them
    rows, samples = len(matched), counts.sum()
    everything = ((predicted.T @ predicted) * (observed.T @ observed)).sum()
    own = (matched**2).sum()
    cross = (everything - own) / (rows * (rows - 1))
    return -2 * matched.mean() + (1 - 1 / samples) * cross + own / rows / samples


def same_action_loss(predicted: Tensor, observed: Tensor, actions: Tensor, matched: Tensor, counts: Tensor) -> Tensor:
    """x' from a transition of the row's own action: law q_a.

    An action with a single row in the batch has no negatives there; the row is left out of both terms, which keeps
    every action's own estimate unbiased.
    """
    rows, width = predicted.shape
    present = torch.bincount(actions, minlength=len(counts))
    order = torch.argsort(actions)
    slots = torch.arange(rows, device=actions.device) - (present.cumsum(0) - present)[actions[order]]
    depth = int(present.max())
    place = actions[order] * depth + slots
    padded = [
        rows_.new_zeros(len(counts) * depth, width).index_copy(0, place, rows_[order]).view(-1, depth, width)
        for rows_ in (predicted, observed)
    ]
    everything = ((padded[0].mT @ padded[0]) * (padded[1].mT @ padded[1])).sum((1, 2))
    own = torch.zeros_like(everything).index_add(0, actions, matched**2)
    usable = present > 1
    others = (present - 1).clamp(min=1)
    cross = (everything - own) / others
    second = (1 - 1 / counts.clamp(min=1)) * cross + own / counts.clamp(min=1)
    return (-2 * (matched * usable[actions]).sum() + (second * usable).sum()) / rows


def masked_same_action_loss(
    predicted: Tensor, observed: Tensor, actions: Tensor, matched: Tensor, counts: Tensor
) -> Tensor:
    """The same as ``same_action_loss`` without sizes that depend on the actions, at |A| times its products."""
    masks = (actions[:, None] == torch.arange(len(counts), device=actions.device)).to(predicted)
    present, own = masks.sum(0), masks.mT @ matched**2
    grams = [torch.einsum("ba,bi,bj->aij", masks, rows, rows) for rows in (predicted, observed)]
    everything = (grams[0] * grams[1]).sum((1, 2))
    usable = (present > 1).to(predicted)
    cross = (everything - own) / (present - 1).clamp(min=1)
    second = (1 - 1 / counts.clamp(min=1)) * cross + own / counts.clamp(min=1)
    return (-2 * (masks.mT @ matched * usable).sum() + (second * usable).sum()) / len(predicted)


_SECOND_TERM = {"same_action": same_action_loss, "pooled": pooled_loss}

"""What plans of continuous actions are ranked by: a weighted sum of terms on the predicted path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from jepa_scale.estimators.moments import NotFiniteError
from jepa_scale.records import ActionSpace


@dataclass(frozen=True)
class CostTerms:
    """Weights of the terms of a plan's cost; a term of weight 0 is not computed.

    The density score q_a(x_g) ẑᵀf(x_g) (B1) is no term of its own: with pooled negatives q(x_g) is the same for every
    plan towards one goal, so it ranks plans as the inner product does. With same-action negatives it does not, and q_a
    is known in a finite world only, where ``planner=exhaustive`` and ``planner=categorical_cem`` use it.

    Raises
    ------
    ValueError
        If a weight is negative or not finite, all are 0 but the effort's, or the discount is outside (0, 1].
    """

    final: float = 1.0
    """Of ‖ẑ_H − z_g‖² (arXiv:2606.27014, eq. 8)."""
    path: float = 0.0
    """Of Σ_t γ^{t−1} ‖ẑ_t − z_g‖², t = 1 … H: a long horizon needs it, as the last step alone does not say that one
    should leave now."""
    inner: float = 0.0
    """Of −ẑ_Hᵀ z_g."""
    effort: float = 0.0
    """Of Σ_t ‖a_t‖², actions in units of half the range between their limits."""
    discount: float = 1.0
    """γ, of the path."""

    def __post_init__(self) -> None:
        weights = (self.final, self.path, self.inner, self.effort)
        if not all(0 <= weight < float("inf") for weight in weights) or not any(weights[:3]):
            raise ValueError(
                "expected weights ≥ 0, one of final, path or inner above 0 as nothing else knows the goal, got "
                f"{self.final=}, {self.path=}, {self.inner=}, {self.effort=}"
            )
        if not 0 < self.discount <= 1:
            raise ValueError(f"expected 0 < discount ≤ 1, got {self.discount=}")

    @classmethod
    def of(cls, settings: CostTerms | Mapping[str, Any]) -> CostTerms:
        """The terms of a configuration's mapping; what it leaves out has its default.

        Raises
        ------
        ValueError
            If a key is unknown or a weight refused.
        """
        if isinstance(settings, CostTerms):
            return settings
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ValueError(f"expected cost terms from {known}, got {unknown}")
        return cls(**settings)

    @property
    def every_step(self) -> bool:
        """Whether steps before the last one count."""
        return self.path > 0

    def of_latents(self, reached: Tensor, goals: Tensor, plans: Tensor, space: ActionSpace) -> Tensor:
        """Cost of plans by where a model says that they lead.

        ẑ_1 … ẑ_H ``reached`` (…, H, k), or ẑ_H alone (…, 1, k) where ``every_step`` is false; z_g ``goals`` (…, k);
        ``plans`` (…, H, size), integer (…, H) where actions are discrete: → (…).
        """
        parts = []
        if self.final or self.path:
            steps = reached if self.path else reached[..., -1:, :]
            parts.append(self._of_squares((steps - goals[..., None, :]).square().sum(-1)))
        if self.inner:
            parts.append(-self.inner * (reached[..., -1, :] * goals).sum(-1))
        return _total(parts, self._effort(plans, space))

    def of_distances(self, distances: Tensor, plans: Tensor, space: ActionSpace) -> Tensor:
        """Cost of plans whose true distances from the goal are known: (…, H) or (…, 1), plans (…, H, size) → (…).

        Distances, not their squares; the inner product of latents is no quantity of the truth, so its weight goes to
        the final distance.
        """
        terms = CostTerms(self.final + self.inner, self.path, 0.0, self.effort, self.discount)
        return _total([terms._of_squares(distances)], self._effort(plans, space))

    def _of_squares(self, far: Tensor) -> Tensor:
        """Terms of the last step and of the path: (…, H) → (…)"""
        parts = []
        if self.final:
            parts.append(_times(self.final, far[..., -1]))
        if self.path:
            weights = self.discount ** far.new_tensor(range(far.shape[-1]))
            parts.append(_times(self.path, (far if self.discount == 1 else far * weights).sum(-1)))
        return _total(parts, None)

    def _effort(self, plans: Tensor, space: ActionSpace) -> Tensor | None:
        if not self.effort:
            return None
        if space.discrete:
            raise ValueError(f"expected cost.effort=0, as a discrete action has no length, got {self.effort=}")
        half = (space.high - space.low) / 2
        return self.effort * (plans / half).square().sum((-2, -1))


def _times(weight: float, values: Tensor) -> Tensor:
    """Spare a pass over the candidates where the weight is 1."""
    return values if weight == 1 else weight * values


def _total(parts: list[Tensor], last: Tensor | None) -> Tensor:
    total = parts[0]
    for part in [*parts[1:], *([] if last is None else [last])]:
        total = total + part
    return total


def finite(costs: Tensor, what: str = "costs") -> Tensor:
    """The costs (B, candidates) as they are.

    Raises
    ------
    NotFiniteError
        If one is not a number: the share of such candidates is named.
    """
    known = costs.isfinite()
    if not bool(known.all()):
        share = float((~known).float().mean())
        raise NotFiniteError(f"expected {what} that are numbers, got NaN or ∞ for {share:.1%} of the candidates")
    return costs

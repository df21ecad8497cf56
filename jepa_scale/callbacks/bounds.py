"""Bounds on planning regret from the exact risk, every epoch."""

from __future__ import annotations

from typing import cast

import lightning as L

from jepa_scale.callbacks.base import EpochCallback, Exact, exact, tabulate
from jepa_scale.records import BoundValue, Estimate, Score
from jepa_scale.theory.bounds import b1, b1_double_prime, b1_prime, b5, t4, t5
from jepa_scale.theory.bounds.base import BoundCase
from jepa_scale.theory.model import TabularModel
from jepa_scale.training.world_model import WorldModel

BY_RISK = (t4, t5, b1_prime)
"""Bounds that read the risk alone."""
BY_PLAN = (b1_double_prime, b1, b5)
"""Bounds that read the errors of every plan: those of one step, or of B5 along a roll-out by operators."""


def bounds_of(exact: Exact, model: TabularModel) -> tuple[BoundValue, ...]:
    """Compute every bound on the regret of the planner's own score, for the current model."""
    score = exact.planner.score
    if score == "operator":
        # The product of one-step densities; which bounds hold for such a roll-out they check themselves.
        case = BoundCase(exact.truth.constants, "density", model, roll_out="operator")
    else:
        case = BoundCase(exact.truth.constants, cast(Score, score), model)
    by_plan = BY_PLAN if exact.planner.horizon == 1 else (b5,) if score == "operator" else ()
    return tuple(bound.value(case) for bound in (*BY_RISK, *by_plan))


class BoundsCallback(EpochCallback):
    """Log every bound; a value ≥ 1 is flagged ``vacuous``, one whose hypotheses fail ``does_not_apply``.

    ``bound/best`` is the smallest of those that apply, flagged with its name (``by_b5``). Constants are extremes over
    all observations and goals; if the world is not finite, nothing is logged.
    """

    def estimates(self, trainer: L.Trainer, module: WorldModel) -> list[Estimate]:
        """Return one estimate for each bound."""
        known = self.context.exact
        if known is None:
            return []
        rows = []
        bounds = bounds_of(known, tabulate(module, known.world))
        for bound in bounds:
            flags = ["vacuous"] * bound.vacuous + ["does_not_apply"] * (not bound.applies)
            row = exact(f"bound/{bound.name}", bound.value, trainer)
            rows.append(Estimate(row.name, row.value, 0.0, None, row.epoch, row.step, ",".join(flags)))
        best = min((bound for bound in bounds if bound.applies), key=lambda bound: bound.value, default=None)
        if best is not None:
            row = exact("bound/best", best.value, trainer)
            flags = [f"by_{best.name}"] + ["vacuous"] * best.vacuous
            rows.append(Estimate(row.name, row.value, 0.0, None, row.epoch, row.step, ",".join(flags)))
        return rows

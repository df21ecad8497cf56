"""Declarations of every quantity in the run table: meaning, source, which end is better."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jepa_scale.records.runs import RunRecord

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Quantity:
    """A column of the table.

    Its number is the estimate ``final`` at the last epoch, the exact ``truth`` of the world, or ``sampled`` in its
    place where the world has no truth, ``pretrained``, the estimate before fine-tuning, or ``halfway``, that when half
    of the epochs were done. ``{score}`` in a name stands for the score of the run's own planner.
    """

    name: str
    """Name of the column, also used in laws."""
    what: str
    final: str = ""
    truth: str = ""
    sampled: str = ""
    pretrained: str = ""
    halfway: str = ""
    better: Better = ""
    """Which end is better, ``lower`` or ``higher``; empty if neither is."""
    low: float = -math.inf
    high: float = math.inf
    ceiling: float = math.nan
    """What a model that knows nothing reaches, where that is the same for all runs; NaN otherwise."""
    noun: str = ""
    """What sentences call it; empty: its name."""
    label: str = ""
    """What axes call it; empty: its noun."""

    def of(self, record: RunRecord) -> float:
        """Return the quantity's value in a record; NaN if the record has none."""
        place: Mapping[str, Any]
        if self.pretrained:
            place, name = record.pretrained, self.pretrained
        elif self.halfway:
            place, name = record.halfway, self.halfway
        elif self.final:
            place, name = record.final, self.final
        elif record.truth:
            place, name = record.truth, self.truth
        else:
            place, name = record.final, self.sampled
        value: Any = place.get(name.format(score=record.config["planner"].get("score"))) if name else None
        return math.nan if value is None else float(value)


def _regret(
    name: str,
    what: str,
    final: str = "",
    truth: str = "",
    sampled: str = "",
    pretrained: str = "",
    halfway: str = "",
    label: str = "",
) -> Quantity:
    return Quantity(
        name, what, final, truth, sampled, pretrained, halfway, better="lower", low=0.0, high=1.0, label=label
    )


def _success(name: str, what: str, final: str = "", pretrained: str = "") -> Quantity:
    return Quantity(name, what, final, pretrained=pretrained, better="higher", low=0.0, high=1.0)


MEASURED = (
    Quantity(
        "risk",
        "exact R, mean over actions; NaN if not finished",
        "exact/risk",
        better="lower",
        low=0.0,
        label="exact risk R",
    ),
    Quantity("risk_max", "exact R, largest over actions", "exact/risk_max", better="lower", low=0.0),
    Quantity(
        "tail",
        "exact Σ_{i>k} σ_i(a)², mean over actions; of a simulator in closed form, or a lower bound by a dictionary",
        truth="tail",
        sampled="spectrum/reference/tail",
        low=0.0,
    ),
    Quantity(
        "shared_tail",
        "tail of the stacked M̄: the floor of R for one shared encoder if the q_a agree (B2)",
        truth="shared_tail",
        low=0.0,
    ),
    _regret(
        "regret",
        "expected regret of the study's score: exact in a finite world, else of sampled tasks",
        final="regret/{score}",
        label="expected regret (probability)",
    ),
    _regret(
        "regret_pretrained",
        "of the same run before fine-tuning; NaN where nothing was fine-tuned",
        pretrained="regret/{score}",
    ),
    _regret(
        "regret_halfway",
        "of the same run when half of its epochs were done, rounded down; NaN for a single epoch",
        halfway="regret/{score}",
    ),
    _regret("regret_distance", "exact expected regret, score −‖ẑ − f(x_g)‖²", final="regret/distance"),
    _regret("regret_inner", "exact expected regret, score ẑᵀf(x_g)", final="regret/inner"),
    _regret("regret_density", "exact expected regret, score q_a(x_g) ẑᵀf(x_g)", final="regret/density"),
    _regret(
        "regret_random",
        "exact expected regret of uniformly random plans: the level at which regret saturates",
        truth="regret_random",
        sampled="regret/random",
    ),
    _regret(
        "regret_do_nothing",
        "exact expected regret of the null action; NaN where the world has none",
        truth="regret_do_nothing",
        sampled="regret/do_nothing",
    ),
    _regret(
        "regret_geometry",
        "part of a simulator's regret that true dynamics under the model's distances have too",
        truth="regret_geometry",
        sampled="regret/geometry",
    ),
    _regret(
        "regret_dynamics",
        "the rest, which is lost by predicting",
        truth="regret_dynamics",
        sampled="regret/dynamics",
    ),
    _success(
        "success",
        "share of sampled tasks solved by planning with the model, as evaluation.success counts; NaN in a finite world",
        final="success/model",
    ),
    _success(
        "success_any_time",
        "share of them whose goal is reached at any step of the budget",
        final="success_any_time/model",
    ),
    _success(
        "success_final",
        "share of them that end at their goal; NaN where episodes end when the goal is reached",
        final="success_final/model",
    ),
    _success("success_pretrained", "of the same run before fine-tuning", pretrained="success/model"),
    _success("success_policy", "by the amortised planner; NaN where none was trained", final="success/policy"),
    _success("success_oracle", "by the same planner with true dynamics and true distances", final="success/oracle"),
    _success(
        "success_same_cost",
        "by the same planner with true dynamics and the model's distances",
        final="success/same_cost",
    ),
    _success("success_random", "by random actions", final="success/random"),
    _success("success_do_nothing", "by doing nothing", final="success/do_nothing"),
    Quantity(
        "prediction",
        "error of the change of observations read out of predicted latents, share of its variance, mean over steps",
        "observed/model/mean",
        better="lower",
        low=0.0,
        ceiling=1.0,
        noun="prediction error",
        label="prediction error (share of variance)",
    ),
    Quantity(
        "prediction_encoder",
        "the same read out of encoded observations: what no predictor can remove",
        "observed/encoder/mean",
        better="lower",
        low=0.0,
    ),
    Quantity("prediction_copy", "the same of predicting no change", "observed/copy/mean", low=0.0),
    Quantity(
        "hindsight",
        "share of other recorded plans that the model ranks below the one that led to the goal; 0.5 by chance",
        "hindsight/rank",
        better="higher",
        low=0.0,
        high=1.0,
    ),
    Quantity(
        "total",
        "held-out T of the model's own features, mean over actions or of the joint operator",
        "spectrum/total",
        better="higher",
        label="held-out T",
    ),
    Quantity("loss", "held-out spectral loss L", "spectrum/loss", better="lower"),
    Quantity(
        "subspace_deficit",
        "held-out Σ_{i≤k} σ_i² − T: what better features of the same width would see",
        "spectrum/subspace_deficit",
        better="lower",
        label="subspace deficit",
    ),
    Quantity(
        "calibration_deficit",
        "held-out L + T: what a linear map of the embeddings would remove",
        "spectrum/calibration_deficit",
        better="lower",
    ),
    Quantity("bound_t4", "2 c0 max_a √R(a)", "bound/t4", low=0.0),
    Quantity("bound_t5", "2 T c3 max_a √R(a)", "bound/t5", low=0.0),
    Quantity("bound_b1_prime", "2 √(ω Σ_a R(a))", "bound/b1_prime", low=0.0),
    Quantity("bound_b1", "errors at the best and the chosen plan", "bound/b1", low=0.0),
    Quantity("bound_b5", "errors beyond half the margin", "bound/b5", low=0.0),
    Quantity("bound_best", "the smallest bound that applies", "bound/best", low=0.0),
)
"""All quantities, in the order of the table's columns."""

BY_NAME: Mapping[str, Quantity] = {quantity.name: quantity for quantity in MEASURED}


@dataclass(frozen=True)
class Target:
    """The quantity that a study is about: its laws and forecasts describe it."""

    quantity: str = "regret"
    """A column of the table, or an estimate such as ``prediction/horizon_5``."""
    better: Better = "lower"

    @property
    def name(self) -> str:
        """Name of the quantity's column in the table."""
        return column_name(self.quantity)

    @property
    def column(self) -> str:
        """Column that laws describe: the quantity, or its distance to the upper end, so that less is better."""
        return self.name if self.better == "lower" else f"{self.name}_shortfall"

    @property
    def ceiling(self) -> float:
        """What a model that knows nothing reaches; NaN if that is not known for all runs alike."""
        declared = BY_NAME.get(self.name)
        return math.nan if declared is None or self.better != "lower" else declared.ceiling

    @property
    def noun(self) -> str:
        """What sentences call the quantity."""
        return noun_of(self.name) if self.name in BY_NAME else self.quantity

    @property
    def advised(self) -> bool:
        """Whether advice can be given on it."""
        return self.column == "regret" or math.isfinite(self.ceiling)

    @property
    def what(self) -> str:
        """Description of the column in words."""
        if self.better == "lower":
            return self.quantity
        return f"{BY_NAME[self.name].high:g} − {self.quantity}"

    def of(self, values: Any) -> Any:
        """Return the values of ``column`` from values of the quantity."""
        return values if self.better == "lower" else BY_NAME[self.name].high - values

    def written(self) -> Any:
        """The target as a study file writes it."""
        declared = BY_NAME.get(self.name)
        if declared is not None and declared.better == self.better:
            return self.quantity
        return {"quantity": self.quantity, "better": self.better}


def read_target(written: Any) -> Target:
    """Return the target that a study file names.

    Raises
    ------
    ValueError
        If it names nothing that is measured, or the better end is not known or has no limit.
    """
    example = "expected a quantity such as success, or {quantity: prediction/horizon_5, better: lower}"
    settings = written if isinstance(written, Mapping) else {"quantity": written}
    name, better = settings.get("quantity"), settings.get("better")
    if set(settings) - {"quantity", "better"} or not isinstance(name, str) or not re.fullmatch(r"\w+(/\w+)*", name):
        raise ValueError(f"{example}, got {written!r}")
    declared = BY_NAME.get(name)
    if declared is None and "/" not in name:
        known = ", ".join(quantity.name for quantity in MEASURED if quantity.better)
        raise ValueError(f"{example}, got {name}: the table has {known}; other estimates have a / in their name")
    if better is None:
        better = declared.better if declared is not None else ""
    if better not in ("lower", "higher"):
        raise ValueError(f"{name}: say which end is better: {{quantity: {name}, better: lower}}")
    if better == "higher" and (declared is None or declared.high == math.inf):
        raise ValueError(f"{name}: expected a quantity with an upper end where higher is better; it has none")
    return Target(name, better)


def noun_of(column: str) -> str:
    """What sentences call a column."""
    declared = BY_NAME.get(column)
    return column if declared is None or not declared.noun else declared.noun


def label_of(column: str) -> str:
    """What axes of figures call a column."""
    declared = BY_NAME.get(column)
    return noun_of(column).replace("_", " ") if declared is None or not declared.label else declared.label


def column_name(estimate: str) -> str:
    """Name of an estimate as a column: ``prediction_horizon_5`` for ``prediction/horizon_5``."""
    return re.sub(r"\W", "_", estimate)

"""Declarations of every estimate that runs log: meaning, unit, which end is better, where it is shown.

A column of the table that is an estimate at the last epoch is declared in ``records.quantities``; summaries and panels
in W&B, and the list of ``jepa-scale quantities``, follow from these.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from jepa_scale.records.quantities import Better


@dataclass(frozen=True)
class EstimateKind:
    """A kind of estimate, recognised by a pattern of names."""

    pattern: str
    """Pattern of the names; ``{…}`` stands for one part, such as a score, an action or a number of steps."""
    what: str
    unit: str
    """Unit of measurement; empty for numbers without one."""
    better: Better = ""
    panel: str = ""
    """Title of the W&B panel that shows it over epochs; empty if none does."""

    def matches(self, name: str) -> bool:
        """Whether an estimate of this name is of this kind."""
        return _expression(self.pattern).fullmatch(name) is not None

    @property
    def summaries(self) -> tuple[str, ...]:
        """Summaries that W&B keeps at the end: best and last; empty, which means the last, where no end is better."""
        return ({"lower": "min", "higher": "max"}[self.better], "last") if self.better else ()


@lru_cache(maxsize=128)
def _expression(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]*\}", pattern)
    return re.compile(r"[^/]+?".join(re.escape(part) for part in parts))


# Panels of W&B.
BOUNDS = "Regret and its bounds: at 1 and above they are vacuous"
DEFICITS = "Held-out deficits: of the subspace, and of its calibration"
MASS = "Spectral mass seen, held out"
RANKS = "Participation ratio and LiDAR"
EFFECTIVE_RANK = "Effective rank"
HORIZON = "Prediction error by horizon"
SUCCESS = "Success while training"
REGRET = "Regret while training"
RISK = "Exact risk"
LOSS = "Loss, held out"
GAP = "Spectral gap, held out"
TRAINING = "Training loss"

_MASS, _PROBABILITY = "squared singular values", "probability"
_SPECTRUM: tuple[tuple[str, str, str, Better, str], ...] = (
    (
        "total",
        "T, spectral mass that the features see: the sum of the first k squared singular values",
        _MASS,
        "higher",
        MASS,
    ),
    ("gap", "σ_k² − σ_{k+1}² of the learned features' operator", _MASS, "", GAP),
    ("gap_cluster", "singular values around the k-th that are equal to it within error", "count", "", ""),
    ("risk", "R estimated from held-out data", _MASS, "lower", ""),
    ("loss", "spectral loss L = R − ‖M̄‖²", _MASS, "lower", LOSS),
    (
        "subspace_deficit",
        "Σ_{i≤k} σ_i² − T: what better features of the same width would see",
        _MASS,
        "lower",
        DEFICITS,
    ),
    ("calibration_deficit", "L + T: what a linear map of the embeddings would remove", _MASS, "lower", DEFICITS),
    (
        "lidar_wm",
        "LiDAR of a world model: effective rank of σ² / (1 − σ²), the constant left out",
        "dimensions",
        "",
        RANKS,
    ),
    ("participation_ratio", "(Σ λ)² / Σ λ² of the embeddings' covariance", "dimensions", "", RANKS),
    (
        "rankme_sv_uncentred",
        "RankMe: exponential entropy of the embeddings' singular values, not centred",
        "dimensions",
        "",
        EFFECTIVE_RANK,
    ),
    ("erank_eig_centred", "exponential entropy of the covariance's eigenvalues", "dimensions", "", EFFECTIVE_RANK),
    ("alpha_req", "exponent of the power law that the covariance's eigenvalues follow", "", "", ""),
    ("singular_values", "singular values of the learned features' operator, largest first", "", "", ""),
)
_POLICIES = "by model, policy (the amortised planner), refined, oracle, same_cost, expert, random or do_nothing"

ESTIMATES = (
    EstimateKind(
        "train/loss", "loss of the objective, mean over the steps of the epoch", "of the objective", "lower", TRAINING
    ),
    *(
        EstimateKind(f"spectrum/{name}", f"held out: {what}", unit, better, panel)
        for name, what, unit, better, panel in _SPECTRUM
    ),
    *(
        EstimateKind(
            f"test/{name}", f"on the test data, once at the end: {what}", unit, better, panel if name == "loss" else ""
        )
        for name, what, unit, better, panel in _SPECTRUM
    ),
    EstimateKind(
        "{split}/reference/total",
        "mass that a reference dictionary sees: a lower bound of ‖M̄‖²; "
        "‖M̄‖² itself, flagged closed_form, where the world knows it",
        _MASS,
    ),
    EstimateKind(
        "{split}/reference/half_total",
        "the same with half of the dictionary's features: how far it is from its limit",
        _MASS,
    ),
    EstimateKind(
        "{split}/reference/tail", "mass of the dictionary, or of the closed form, beyond the model's width", _MASS
    ),
    EstimateKind("exact/risk", "R of the network, computed from the world, mean over actions", _MASS, "lower", RISK),
    EstimateKind("exact/risk_max", "the largest R of an action", _MASS, "lower", RISK),
    EstimateKind("exact/total", "T of the network, computed from the world", _MASS, "higher", MASS),
    EstimateKind("exact/singular_values", "singular values of the network's operator, computed from the world", ""),
    EstimateKind("bound/t4", "bound T4 on regret: 2 c0 max_a √R(a); 1 or more says nothing", _PROBABILITY, "", BOUNDS),
    EstimateKind("bound/t5", "bound T5 on regret: 2 T c3 max_a √R(a)", _PROBABILITY, "", BOUNDS),
    EstimateKind("bound/b1_prime", "bound B1′ on regret: 2 √(ω Σ_a R(a))", _PROBABILITY, "", BOUNDS),
    EstimateKind("bound/b1_double_prime", "bound B1″ on regret: 2 E[max over plans |P̂ − P|]", _PROBABILITY, "", BOUNDS),
    EstimateKind("bound/b1", "bound B1 on regret: errors at the best and the chosen plan", _PROBABILITY, "", BOUNDS),
    EstimateKind("bound/b5", "bound B5 on regret: errors beyond half the margin", _PROBABILITY, "", BOUNDS),
    EstimateKind(
        "bound/best", "the smallest bound on regret that applies; its flag names it", _PROBABILITY, "", BOUNDS
    ),
    EstimateKind(
        "regret/{part}",
        "expected regret of planning by score (distance, inner, density), of random plans, of doing nothing, of the "
        "amortised policy; in a simulator also its parts geometry and dynamics",
        _PROBABILITY,
        "lower",
        REGRET,
    ),
    EstimateKind(
        "success/{planner}",
        f"share of sampled tasks solved, as evaluation.success counts, {_POLICIES}",
        _PROBABILITY,
        "higher",
        SUCCESS,
    ),
    EstimateKind(
        "success_any_time/{planner}",
        f"share of tasks whose goal is reached at any step, {_POLICIES}",
        _PROBABILITY,
        "higher",
    ),
    EstimateKind(
        "success_final/{planner}", f"share of tasks that end at their goal, {_POLICIES}", _PROBABILITY, "higher"
    ),
    EstimateKind(
        "{success}/{planner}/required_{steps}",
        "the same share, or of removed tasks, among those that take so many steps",
        _PROBABILITY,
    ),
    EstimateKind("tasks/removed", "share of sampled tasks that start at their goal, and are left out", _PROBABILITY),
    EstimateKind(
        "prediction/horizon_{steps}",
        "squared error of a prediction so many steps ahead, over the variance of the embeddings",
        "",
        "lower",
        HORIZON,
    ),
    EstimateKind("prediction/copy/horizon_{steps}", "the same of predicting no change", ""),
    EstimateKind(
        "observed/model/{steps}",
        "squared error of the change of observations read out of latents so many steps ahead, over its variance",
        "",
        "lower",
    ),
    EstimateKind(
        "observed/encoder/{steps}", "the same read out of encoded observations: no predictor can remove it", "", "lower"
    ),
    EstimateKind("observed/copy/{steps}", "the same of predicting no change", ""),
    EstimateKind(
        "hindsight/rank",
        "share of other recorded plans that the model ranks below the one that led to the goal; 0.5 by chance",
        "",
        "higher",
    ),
)
"""All kinds of estimates, in the order in which ``jepa-scale quantities`` lists them."""


@lru_cache(maxsize=1024)
def kind_of(name: str) -> EstimateKind | None:
    """Return the kind of an estimate; None if undeclared. Estimates of one action are of the kind of their mean."""
    whole = re.sub(r"/action_\d+/", "/", name)
    return next((kind for kind in ESTIMATES if kind.matches(whole)), None)


def summaries_of(name: str) -> tuple[str, ...]:
    """Return the summaries that W&B keeps of an estimate; empty: the last value under its own name."""
    kind = kind_of(name)
    return () if kind is None or "/action_" in name or "{steps}" in kind.pattern else kind.summaries


def shown(names: Iterable[str], title: str) -> tuple[str, ...]:
    """Return the names of the estimates that a panel shows, in the order of the declarations, then by name."""
    places = {id(kind): place for place, kind in enumerate(ESTIMATES)}
    chosen = [
        (places[id(kind)], name)
        for name in names
        if "/action_" not in name and (kind := kind_of(name)) is not None and kind.panel == title
    ]
    return tuple(name for _, name in sorted(chosen))

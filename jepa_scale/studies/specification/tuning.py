"""The tuning check: a few runs of every width at several learning rates, on seeds of their own."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jepa_scale.laws.tuning import loss_of_sharing
from jepa_scale.records import RunRecord, TuningCheck, TuningRun
from jepa_scale.records.dials import K_KEY, N_KEY, Dial
from jepa_scale.runs.schema import unknown_key

_OTHERS = ("n", "seeds", "widths")


@dataclass(frozen=True)
class TuningSpec:
    """What the check varies and where."""

    key: str
    """A number under ``optimizer.``"""
    rates: tuple[float, ...]
    """Sorted; the study's own value is one of them."""
    n: int
    """One of the study's n, so that what is found can be held against the U-turn there."""
    seeds: tuple[int, ...]
    """None of them is a seed of the study."""
    widths: tuple[int, ...]
    """Widths of the study, its smallest and its largest among them."""

    def to_dict(self) -> dict[str, Any]:
        """Return the section of the study file."""
        return {self.key: list(self.rates), "n": self.n, "seeds": list(self.seeds), "widths": list(self.widths)}


def tuning_of(content: Mapping[str, Any] | None, dials: Mapping[str, Dial]) -> tuple[TuningSpec | None, list[str]]:
    """Return the check of a study file whose form is right, with one sentence for everything that does not fit."""
    if content is None:
        return None, []
    if not {N_KEY, K_KEY} <= dials.keys():
        return None, [f"tuning: expected {N_KEY} and {K_KEY} among the dials, got {', '.join(dials)}"]
    every_n, every_k = dials[N_KEY].values, dials[K_KEY].values
    keys = [str(key) for key in content if str(key).startswith("optimizer.")]
    problems = [
        unknown_key(f"tuning.{key}", ["optimizer.lr", *_OTHERS])
        for key in content
        if key not in _OTHERS and key not in keys
    ]
    if len(keys) != 1:
        problems.append(f"tuning: expected one list of values, such as optimizer.lr: [0.0035, 0.007], got {keys}")
    if problems:
        return None, problems
    rates, widths = content[keys[0]], content.get("widths", list(every_k))
    if not _are_rates(rates):
        problems.append(f"tuning.{keys[0]}: expected at least two different numbers above 0, got {rates!r}")
    if content["n"] not in every_n:
        problems.append(f"tuning.n: expected one of dials.data.n {list(every_n)}, got {content['n']!r}")
    ends = {every_k[0], every_k[-1]}
    if not ends <= set(widths) <= set(every_k):
        problems.append(f"tuning.widths: expected widths of dials.model.k with its ends {sorted(ends)}, got {widths}")
    if problems:
        return None, problems
    return (
        TuningSpec(
            key=keys[0],
            rates=tuple(sorted(float(rate) for rate in rates)),
            n=content["n"],
            seeds=tuple(content["seeds"]),
            widths=tuple(sorted(widths)),
        ),
        [],
    )


def _are_rates(values: Any) -> bool:
    proper = isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
        for value in values
    )
    return proper and len(set(values)) == len(values) >= 2


def tuning_run(record: RunRecord, key: str) -> TuningRun:
    """What the check keeps of a run."""

    def final(name: str) -> float:
        value = record.final.get(name) if record.status == "finished" else None
        return math.nan if value is None else float(value)

    return TuningRun(
        k=record.dials["k"],
        rate=float(setting(record.config, key)),
        seed=record.dials["seed"],
        regret=final(f"regret/{record.config['planner']['score']}"),
        risk=final("exact/risk"),
    )


def setting(config: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted path."""
    node: Any = config
    for name in key.split("."):
        node = node[name]
    return node


def to_json(check: TuningCheck, study: str) -> str:
    """Return ``tuning.json``: the study that it is of, every run of the check, and what sharing loses at each width."""
    # NaN is no JSON: a number that is missing is null.
    runs = [{name: None if value != value else value for name, value in vars(run).items()} for run in check.runs]
    losses = {
        target: [
            {name: None if value != value else value for name, value in vars(loss).items()}
            for loss in loss_of_sharing(check, target)
        ]
        for target in ("regret", "risk")
    }
    content = {
        "study": study,
        "key": check.key,
        "shared": check.shared,
        "n": check.n,
        "unfinished": list(check.unfinished),
        "losses": losses,
        "runs": runs,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"

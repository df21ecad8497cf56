"""The budget rule: how many optimiser steps a run gets, by its number of transitions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jepa_scale.records import Budget, RunRecord
from jepa_scale.runs.errors import UserError

Rule = Literal["fixed_steps", "fixed_epochs", "tuned"]

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "fixed_steps": (),
    "fixed_epochs": ("passes", "most_steps"),
    "tuned": ("steps", "seeds", "widths"),
}
"""What each rule needs besides its name."""

VALIDATION = "spectrum/risk"
"""What a tuned budget minimises: the risk estimated on held-out transitions, which a learner could compute."""


@dataclass(frozen=True)
class BudgetRule:
    """One of three rules; the fields of the other two are empty."""

    rule: Rule = "fixed_steps"
    passes: float | None = None
    """``fixed_epochs``: times that a run sees each of its transitions."""
    most_steps: int | None = None
    """``fixed_epochs``: no run gets more steps than this, whatever its n."""
    steps: tuple[int, ...] = ()
    """``tuned``: what to choose from, for each n."""
    seeds: tuple[int, ...] = ()
    """``tuned``: seeds of the runs that decide; none of them is a seed of the study."""
    widths: tuple[int, ...] = ()
    """``tuned``: widths of the runs that decide; one choice for all widths, so that n is not mixed with k."""

    def to_dict(self) -> dict[str, Any]:
        """Return the rule with its own fields, ready for YAML."""
        content = asdict(self)
        own = {name: content[name] for name in ("rule", *_FIELDS[self.rule])}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}


def budget_of(content: Mapping[str, Any]) -> BudgetRule:
    """Return the rule of a study file whose form is right."""
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content.items()
    }
    return BudgetRule(**settings)


def steps_of_passes(n: int, batch_size: int, passes: float, most_steps: int) -> int:
    """min(⌈passes · n / batch_size⌉, most_steps): steps after which each transition was seen ``passes`` times."""
    return min(math.ceil(passes * n / batch_size), most_steps)


def trainer_values(steps: int, epochs: int) -> dict[str, int]:
    """Return the settings of a run of ``steps`` steps: as many epochs as before, each of them shorter or longer.

    Steps are rounded up to whole epochs; where there are fewer steps than epochs, there are fewer epochs.
    """
    epochs = min(epochs, steps)
    return {"trainer.epochs": epochs, "trainer.steps_per_epoch": math.ceil(steps / epochs)}


def steps_of(config: Mapping[str, Any]) -> int:
    """Optimiser steps of a run."""
    return int(config["trainer"]["epochs"] * config["trainer"]["steps_per_epoch"])


def steps_by_n(
    rule: BudgetRule, sizes: Sequence[int], config: Mapping[str, Any], chosen: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Return the steps of every n, as runs will count them; ``chosen`` are those of a tuned rule."""
    trainer = config["trainer"]
    found = {}
    for n in sizes:
        if rule.rule == "fixed_steps":
            found[n] = steps_of(config)
            continue
        if rule.rule == "fixed_epochs":
            assert rule.passes is not None  # the form asked for both
            assert rule.most_steps is not None
            wanted = steps_of_passes(n, config["data"]["batch_size"], rule.passes, rule.most_steps)
        else:
            assert chosen is not None  # the caller tunes first
            wanted = chosen[n]
        values = trainer_values(wanted, trainer["epochs"])
        found[n] = values["trainer.epochs"] * values["trainer.steps_per_epoch"]
    return found


def choose(rule: BudgetRule, sizes: Sequence[int], scores: Mapping[tuple[int, int], Sequence[float]]) -> dict[int, int]:
    """Return, for each n, the steps of the least mean score; ``scores`` by (n, steps), NaN where a run was lost.

    A step count with a lost run is not chosen; among equals the smaller one is.

    Raises
    ------
    UserError
        If an n has no step count whose runs all finished.
    """
    found = {}
    for n in sizes:
        means = {steps: sum(scores[n, steps]) / len(scores[n, steps]) for steps in sorted(rule.steps)}
        usable = {steps: mean for steps, mean in means.items() if math.isfinite(mean)}
        if not usable:
            raise UserError(
                f"budget: at n={n} every step count of {list(rule.steps)} lost a run or has no {VALIDATION}; "
                "lower the learning rate, raise data.heldout, or use another rule"
            )
        found[n] = min(usable, key=lambda steps: usable[steps])
    return found


def validation_score(record: RunRecord) -> float:
    """The held-out estimate of a run's risk; NaN where it was lost or could not be estimated."""
    value = record.final.get(VALIDATION) if record.status == "finished" else None
    return math.nan if value is None else float(value)


TIMED = ("trainer.steps_per_epoch", "trainer.epochs")
"""Keys that decide how long a run trains."""


def describe(rule: BudgetRule, steps: Mapping[int, int], dials: Iterable[str] = ()) -> Budget:
    """Return the record of the rule with its sentence; ``dials`` are the keys that the study varies."""
    ends = sorted(set(steps.values()))
    span = f"{ends[0]}" if len(ends) == 1 else f"{ends[0]} to {ends[-1]}"
    timed = [key for key in dials if key in TIMED]
    if timed:
        said = f"{' and '.join(timed)} {'is a dial' if len(timed) == 1 else 'are dials'} of the study"
    elif rule.rule == "fixed_steps":
        said = f"the same {span} optimiser steps at every n, so a small data set is passed more often"
    elif rule.rule == "fixed_epochs":
        said = f"{rule.passes:g} passes over the data at every n, at most {rule.most_steps} steps: {span} steps"
    else:
        said = (
            f"for each n the step count of {list(rule.steps)} with the least held-out estimate of the risk, mean over "
            f"k = {list(rule.widths)} and seeds {list(rule.seeds)}, which are not the study's: {span} steps"
        )
    return Budget(rule.rule, f"{rule.rule}: {said}.", dict(steps))

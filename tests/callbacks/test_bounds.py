"""Which bounds are logged, and which is called the best."""

import math

import pytest

from jepa_scale.callbacks.base import tabulate
from jepa_scale.callbacks.bounds import BoundsCallback, bounds_of
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose

SMALL = ["world=torus", "world.side=3", "model.k=4", "data.n=400", "data.heldout=640", "data.test=640", "logger=none"]


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["planner.score=density"], {"t4", "t5", "b1_prime", "b1_double_prime", "b1", "b5"}),
        (["planner.score=distance"], {"t4", "t5", "b1_prime", "b1_double_prime", "b1", "b5"}),
        # The latents of a second step are not tabulated: no error of a plan is known.
        (["planner.score=distance", "planner.horizon=2"], {"t4", "t5", "b1_prime"}),
        (["planner=spectral", "planner.horizon=2"], {"t4", "t5", "b1_prime", "b5"}),
    ],
    ids=["density", "distance", "two steps", "two steps by operators"],
)
def test_bounds_are_those_that_the_plan_allows(overrides, names):
    parts = build(compose([*SMALL, *overrides]))
    known = parts.context.exact
    found = bounds_of(known, tabulate(parts.module, known.world))
    assert {bound.name for bound in found} == names
    assert all(math.isfinite(bound.value) for bound in found if bound.applies)


def test_the_best_is_the_smallest_that_applies(monkeypatch):
    parts = build(compose([*SMALL, "planner.score=density"]))
    callback = BoundsCallback(parts.context)

    class Trainer:
        current_epoch, global_step = 0, 0

    monkeypatch.setattr("jepa_scale.callbacks.bounds.exact", _row)
    rows = {row.name: row for row in callback.estimates(Trainer(), parts.module)}
    applying = {name: row for name, row in rows.items() if "does_not_apply" not in row.flag and name != "bound/best"}
    least = min(applying, key=lambda name: applying[name].value)
    assert rows["bound/best"].value == applying[least].value
    assert rows["bound/best"].flag.split(",")[0] == f"by_{least.removeprefix('bound/')}"
    # T5 as published does not apply, however small it is.
    assert "does_not_apply" in rows["bound/t5"].flag


def _row(name, value, trainer):
    from jepa_scale.records import Estimate

    return Estimate(name, value, 0.0, None, trainer.current_epoch, trainer.global_step, "")

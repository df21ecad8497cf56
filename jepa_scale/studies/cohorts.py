"""Which runs of a study train together as a cohort, and how many."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from jepa_scale.runs.identity import canonical
from jepa_scale.runs.limits import GPUS
from jepa_scale.runs.schema import by_name
from jepa_scale.runs.targets import target_of

if TYPE_CHECKING:
    from jepa_scale.studies.design import DesignPoint

CohortSize = int | Literal["off", "auto"]
"""``cohort`` of a launcher: most runs of a cohort, or ``auto``, or ``off`` for every run alone."""
MOST = 16
"""Members of an automatic cohort: on one core more gain nothing."""
MOST_ON_GPU = 64
"""The same on a GPU, which small models leave almost idle; not yet measured."""
_LARGEST = 1024
SMALL = 5e8
"""Floating point operations of a step up to which an automatic cohort is formed: of more, a core's time is all
arithmetic, which stacking does not make less, and convolutions become slower by it (``benchmarks/cohort.py``)."""
SMALL_ON_GPU = 1e11
"""The same on a GPU: of so many it takes some milliseconds, as long as the launches of a step; not yet measured."""


def cohort_size(value: Any) -> CohortSize:
    """Read a setting ``cohort``.

    Raises
    ------
    ValueError
        If it is neither ``off``, ``auto`` nor a number of runs.
    """
    # YAML reads a bare off as false.
    if value is False or value == "off":
        return "off"
    if value == "auto":
        return "auto"
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if type(value) is not int or not 1 <= value <= _LARGEST:
        raise ValueError(f"cohort: expected off, auto, or a number of runs from 1 to {_LARGEST}, got {value!r}")
    return value


def why_alone(config: Mapping[str, Any]) -> str:
    """Why a run does not join any cohort, by its configuration; empty if it may."""
    trainer = config["trainer"]
    reasons = {
        "it is fine-tuned": list(config["stages"]) != ["pretrain"],
        f"it trains on {trainer['accelerator']}, and cohorts do on cpu and gpu": trainer["accelerator"]
        not in ("cpu", *GPUS),
        "it trains in several processes": trainer["devices"] != 1,
        f"its precision is {trainer['precision']}": trainer["precision"] != "32-true",
        "it is compiled": bool(trainer.get("compile")),
        "its logger is Lightning's WandbLogger, of which a process has one run": any(
            str(leaf["_target_"]).endswith(".WandbLogger") for leaf in by_name(config["logger"]).values()
        ),
        "its optimizer is not AdamWOneCycle": config["optimizer"]["_target_"].rpartition(".")[2] != "AdamWOneCycle",
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def kind_of(config: Mapping[str, Any]) -> str:
    """Text of all that members of a cohort share: all but seed, n, rate, decay and coefficients of the objective."""
    shared = {name: value for name, value in config.items() if name != "seed"}
    shared["data"] = {name: value for name, value in config["data"].items() if name != "n"}
    free = ("lr", "weight_decay")
    shared["optimizer"] = {name: value for name, value in config["optimizer"].items() if name not in free}
    shared["objective"] = _without_coefficients(config["objective"])
    return canonical(shared)


def _without_coefficients(leaf: Mapping[str, Any]) -> dict[str, Any]:
    """An objective's settings with only the signs of the numbers that its class takes as ``float``.

    Zero stands apart: it may leave out a part, such as a moving average.
    """
    coefficients = _coefficients(leaf.get("_target_", ""))
    kept: dict[str, Any] = {}
    for name, value in leaf.items():
        if isinstance(value, Mapping):
            kept[name] = _without_coefficients(value)
        elif name in coefficients and isinstance(value, int | float):
            kept[name] = f"float {value != 0}"
        else:
            kept[name] = value
    return kept


@lru_cache(maxsize=64)
def _coefficients(target: str) -> frozenset[str]:
    takes = inspect.signature(target_of(target, "objective")).parameters if target else {}
    return frozenset(name for name, one in takes.items() if one.annotation in (float, "float"))


@dataclass
class Cohorts:
    """Forms cohorts of a study's runs for one of its workers."""

    size: CohortSize
    workers: int
    points: Mapping[str, DesignPoint]
    neighbours: int | None = None
    """Workers that share this machine's memory; None: all."""
    _kinds: dict[str, str] = field(default_factory=dict)
    _alone: dict[str, str] = field(default_factory=dict)
    """Kinds whose runs go alone, with the reason."""
    _limits: dict[str, int] = field(default_factory=dict)
    """Most runs of a kind that memory suffices for, once it did not for more."""

    def kind(self, run: str) -> Hashable:
        """What the runs of a cohort share; None for a run that goes alone."""
        point = self.points.get(run)
        if point is None or why_alone(point.config):
            return None
        if run not in self._kinds:
            self._kinds[run] = kind_of(point.config)
        kind = self._kinds[run]
        return None if kind in self._alone else kind

    def most(self, run: str, waiting: int) -> int:
        """How many runs to claim together, of as many as wait: a worker leaves the others their share."""
        if self.size == "off" or self.kind(run) is None:
            return 1
        share = min(-(-waiting // self.workers), self._limits.get(self._kinds[run], waiting))
        if self.size != "auto":
            return max(1, min(self.size, share))
        from jepa_scale.runs.cohort import most_in_memory, step_flops

        config = self.points[run].config
        on_gpu = config["trainer"]["accelerator"] in GPUS
        flops = step_flops(config)
        if flops > (SMALL_ON_GPU if on_gpu else SMALL):
            self.refuse([run], f"a step of {flops:.1e} operations is all arithmetic, which a cohort does not make less")
            return 1
        # Of the memory other workers there take as much.
        fitting = most_in_memory(config) // (self.neighbours or self.workers)
        return max(1, min(MOST_ON_GPU if on_gpu else MOST, share, fitting))

    def refuse(self, runs: list[str], reason: str) -> None:
        """Let runs of this kind go alone from now on, and say why."""
        for run in runs:
            kind = self._kinds.get(run, "")
            if kind not in self._alone:
                self._alone[kind] = reason
                print(f"cohort: {self.points[run]} and runs like it go alone: {reason}", file=sys.stderr, flush=True)

    def reasons(self) -> Iterator[str]:
        """Why runs go alone, each reason once."""
        yield from dict.fromkeys(filter(None, (why_alone(point.config) for point in self.points.values())))

    def fewer(self, run: str, fitting: int) -> None:
        """Claim at most so many runs of this kind at once from now on, as memory did not suffice for more."""
        kind = self._kinds[run]
        if self._limits.get(kind, _LARGEST) > fitting:
            self._limits[kind] = fitting
            reason = f"of runs like {self.points[run]} at most {fitting} fit into memory"
            print(f"cohort: {reason}", file=sys.stderr, flush=True)

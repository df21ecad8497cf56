"""A study's folder with runs in every state, without training any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from jepa_scale.records import RunRecord
from jepa_scale.runs.identity import run_id
from jepa_scale.studies.design import DesignPoint
from jepa_scale.studies.manifest import write_plan
from jepa_scale.studies.queue.storage import Queue

FLOOR = 0.44
TAILS = {2: 9.256, 4: 7.922, 8: 5.765, 16: 2.409, 32: 0.0, 64: 0.0}


def regret_at(n: int, k: int, seed: int = 0) -> float:
    """Between what a width cannot see and what few samples cost, always below the floor."""
    law = (0.012 * TAILS.get(k, 0.0) + 0.02 * k**0.8 * (300 / n)) ** 0.5
    return min(law * (1 + 0.02 * (seed % 3 - 1)), 0.85 * FLOOR)


class PlantedStudy:
    """Runs are planned and wait; then they are begun, finished, diverged or failed one by one."""

    def __init__(
        self,
        folder: Path,
        sizes: tuple[int, ...] = (300, 1000, 3000),
        widths: tuple[int, ...] = (2, 8, 32),
        seeds: tuple[int, ...] = (0, 1),
        arms: Mapping[str, list[Any]] | None = None,
        score: str = "density",
        **fields: Any,
    ) -> None:
        self.folder, self.score = folder, score
        folder.mkdir(parents=True)
        self.lock = FileLock(folder / "lock")
        spec = {
            "name": "planted", "question": "Why?", "seeds": list(seeds), "laws": ["theory_free"], "bootstrap_draws": 20,
            "dials": {"data.n": list(sizes), "model.k": list(widths)}, "arms": dict(arms or {}), **fields,
        }  # fmt: skip
        (folder / "study.yaml").write_text(yaml.safe_dump(spec))
        labels = [f"{key}={value}" for key, values in (arms or {}).items() for value in values] or [""]
        self.points = [self._point(n, k, seed, arm) for arm in labels for seed in seeds for k in widths for n in sizes]
        self.plan()

    def _point(self, n: int, k: int, seed: int, arm: str) -> DesignPoint:
        config = {
            "data": {"n": n}, "model": {"k": k}, "seed": seed, "arm": arm, "planner": {"score": self.score},
            "stages": ["pretrain"], "trainer": {"epochs": 4, "steps_per_epoch": 5},
        }  # fmt: skip
        return DesignPoint(n, k, seed, config, run_id(config), arm=arm)

    def plan(self) -> None:
        """Plan what is there."""
        write_plan(self.folder, self.points)
        self.queue = Queue(self.folder, "planted")
        self.queue.plan(self.points, {})
        self.trials = {trial.user_attrs["run"]: trial._trial_id for trial in self.queue.trials()}

    def point(self, n: int, k: int, seed: int = 0, arm: str = "") -> DesignPoint:
        """The run of a cell."""
        (found,) = [one for one in self.points if (one.n, one.k, one.seed, one.arm) == (n, k, seed, arm)]
        return found

    def begin(self, point: DesignPoint, worker: str = "worker-0") -> None:
        """Have a worker take a run; the process that has it holds the study, until it leaves."""
        if not worker.startswith("slurm:") and not self.lock.is_locked:
            self.lock.acquire()
        self._begin(point, worker)

    def leave(self) -> None:
        """Have the process that holds the study end, whatever its workers are at."""
        self.lock.release()

    def _begin(self, point: DesignPoint, worker: str = "worker-0") -> None:
        assert self.queue._claims.take(self.trials[point.run_id])
        self.queue.storage.set_trial_user_attr(self.trials[point.run_id], "worker", worker)
        folder = point.folder(self.folder)
        folder.path.mkdir(parents=True, exist_ok=True)
        (folder.path / "config.yaml").write_text(yaml.safe_dump(dict(point.config)))

    def epoch(self, point: DesignPoint, epoch: int, regret: float) -> None:
        """Have a running run write an epoch's estimates, two lines."""
        rows = [*_other(epoch), {"name": f"regret/{self.score}", "value": regret, "epoch": epoch}, *_other(epoch)]
        with point.folder(self.folder).metrics_path.open("a") as file:
            file.write(json.dumps([{"name": "train/loss", "value": 1.0, "epoch": epoch}]) + "\n")
            file.write(json.dumps(rows) + "\n")

    def record(self, point: DesignPoint, regret: float | None, reason: str = "") -> RunRecord:
        """What a run leaves."""
        return RunRecord(
            run_id=point.run_id, config=point.config, status="diverged" if reason else "finished", reason=reason,
            dials={"n": point.n, "k": point.k, "seed": point.seed, "parameters": 10, "flops_per_step": 10},
            final={} if reason else {f"regret/{self.score}": regret, "exact/risk": 1.0},
            final_standard_errors={}, final_n={}, bounds=[], spectrum={}, versions={}, data_checksum="",
            truth={"tail": TAILS.get(point.k, 0.0), "shared_tail": 0.0, "regret_random": FLOOR},
            times={"wall_seconds": 7.0},
        )  # fmt: skip

    def finish(self, point: DesignPoint, regret: float | None = None, reason: str = "", told: bool = True) -> None:
        """Have a run that was begun leave its record, and its worker tell of it."""
        value = regret_at(point.n, point.k, point.seed) if regret is None else regret
        record = self.record(point, value, reason)
        point.folder(self.folder).write_record(record)
        if told:
            self.queue.finish(self.trials[point.run_id], record)

    def run(self, point: DesignPoint, regret: float | None = None, reason: str = "") -> None:
        """Begin and finish."""
        self._begin(point)
        self.finish(point, regret, reason)

    def fail(self, point: DesignPoint, reason: str) -> None:
        """Have a run end with an error."""
        self._begin(point)
        (self.folder / "errors").mkdir(exist_ok=True)
        (self.folder / "errors" / f"{point.run_id}.txt").write_text(f"Traceback\n{reason}\n")
        self.queue.fail(self.trials[point.run_id], reason)


def _other(epoch: int) -> list[dict[str, Any]]:
    return [
        {"name": "regret/distance", "value": 0.9, "epoch": epoch},
        {"name": "regret/none", "value": None, "epoch": epoch},
    ]

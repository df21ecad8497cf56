"""What mirroring a run to W&B costs: its share of a run of the quickstart, offline.

The time inside every call to the mirror (opening, rows, record, closing) is taken in wall and CPU seconds of this
process, over runs that follow each other as those of a study's worker do. Promise: ≤ 2 % of a run.

    OMP_NUM_THREADS=1 python benchmarks/mirror.py [--runs 6] [--widths 2 16 64] [key=value …]
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from jepa_scale.integrations.wandb.mirror import WandbMirror
from jepa_scale.runs.config import compose
from jepa_scale.runs.run import run
from jepa_scale.studies.specification.spec import find_sweep, read_spec

SPENT: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])


def timed(name: str) -> None:
    act = getattr(WandbMirror, name)

    @functools.wraps(act)
    def watched(*arguments, **options):
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return act(*arguments, **options)
        finally:
            SPENT[name][0] += time.perf_counter() - wall
            SPENT[name][1] += time.process_time() - cpu

    setattr(WandbMirror, name, watched)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 16, 64])
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    names = ("__init__", "write", "record", "finish")
    for name in names:
        timed(name)
    shared = [*read_spec(find_sweep("quickstart")).overrides, "logger.mode=offline", *arguments.overrides]
    print("   k  run s  " + "  ".join(f"{name:>8} ms" for name in names) + "  share of wall  share of CPU")
    for k in arguments.widths:
        rows = []
        for number in range(arguments.runs + 1):
            SPENT.clear()
            wall, cpu = time.perf_counter(), time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                run(compose([f"model.k={k}", f"seed={number}", *shared]), Path(folder) / "run")
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            # The first run of a process pays for imports and for starting W&B's service.
            if number or k != arguments.widths[0]:
                spent = [SPENT[name][0] for name in names]
                rows.append((wall, *spent, sum(spent) / wall, sum(SPENT[name][1] for name in names) / cpu))
        run_seconds, *each, share, share_cpu = (statistics.median(column) for column in zip(*rows, strict=True))
        shown = "  ".join(f"{seconds * 1e3:11.1f}" for seconds in each)
        print(f"{k:4d} {run_seconds:6.2f}  {shown}  {share:13.1%}  {share_cpu:12.1%}", flush=True)


if __name__ == "__main__":
    main()

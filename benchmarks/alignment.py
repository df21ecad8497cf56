"""Table of the alignment check on simulated recordings: every world aligned, and shifted both ways by one row.

    python benchmarks/alignment.py [PART OF A NAME] [--seeds 3]

Right: an aligned recording is aligned, one whose action came a row late is shifted by 1. Wrong advice: an aligned
recording is refused, a shifted one is called aligned, a shift is named that is another one. Where plant and shift add
up to the same recording as an aligned one (a delay of 1, a row late) the aligned answer is the right one.
"""

from __future__ import annotations

import argparse
import collections
import time

import numpy as np
from alignment_worlds import cases, recorded

from jepa_scale.data.alignment.check import alignment
from jepa_scale.data.alignment.verdict import Alignment, Verdict


def judged(found: Alignment, delay: int, shift: int) -> str:
    """Return "right", "cannot tell" or "WRONG"."""
    lag = shift - delay
    if found.verdict is Verdict.SHIFTED:
        return "right" if found.lag == lag and shift else "WRONG"
    if found.verdict is Verdict.ALIGNED:
        # A delay seen as aligned would be a mistake only if rows were shifted.
        return "right" if lag == 0 else "WRONG"
    return "cannot tell"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("part", nargs="?", default="")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--wrong", action="store_true", help="show wrong rows only")
    parsed = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    slowest = 0.0
    for case in cases():
        if parsed.part not in case.name:
            continue
        for seed in range(parsed.seeds):
            recording = case.record(np.random.default_rng(seed))
            for shift in (0, 1, -1):
                episodes = recorded(recording, shift)
                start = time.perf_counter()
                found = alignment(episodes)
                slowest = max(slowest, time.perf_counter() - start)
                answer = judged(found, case.delay, shift)
                counts[answer] += 1
                if shift - case.delay >= 0:
                    counts[f"decidable {shift:+d}: {answer}"] += 1
                if answer == "WRONG" or not parsed.wrong:
                    reason = "" if found.reason is None else f" ({found.reason.value})"
                    lag = "" if found.lag is None else f" {found.lag:+d}"
                    gains = " ".join(f"{gain.value:.3f}{'*' if gain.sure else ''}" for gain in found.gains)
                    print(f"{case.name:45s} {shift:+d} {answer:12s}{found.verdict.value}{lag}{reason} | {gains}")
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    print(f"slowest check: {slowest:.1f} s")


if __name__ == "__main__":
    main()

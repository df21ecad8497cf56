"""What 64 singular values of a world of 10⁴ observations cost, with their certificates.

Five actions of a blurred 100 × 100 torus, whose singular values are known in closed form. The floor is one bare
`scipy.sparse.linalg.svds` call per action on the same matrices, in turns in one process. Promise: ≤ 30 s in all for
five actions on two cores, ≤ 2 GiB, error ≤ 1e-8.

    OMP_NUM_THREADS=1 python -m benchmarks.sparse_spectrum [--side 100] [--count 64] [--blur 1.0] [--repeats 3]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time

import numpy as np
from scipy.sparse.linalg import svds

from jepa_scale.theory.sparse import normalised, top_singular_values
from tests.reference.learners import sparse_torus, torus_singular_values

SLIP = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=100)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--blur", type=float, default=1.0)
    parser.add_argument("--reach", type=int, default=4, help="cells beyond which the blur is cut off")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torus = (arguments.side, SLIP, arguments.blur, arguments.reach)
    world = sparse_torus(*torus)
    stored = sum(kernel.nnz for kernel in world.transition)
    print(f"N = {world.states}, {world.actions} actions, {stored} transitions, top {arguments.count}")

    ours, floor, found = [], [], []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        found = [
            top_singular_values(normalised(world, action), arguments.count, seed=action)
            for action in range(world.actions)
        ]
        ours.append(time.perf_counter() - started)
        # Before the bare calls, whose memory is not ours.
        if not floor:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        for action in range(world.actions):
            svds(normalised(world, action), arguments.count, rng=np.random.default_rng(action))
        floor.append(time.perf_counter() - started)

    expected = [torus_singular_values(*torus, action)[: arguments.count] for action in range(world.actions)]
    errors = [np.abs(each.values - truth).max() for each, truth in zip(found, expected, strict=True)]
    print(f"seconds, all actions      {statistics.median(ours):8.2f}  (median of {arguments.repeats})")
    print(f"  over bare svds          {statistics.median(a / b for a, b in zip(ours, floor, strict=True)):8.2f}")
    print(f"peak resident memory, MiB {peak / 1024:8.0f}  (Linux; imports and world included)")
    print(f"largest residual          {max(each.residuals.max() for each in found):8.1e}")
    print(f"largest error             {max(errors):8.1e}  (closed form)")
    print(f"converged                 {sum(each.converged for each in found):8d} of {world.actions}")


if __name__ == "__main__":
    main()

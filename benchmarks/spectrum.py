"""Accumulate, decompose and leave groups out, against deeptime; an audit's stream, against bare products.

    python benchmarks/spectrum.py [--rows 1000000] [--width 256] [--repeats 3] [--audit] [--large]

``--audit`` measures the stream on a file of 1 GiB, ``--large`` the peak memory on one of 20 GiB, sparse on disk.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

CHUNK = 4096
DISTINCT = 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--audit", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--audit-once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.audit_once:
        _audit_once(options.audit_once)
        return
    torch.set_num_threads(1)
    _against_deeptime(options.rows, options.width, options.repeats)
    if options.audit:
        _stream(options.repeats)
    if options.large:
        _large()


def _against_deeptime(rows: int, width: int, repeats: int) -> None:
    from deeptime.covariance import Covariance
    from deeptime.decomposition import VAMP

    from jepa_scale.estimators.moments import MomentAccumulator
    from jepa_scale.estimators.spectrum import OperatorSums, operator_spectrum

    generator = np.random.default_rng(0)
    h = generator.normal(size=(DISTINCT, width)).astype(np.float32)
    f = (0.5 * h + generator.normal(size=h.shape)).astype(np.float32)
    trajectories = torch.arange(DISTINCT) // 100

    def theirs() -> np.ndarray:
        sums = Covariance(
            compute_c00=True, compute_c0t=True, compute_ctt=True, remove_data_mean=True, bessels_correction=False
        )
        for start in range(0, rows, CHUNK):
            first = start % DISTINCT
            sums.partial_fit((h[first : first + CHUNK], f[first : first + CHUNK]))
        return VAMP(epsilon=1e-12).fit_from_covariances(sums.fetch_model()).fetch_model().singular_values

    def ours() -> np.ndarray:
        sums = MomentAccumulator(width, width)
        for start in range(0, rows, DISTINCT):
            part = slice(0, min(DISTINCT, rows - start))
            sums.update(torch.from_numpy(h[part]), torch.from_numpy(f[part]), None, trajectories[part])
        return operator_spectrum(OperatorSums.of(sums.compute(), 0, "same_action")).singular_values.whole

    times: dict[str, list[float]] = {"deeptime": [], "ours": []}
    values = {}
    for _ in range(repeats):
        for name, work in (("deeptime", theirs), ("ours", ours)):
            started = time.perf_counter()
            values[name] = work()
            times[name].append(time.perf_counter() - started)
    ratio = median(a / b for a, b in zip(times["ours"], times["deeptime"], strict=True))
    off = np.abs(values["ours"][1 : 1 + width] - values["deeptime"][:width]).max()
    print(
        f"n={rows} k={width}: deeptime covariance + VAMP {median(times['deeptime']):.2f} s, ours with the spectra of "
        f"16 jackknife groups {median(times['ours']):.2f} s, ratio {ratio:.2f}; largest difference in s_i {off:.1e}"
    )


def _stream(repeats: int) -> None:
    """Rows per second of an audit over those of its three products alone, on the same rows in memory."""
    rows, width = 262_144, 512
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        z = generator.normal(size=(rows, width)).astype(np.float32)
        following = (0.7 * z + generator.normal(size=z.shape)).astype(np.float32)
        np.save(Path(folder) / "z.npy", z)
        np.save(Path(folder) / "z_next.npy", following)
        np.save(Path(folder) / "trajectory.npy", np.arange(rows) // 100)
        ratios, shares, rates = [], [], []
        for _ in range(repeats):
            bare, _ = _bare(z, following, _cores())
            # On one thread: several that wait for each other burn time.
            _, alone = _bare(z, following, 1)
            found = _run(Path(folder))
            ratios.append(bare / found["stream"])
            shares.append(alone / found["cpu"])
            rates.append(2 * z.nbytes / found["stream"] / 2**20)
    print(
        f"audit of {2 * z.nbytes / 2**30:.1f} GiB, width {width}, {_cores()} threads: {median(rates):.0f} MiB/s, "
        f"{100 * median(ratios):.0f} % of the bare products' rate, {100 * median(shares):.0f} % in CPU time"
    )


def _bare(z: np.ndarray, following: np.ndarray, threads: int) -> tuple[float, float]:
    """Seconds and CPU seconds of an audit's three products."""
    torch.set_num_threads(threads)
    left, right = torch.from_numpy(z), torch.from_numpy(following)
    started, used = time.perf_counter(), time.process_time()
    for start in range(0, len(z), CHUNK):
        part = slice(start, start + CHUNK)
        _ = left[part].T @ left[part], right[part].T @ right[part], left[part].T @ right[part]
    return time.perf_counter() - started, time.process_time() - used


def _large() -> None:
    """Two sparse arrays of 10⁷ × 512 float32, 19 GiB each."""
    rows, width = 10_000_000, 512
    with tempfile.TemporaryDirectory() as folder:
        for name in ("z", "z_next"):
            header = np.lib.format.open_memmap(
                Path(folder) / f"{name}.npy", mode="w+", dtype=np.float32, shape=(rows, width)
            )
            del header
        np.save(Path(folder) / "trajectory.npy", np.arange(rows) // 100)
        found = _run(Path(folder))
    print(
        f"audit of two sparse arrays of {rows * width * 4 / 2**30:.0f} GiB each: {found['stream']:.0f} s, peak memory "
        f"{found['peak'] / 2**20:.2f} GiB"
    )


def _run(folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--audit-once", str(folder)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _audit_once(folder: Path) -> None:
    import jepa_scale
    from jepa_scale.auditing import stream

    seconds = used = 0.0
    gather = stream.gather

    def timed(*arguments: object) -> object:
        nonlocal seconds, used
        started, before = time.perf_counter(), time.process_time()
        found = gather(*arguments)  # type: ignore[arg-type]
        seconds, used = time.perf_counter() - started, time.process_time() - before
        return found

    from jepa_scale.auditing import audit

    audit.gather = timed  # type: ignore[assignment]
    jepa_scale.audit(folder, dictionary=0, resolution=())
    # Kibibytes on Linux.
    print(json.dumps({"stream": seconds, "cpu": used, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()

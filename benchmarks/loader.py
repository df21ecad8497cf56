"""What taking windows of rows costs: held in memory against a bare index, and read from a file.

Promise: taking cached rows runs at 80 % or more of the rate of indexing a tensor in memory; windows of two 64×64×3
frames are read from a file at 3000 or more a second on two cores. Torch has two ways to index: `tensor[index]`, and
`index_select`, which is faster and what ours is built on; both are shown. Bare and ours take turns in one process,
batch by batch, and CPU time is counted. The file is in the page cache, as it is from the second epoch on where memory
allows it; nothing here measures a disk.

    OMP_NUM_THREADS=2 python benchmarks/loader.py [--repeats 5] [--frames 20000] [--batch 256]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

from jepa_scale.data.external.detect import read_episodes
from jepa_scale.data.rows import CachedRows, MappedRows, open_rows, windows
from jepa_scale.data.store import write_episodes
from jepa_scale.records import ActionSpace, Episodes

LENGTH = 100
SPAN = 2


def rate(take: Callable[[torch.Tensor], torch.Tensor], batches: list[torch.Tensor]) -> float:
    """Windows a second."""
    started = time.perf_counter()
    for batch in batches:
        take(batch)
    return sum(len(batch) for batch in batches) / (time.perf_counter() - started)


def drawn(rows: int, batch: int, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(rows - SPAN, (count, batch), generator=generator)
    return [windows(one, SPAN) for one in starts]


def cached(values: torch.Tensor, batch: int, count: int, repeats: int) -> list[float]:
    """Windows a second of ours, over those of `index_select` and over those of `tensor[index]`: medians, CPU time."""
    batches, rows = drawn(len(values), batch, count), CachedRows(values)
    takes = [rows.take, lambda index: values.index_select(0, index.reshape(-1)), lambda index: values[index]]
    rounds = []
    for _ in range(repeats + 1):
        used = [0.0, 0.0, 0.0]
        for turn in range(count):
            # The one that comes after the slowest finds the processor's cache emptied: each comes after each.
            for step in range(3):
                place = (turn + (step if turn % 2 else -step)) % 3
                # Each a batch of its own, or the first would fetch the rows for the others.
                index = batches[(turn + place) % count]
                started = time.process_time()
                takes[place](index)
                used[place] += time.process_time() - started
        rounds.append((count * batch / used[0], used[1] / used[0], used[2] / used[0]))
    # The first round pays for the allocator.
    return [statistics.median(column) for column in zip(*rounds[1:], strict=True)]


def episodes(frames: int) -> Episodes:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)
    usable = np.arange(frames) % LENGTH != LENGTH - 1
    actions = generator.uniform(-1, 1, (frames, 2)).astype(np.float32)
    return Episodes(pixels, actions, np.full(frames // LENGTH, LENGTH), usable, ActionSpace(size=2))


def frame_at_a_time(path: Path, store: Path) -> Path:
    """The same columns with one chunk a row and no compression, as stable-worldmodel writes them."""
    with h5py.File(store, "r") as held, h5py.File(path, "w") as file:
        for name in ("pixels", "action", "ep_len", "ep_offset"):
            values = held[name][...]
            chunks = None if name.startswith("ep_") else (1, *values.shape[1:])
            file.create_dataset(name, data=values, chunks=chunks)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=20_000, help="a multiple of 100; 12 KiB each, twice on the disk")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    arguments = parser.parse_args()
    print(f"torch on {torch.get_num_threads()} threads, windows of {SPAN} rows, batches of {arguments.batch}, medians")
    generator = torch.Generator().manual_seed(0)
    for name, values in {
        "32 numbers": torch.randn(200_000, 32, generator=generator),
        "64×64×3 bytes": torch.randint(0, 256, (4_000, 64, 64, 3), dtype=torch.uint8, generator=generator),
    }.items():
        speed, selected, indexed = cached(values, arguments.batch, 200, arguments.repeats)
        ratios = f"{selected:5.2f} of index_select, {indexed:5.2f} of tensor[index]"
        print(f"cached, {name:14s} {speed:10.0f} windows/s of CPU time, {ratios}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = write_episodes(episodes(arguments.frames), Path(folder) / "store.h5")
        chunked = frame_at_a_time(Path(folder) / "chunked.h5", store)
        for name, path in {"store": store, "a chunk for each frame": chunked}.items():
            rows = open_rows(read_episodes(path, load_bytes=0).observations, cache_bytes=0)
            assert isinstance(rows, MappedRows)
            batches = drawn(len(rows), arguments.batch, 40)
            speeds = [rate(rows.take, batches) for _ in range(arguments.repeats + 1)][1:]
            print(f"from a file, {name:22s} {statistics.median(speeds):10.0f} windows/s")


if __name__ == "__main__":
    main()

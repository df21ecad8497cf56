import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.distributed as dist

from jepa_scale.estimators.moments import GroupedMoments, MomentAccumulator, NotFiniteError, grouped_moments
from jepa_scale.runs.distributed.ranks import free_port
from tests.reference import estimators as reference

P, Q, CELLS = 3, 4, 2


def rows_of(generator, n=300, dtype=torch.float64):
    h = torch.from_numpy(generator.normal(size=(n, P)) * [1, 10, 0.1] + [0, 5, -2]).to(dtype)
    f = torch.from_numpy(generator.normal(size=(n, Q))).to(dtype)
    cells = torch.from_numpy(generator.integers(CELLS, size=n))
    trajectories = torch.from_numpy(generator.integers(40, size=n))
    return h, f, cells, trajectories, torch.from_numpy(generator.random(n))


def accumulated(*batches):
    sums = MomentAccumulator(P, Q, CELLS)
    for batch in batches:
        sums.update(*batch)
    return sums


def assert_close(found: GroupedMoments, expected: GroupedMoments, tolerance=1e-12):
    zeros = np.zeros(found.shift_h.shape), np.zeros(found.shift_f.shape)
    found, expected = found.shifted(*zeros), expected.shifted(*zeros)
    for field in fields(GroupedMoments):
        ours, theirs = (np.asarray(getattr(one, field.name)) for one in (found, expected))
        scale = max(1.0, np.abs(np.nan_to_num(theirs)).max())
        np.testing.assert_allclose(ours, theirs, atol=tolerance * scale, err_msg=field.name)


def test_sums_equal_those_row_by_row(generator):
    batch = rows_of(generator)
    found = accumulated(batch).compute().shifted(np.zeros(P), np.zeros(Q))
    expected = reference.grouped_sums(*(part.numpy() for part in batch), CELLS, 16)
    for name, sums in expected.items():
        np.testing.assert_allclose(getattr(found, name), sums, rtol=1e-11, atol=1e-11, err_msg=name)


def test_matched_squares_are_of_unshifted_rows(generator):
    h, _, cells, trajectories, weights = rows_of(generator)
    sums = MomentAccumulator(P, P, CELLS)
    sums.update(h, 2 * h, cells, trajectories, weights)
    expected = (weights * 2 * (h * h).sum(1)) ** 2
    assert sums.compute().matched_square.sum() == pytest.approx(float(expected.sum()), rel=1e-12)


def test_merged_and_streamed_shards_are_the_whole(generator):
    batch = rows_of(generator)
    whole = accumulated(batch).compute()
    shards = [tuple(part[rows] for part in batch) for rows in (slice(0, 90), slice(90, 91), slice(91, 300))]
    assert_close(accumulated(*shards).compute(), whole)
    merged = accumulated(shards[0])
    for shard in shards[1:]:
        merged.merge(accumulated(shard))
    merged.merge(MomentAccumulator(P, Q, CELLS))
    assert_close(merged.compute(), whole)
    empty = MomentAccumulator(P, Q, CELLS)
    empty.merge(merged)
    assert_close(empty.compute(), whole)


def test_a_saved_state_goes_on(generator):
    first, second = rows_of(generator), rows_of(generator)
    started = accumulated(first)
    state = started.state_dict()
    started.update(*second)
    resumed = MomentAccumulator(P, Q, CELLS)
    resumed.load_state_dict(state)
    resumed.update(*second)
    assert_close(resumed.compute(), started.compute(), 0.0)
    with pytest.raises(ValueError, match="of shape"):
        MomentAccumulator(P, Q, CELLS + 1).load_state_dict(state)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_single_precision_far_from_zero(dtype, generator):
    """Without the shift, float32 sums about a mean of 30 are off by more than a deviation of .01."""
    h = (30 + 0.5 * torch.from_numpy(generator.normal(size=(50_000, P)))).to(dtype)
    f = (30 + 0.5 * torch.from_numpy(generator.normal(size=(50_000, Q)))).to(dtype)
    found, exact = MomentAccumulator(P, Q), MomentAccumulator(P, Q)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found.update(h, f)
    finally:
        torch.set_float32_matmul_precision(before)
    exact.update(h.double(), f.double())
    # Rounding of float32 products, 2⁻²⁴, over segments of 4096 rows: 1e-6 of a covariance of .25. Halves lie on a
    # coarse grid, so that roundings repeat instead of averaging out: at most 4096 of them.
    tolerance = 1e-6 if dtype == torch.float32 else 2e-5
    for name in ("zz", "yy", "zy"):
        ours = getattr(found.compute(), name).sum((0, 1)) / 50_000
        theirs = getattr(exact.compute().shifted(found.compute().shift_h, found.compute().shift_f), name).sum((0, 1))
        np.testing.assert_allclose(ours, theirs / 50_000, atol=tolerance)


def test_groups_follow_trajectories_and_cells_can_be_joined(generator):
    h, f, cells, trajectories, _ = rows_of(generator)
    found = accumulated((h, f, cells, trajectories)).compute()
    for cell in range(CELLS):
        for group in range(16):
            assert found.rows[cell, group] == int(((cells == cell) & (trajectories % 16 == group)).sum())
    joint = found.joined(np.zeros(CELLS, dtype=np.int64))
    alone = MomentAccumulator(P, Q)
    alone.update(h, f, None, trajectories)
    assert_close(joint, alone.compute(), 1e-11)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_and_not_added(value, generator):
    batch = rows_of(generator)
    sums = accumulated(batch)
    before = sums.state_dict()
    h, f, *rest = (part.clone() for part in batch)
    f[7, 1] = value
    with pytest.raises(NotFiniteError, match="NaN or infinity"):
        sums.update(h, f, *rest)
    for name, part in sums.state_dict()["sums"].items():
        torch.testing.assert_close(part, before["sums"][name], rtol=0, atol=0, equal_nan=True)


def test_shapes_and_numbers_at_the_door(generator):
    h, f, cells, trajectories, weights = rows_of(generator)
    sums = MomentAccumulator(P, Q, CELLS)
    with pytest.raises(ValueError, match=r"expected h \(B, 3\) and f \(B, 4\)"):
        sums.update(h, h)
    with pytest.raises(ValueError, match=r"expected cells of shape \(300,\)"):
        sums.update(h, f, cells[1:])
    with pytest.raises(ValueError, match=r"expected actions in 0 … 1"):
        sums.update(h, f, cells + 1)
    with pytest.raises(ValueError, match="trajectory numbers"):
        sums.update(h, f, cells, trajectories - 5)
    with pytest.raises(ValueError, match="weights ≥ 0"):
        sums.update(h, f, cells, trajectories, -weights)
    with pytest.raises(ValueError, match="equal"):
        sums.merge(MomentAccumulator(P, Q, CELLS + 1))
    with pytest.raises(ValueError, match="positive"):
        MomentAccumulator(0, Q)
    sums.update(h[:0], f[:0])
    assert sums.compute().count.sum() == 0


def _rank(rank, ranks, port, batch, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    sums = MomentAccumulator(P, Q, CELLS)
    # Whole trajectories to each rank; of four ranks the last has none.
    trajectories = batch[3]
    mine = trajectories % min(ranks, 3) == rank
    sums.update(*(part[mine] for part in batch))
    sums.all_reduce()
    out.put((rank, sums.compute()))
    dist.destroy_process_group()


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_processes_gives_the_same_moments(ranks, generator):
    batch = rows_of(generator)
    port = free_port()
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    workers = [context.Process(target=_rank, args=(rank, ranks, port, batch, out)) for rank in range(ranks)]
    for worker in workers:
        worker.start()
    found = dict(out.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
    whole = accumulated(batch).compute()
    for rank in range(ranks):
        assert_close(found[rank], whole)


def test_arrays_in_one_call(generator):
    h, f, cells, trajectories, _ = (part.numpy() for part in rows_of(generator))
    assert_close(
        grouped_moments(h, f, cells, trajectories, CELLS),
        accumulated(tuple(torch.from_numpy(part) for part in (h, f, cells, trajectories))).compute(),
    )


@pytest.mark.parametrize("updates", [1, 40])
def test_single_precision_sums_are_short(updates, generator):
    """Float32 adds 4096 rows at most, in one update and over many: such sums of these numbers are exact, longer not.

    Products of two multiples of 1/32 below 2 are multiples of 2⁻¹⁰ below 4, so that sums of 4096 have 24 bits.
    """
    rows = (generator.integers(33, 64, size=(120_040, 3)) / 32).astype(np.float32)
    sums = MomentAccumulator(3, 3, groups=1)
    # The first rows' mean is the shift, here zero.
    first = torch.from_numpy(np.concatenate([rows[:8], -rows[:8]]))
    sums.update(first, first)
    for part in np.array_split(rows, updates):
        sums.update(*[torch.from_numpy(part)] * 2)
    exact = np.concatenate([first.numpy(), rows]).astype(np.float64)
    exact = np.hstack([np.ones((len(exact), 1)), exact])
    found = sums.compute()
    for name in ("zz", "yy", "zy"):
        np.testing.assert_array_equal(getattr(found, name)[0, 0], exact.T @ exact, err_msg=name)


@pytest.mark.parametrize("weighted", [False, True])
def test_threads_and_symmetric_blocks_give_the_same_sums(weighted, generator):
    """Of a width that is cut into blocks, cells and groups on several threads, against products of whole matrices."""
    n, p, q = 9000, 300, 257
    h, f = (generator.normal(size=(n, width)).astype(np.float32) for width in (p, q))
    cells, trajectories = generator.integers(3, size=n), generator.integers(50, size=n)
    weights = generator.random(n) if weighted else None
    columns = [torch.from_numpy(part) for part in (h, f, cells, trajectories)]
    columns += [] if weights is None else [torch.from_numpy(weights)]
    with ThreadPoolExecutor(3) as pool:
        threaded, plain = MomentAccumulator(p, q, 3, 4, pool=pool), MomentAccumulator(p, q, 3, 4)
        for sums in (threaded, plain):
            for rows in (slice(0, 5000), slice(5000, n)):
                sums.update(*(part[rows] for part in columns))
    ours, theirs = (sums.compute().shifted(np.zeros(p), np.zeros(q)) for sums in (threaded, plain))
    w = np.ones(n) if weights is None else weights
    z, y = (np.hstack([np.ones((n, 1)), part]).astype(np.float64) for part in (h, f))
    for cell in range(3):
        for group in range(4):
            rows = (cells == cell) & (trajectories % 4 == group)
            scaled = w[rows, None] * z[rows]
            for name, expected in (("zz", scaled.T @ z[rows]), ("zy", scaled.T @ y[rows])):
                # Float32 products of 750 standard normal rows.
                np.testing.assert_allclose(getattr(ours, name)[cell, group], expected, atol=1e-3, err_msg=name)
    for name in ("zz", "yy", "zy", "matched_square", "weight_square", "rows"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)

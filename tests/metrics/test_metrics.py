"""The metrics, as torchmetrics tests its own: batch = stream = ranks, reset, pickling, precision, collections."""

import multiprocessing
import os
import pickle
import warnings

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torchmetrics import MetricCollection

from jepa_scale import metrics
from jepa_scale.runs.distributed.ranks import free_port
from tests.reference import estimators as slow

K, ACTIONS, ROWS = 4, 2, 1200
SIGMA = np.array([1.0, 0.9, 0.8, 0.5, 0.3, 0.1])


def rows_of(generator, rows=ROWS):
    """Predicted and observed embeddings that agree in part, with actions, groups and weights."""
    z = generator.normal(size=(rows, K)) + 3.0
    target = 0.8 * z + 0.6 * generator.normal(size=(rows, K))
    action = generator.integers(0, ACTIONS, rows)
    target[action == 1] = target[action == 1][:, ::-1]
    group, weight = np.arange(rows) // 10, generator.uniform(0.5, 2.0, rows)
    return tuple(torch.as_tensor(np.ascontiguousarray(part)) for part in (z, target, action, group, weight))


BUILT = {
    "gap": lambda: metrics.SpectralGap(K, k=2, actions=ACTIONS),
    "total": lambda: metrics.SpectralTotal(K, actions=ACTIONS),
    "tail": lambda: metrics.SpectralTail(K, k=2, actions=ACTIONS),
    "loss": lambda: metrics.SpectralLoss(K, actions=ACTIONS),
    "calibration": lambda: metrics.CalibrationDeficit(K, actions=ACTIONS),
    "subspace": lambda: metrics.SubspaceDeficit(K, singular_values=SIGMA, actions=ACTIONS),
    "lidar": lambda: metrics.LiDAR(K, actions=ACTIONS),
    "rankme": lambda: metrics.RankMe(K),
    "effective": lambda: metrics.EffectiveRank(K),
}


@pytest.fixture
def batch():
    return rows_of(np.random.default_rng(3))


@pytest.mark.parametrize("name", BUILT)
def test_a_stream_of_batches_is_one_batch(name, batch):
    whole, stream = BUILT[name](), BUILT[name]()
    whole.update(*batch)
    for start in range(0, ROWS, 170):
        stream.update(*(part[start : start + 170] for part in batch))
    assert float(stream.compute()) == pytest.approx(float(whole.compute()), rel=1e-10)
    assert stream.standard_error == pytest.approx(whole.standard_error, rel=1e-8)
    assert (stream.n, stream.flag) == (whole.n, whole.flag) == (ROWS, whole.flag)


@pytest.mark.parametrize("name", BUILT)
def test_forward_gives_the_batch_and_keeps_the_whole(name, batch):
    whole, stepped = BUILT[name](), BUILT[name]()
    whole.update(*batch)
    first = tuple(part[:600] for part in batch)
    alone = BUILT[name]()
    alone.update(*first)
    assert float(stepped(*first)) == pytest.approx(float(alone.compute()), rel=1e-10)
    stepped(*(part[600:] for part in batch))
    assert float(stepped.compute()) == pytest.approx(float(whole.compute()), rel=1e-10)


@pytest.mark.parametrize("name", BUILT)
def test_reset_and_pickling(name, batch):
    metric = BUILT[name]()
    metric.update(*batch)
    value = float(metric.compute())
    again = pickle.loads(pickle.dumps(metric))
    assert float(again.compute()) == value
    metric.reset()
    assert (metric.n, metric.flag) == (0, "no_rows")
    # torchmetrics has a warning of its own here.
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert np.isnan(float(metric.compute()))
    assert any("no rows were given" in str(one.message) for one in told)
    metric.update(*batch)
    assert float(metric.compute()) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", BUILT)
def test_no_cast_touches_the_sums(name, batch):
    metric, cast = BUILT[name](), BUILT[name]()
    metric.update(*batch)
    first = tuple(part[:600] for part in batch)
    cast.update(*first)
    for change in (lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.float(), lambda m: m.to("cpu")):
        cast = change(cast)
    torch.nn.Sequential(cast).to(torch.bfloat16)
    cast.update(*(part[600:] for part in batch))
    assert float(cast.compute()) == pytest.approx(float(metric.compute()), rel=1e-12)


def test_values_are_those_of_the_slow_references(batch):
    predicted, target, action, _, _ = (part.numpy() for part in batch)
    loss, total = [], []
    for a in range(ACTIONS):
        rows = np.flatnonzero(action == a)
        loss.append(slow.unbiased_loss(predicted, target, rows, rows))
        # T is of the raw features, without the constant: not centred.
        total.append((slow.canonical_correlations(predicted[rows], target[rows]) ** 2).sum())
    metric = metrics.SpectralLoss(K, actions=ACTIONS)
    metric.update(*batch[:3])
    assert float(metric.compute()) == pytest.approx(np.mean(loss), abs=6 * metric.standard_error)
    # The jackknife takes off a bias of a tenth of an error; the whole sample's value is the double sum itself.
    assert metric.statistic(metric.moments())[0].whole == pytest.approx(np.mean(loss), rel=1e-9)
    other = metrics.SpectralTotal(K, actions=ACTIONS)
    other.update(*batch[:3])
    other.compute()
    assert other.statistic(other.moments())[0].whole == pytest.approx(np.mean(total), rel=1e-9)
    values = np.linalg.svd(target, compute_uv=False)
    share = values / values.sum()
    rank = metrics.RankMe(K)
    rank.update(torch.as_tensor(target))
    rank.compute()
    assert rank.statistic(rank.moments())[0].whole == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)


def test_a_mean_of_a_thousand_deviations_is_no_matter(batch):
    near, far = metrics.EffectiveRank(K), metrics.EffectiveRank(K)
    near.update(batch[1])
    far.update(batch[1] + 1000.0)
    assert float(far.compute()) == pytest.approx(float(near.compute()), rel=1e-6)


def test_a_collection_shares_its_states_and_decomposes_them_once(batch, monkeypatch):
    from jepa_scale.metrics import spectra

    calls = []
    real = spectra.estimate_model
    monkeypatch.setattr(spectra, "estimate_model", lambda *given: calls.append(1) or real(*given))
    names = [name for name in BUILT if name not in ("rankme", "effective")]
    collection = MetricCollection({name: BUILT[name]() for name in BUILT})
    half = tuple(part[:600] for part in batch), tuple(part[600:] for part in batch)
    for part in half:
        collection.update(*part)
    found = collection.compute()
    assert {len(group) for group in collection.compute_groups.values()} == {len(names), 2}
    assert len(calls) == 1
    for name in BUILT:
        alone = BUILT[name]()
        alone.update(*batch)
        assert float(found[name]) == pytest.approx(float(alone.compute()), rel=1e-10)
        assert collection[name].standard_error == pytest.approx(alone.standard_error, rel=1e-8)
        assert collection[name].n == ROWS
    collection.reset()
    collection.update(*batch)
    assert float(collection.compute()["loss"]) == pytest.approx(float(found["loss"]), rel=1e-10)


def test_few_rows_give_no_value_and_one_warning(batch):
    metric = metrics.SpectralTotal(K)
    metric.update(batch[0][:40], batch[1][:40])
    with pytest.warns(UserWarning, match="SpectralTotal has no value: 40 rows are too few for 4 features"):
        assert np.isnan(float(metric.compute()))
    assert metric.flag == "n_too_small"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.reset()
        metric.update(batch[0][:40], batch[1][:40])
        assert np.isnan(float(metric.compute()))
    # What is unbiased at any size has a value.
    loss = metrics.SpectralLoss(K)
    loss.update(batch[0][:40], batch[1][:40])
    assert np.isfinite(float(loss.compute()))


def test_rows_that_are_no_numbers_are_left_out_and_flagged(batch):
    predicted, target = batch[0].clone(), batch[1].clone()
    predicted[3, 1], target[7, 0] = torch.nan, torch.inf
    clean = torch.ones(ROWS, dtype=torch.bool)
    clean[[3, 7]] = False
    metric, other = metrics.SpectralTotal(K), metrics.SpectralTotal(K)
    metric.update(predicted, target, group=batch[3])
    other.update(predicted[clean], target[clean], group=batch[3][clean])
    with pytest.warns(UserWarning, match="SpectralTotal left out 2 rows with NaN or infinity"):
        value = float(metric.compute())
    assert value == pytest.approx(float(other.compute()), rel=1e-12)
    assert (metric.flag, metric.n) == ("not_finite", ROWS - 2)
    lost = metrics.RankMe(K)
    lost.update(torch.full((50, K), torch.nan))
    with pytest.warns(UserWarning, match="50 rows held NaN or infinity"):
        assert np.isnan(float(lost.compute()))


def test_ranks_of_few_rows_are_none():
    for build in (metrics.RankMe, metrics.EffectiveRank):
        rank = build(32)
        rank.update(torch.randn(5, 32))
        with pytest.warns(UserWarning, match="5 rows are too few for 32 features: it takes more rows than features"):
            assert np.isnan(float(rank.compute()))
    loss = metrics.SpectralLoss(2)
    loss.update(torch.ones(1, 2), torch.ones(1, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.isnan(float(loss.compute()))
    with pytest.warns(UserWarning, match="fewer than 20 directions"):
        assert np.isnan(float(metrics.AlphaReQ(4)(torch.randn(100, 4))))


def test_no_rank_is_above_the_width():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        assert float(metrics.EffectiveRank(3)(torch.randn(40, 3, generator=generator))) <= 3


def test_rows_without_weight_are_none(batch):
    metric, other = metrics.SpectralTotal(K), metrics.SpectralTotal(K)
    weight = torch.ones(ROWS)
    weight[::2] = 0
    metric.update(batch[0], batch[1], group=batch[3], weight=weight)
    other.update(batch[0][1::2], batch[1][1::2], group=batch[3][1::2])
    assert float(metric.compute()) == pytest.approx(float(other.compute()), rel=1e-9)
    nothing = metrics.RankMe(K)
    nothing.update(batch[1], weight=torch.zeros(ROWS))
    with pytest.warns(UserWarning, match="no rows were given"):
        assert np.isnan(float(nothing.compute()))


def test_one_group_has_no_error(batch):
    metric = metrics.SpectralTotal(K)
    metric.update(batch[0], batch[1], group=torch.zeros(ROWS, dtype=torch.long))
    metric.compute()
    assert metric.flag == "one_group"
    assert np.isnan(metric.standard_error)


def test_collapse_is_seen():
    z = torch.randn(500, 16, generator=torch.Generator().manual_seed(0))
    ranks = metrics.RankMe(16), metrics.EffectiveRank(16)
    for rank in ranks:
        rank.update(z[:, :1] * torch.ones(16))
        assert float(rank.compute()) == pytest.approx(1.0, abs=1e-6)
        rank.reset()
        rank.update(torch.ones(500, 16))
        assert float(rank.compute()) <= 1.0 + 1e-6


def test_the_error_of_dependent_rows_needs_their_groups():
    generator = np.random.default_rng(0)
    # Twenty copies of each row: forty independent trajectories, not 800 rows.
    z = torch.as_tensor(np.repeat(generator.normal(size=(40, 2)), 20, axis=0))
    target = z + torch.as_tensor(np.repeat(generator.normal(size=(40, 2)), 20, axis=0))
    right, wrong = metrics.SpectralTotal(2), metrics.SpectralTotal(2)
    right.update(z, target, group=torch.arange(800) // 20)
    wrong.update(z, target)
    right.compute()
    wrong.compute()
    assert right.standard_error > 2 * wrong.standard_error


def _rank(rank, ranks, port, batch, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    collection = MetricCollection({name: build() for name, build in BUILT.items()})
    mine = batch[3] % ranks == rank
    collection.update(*(part[mine] for part in batch))
    found = {name: float(value) for name, value in collection.compute().items()}
    out.put((rank, found, {name: metric.n for name, metric in collection.items()}))
    dist.destroy_process_group()


def test_two_processes_give_what_one_gives(batch):
    context, port = multiprocessing.get_context("spawn"), free_port()
    out = context.Queue()
    workers = [context.Process(target=_rank, args=(rank, 2, port, batch, out)) for rank in range(2)]
    for worker in workers:
        worker.start()
    found = [out.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    for _, values, counted in found:
        for name, build in BUILT.items():
            alone = build()
            alone.update(*batch)
            assert values[name] == pytest.approx(float(alone.compute()), rel=1e-9), name
            assert counted[name] == ROWS


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: metrics.SpectralGap(0), "num_features, target_features and actions ≥ 1"),
        (lambda: metrics.SpectralGap(4, k=9), "expected 1 ≤ k ≤ 5"),
        (lambda: metrics.SpectralTail(4, k=4), "expected 1 ≤ k < 4"),
        (lambda: metrics.SpectralLoss(4, target_features=5), "of one width"),
        (lambda: metrics.SpectralTotal(4, negatives="other"), "same_action or pooled"),
        (lambda: metrics.SubspaceDeficit(4, singular_values=[[1.0], [1.0], [1.0]]), "finite singular values"),
        (lambda: metrics.SubspaceDeficit(2, singular_values=[0.1, 0.5, 1.0]), "decreasing"),
        (lambda: metrics.SubspaceDeficit(2, singular_values=[1.0]), "2 or more"),
        (lambda: metrics.RankMe(4, groups=1), "groups ≥ 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_wrong_rows_are_refused_and_nothing_is_added(batch):
    metric = metrics.SpectralTotal(K, actions=ACTIONS)
    for given, message in (
        ((batch[0], batch[1]), "expected the action of every row"),
        ((batch[0][:5], batch[1], batch[2][:5]), "of as many rows"),
        ((batch[0], batch[1], batch[2] + 1), "actions in 0 … 1"),
        ((batch[0][:, :2], batch[1], batch[2]), r"expected predicted \(…, 4\)"),
        ((batch[0], batch[1], batch[2][:5]), "one number a row"),
        ((batch[0], batch[1], batch[2].double()), "expected action as a tensor of integers"),
        ((batch[0], batch[1].numpy(), batch[2]), "expected target as a floating tensor"),
        ((batch[0], batch[1], batch[2], None, -batch[4]), "finite weights"),
    ):
        with pytest.raises(ValueError, match=message):
            metric.update(*given)
    metric.update(*batch[:3])
    metric.compute()
    assert metric.n == ROWS
    with pytest.raises(ValueError, match=r"embeddings \(…, 4\), got \(5, 3\)"):
        metrics.RankMe(K).update(torch.zeros(5, 3))


def test_sequences_of_embeddings_are_flattened(batch):
    flat, folded = metrics.SpectralTotal(K), metrics.SpectralTotal(K)
    flat.update(batch[0], batch[1], group=batch[3])
    shape = (60, 20)
    folded.update(*(part.reshape(*shape, K) for part in batch[:2]), group=batch[3].reshape(shape))
    assert float(folded.compute()) == float(flat.compute())


def test_plot_draws_the_value(batch):
    import matplotlib

    matplotlib.use("Agg")
    metric = metrics.RankMe(K)
    metric.update(batch[1])
    figure, axes = metric.plot()
    assert figure is not None
    assert axes is not None

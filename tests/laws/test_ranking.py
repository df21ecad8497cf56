import numpy as np
import pytest
from scipy.stats import spearmanr

from jepa_scale.laws.ranking import rank_diagnostics, spearman


def pool(generator, runs=12, each=6):
    """Checkpoints of runs: ``good`` follows success, ``run`` only what runs differ by, ``noise`` nothing."""
    cluster = np.repeat(np.arange(runs), each)
    level, step = generator.normal(size=runs)[cluster], np.tile(np.arange(each), runs) / each
    success = level + step + 0.1 * generator.normal(size=len(cluster))
    columns = {
        "good": -np.exp(success) + 0.1 * generator.normal(size=len(cluster)),
        "run": level + 0.01 * generator.normal(size=len(cluster)),
        "noise": generator.normal(size=len(cluster)),
    }
    return columns, success, cluster


def test_the_diagnostic_that_follows_success_comes_first(generator):
    columns, success, cluster = pool(generator)
    found = {one.name: one for one in rank_diagnostics(columns, success, cluster)}
    best = next(iter(found.values()))
    assert best.name == "good"
    assert best.correlation == pytest.approx(spearmanr(columns["good"], success).statistic)
    assert best.tells
    assert best.high < 0, "the sign is kept"
    assert best.gain > 0
    assert not found["noise"].tells
    assert found["noise"].gain < 0
    # What runs differ by does not pick a checkpoint of one run.
    assert abs(found["run"].within) < 0.4 < abs(best.within)
    assert sum(one.best for one in found.values()) == pytest.approx(1)
    assert (best.checkpoints, best.clusters) == (72, 12)


def test_checkpoints_of_one_run_are_not_independent(generator):
    columns, success, cluster = pool(generator, runs=4, each=30)
    together = rank_diagnostics(columns, success, cluster)
    apart = rank_diagnostics(columns, success)
    width = {}
    for name, found in (("together", together), ("apart", apart)):
        width[name] = next(one.high - one.low for one in found if one.name == "run")
    assert width["together"] > 1.5 * width["apart"]


def test_false_discoveries_are_rare_among_many_diagnostics():
    told = 0
    for seed in range(12):
        generator = np.random.default_rng(seed)
        columns = {f"d{i}": generator.normal(size=60) for i in range(10)}
        told += any(one.tells for one in rank_diagnostics(columns, generator.normal(size=60), draws=150))
    assert told <= 4, "of 12 pools in which nothing predicts anything, at 90 % for all ten together"


def test_what_cannot_be_told():
    target = np.array([1.0, 2, 3, 4, 5, np.nan])
    flat, few = rank_diagnostics({"flat": np.ones(6), "few": np.array([1.0, np.nan] * 3)}, target)
    assert {flat.name, few.name} == {"flat", "few"}
    for one in (flat, few):
        assert not one.tells or one.name == "few"
    (constant,) = (one for one in (flat, few) if one.name == "flat")
    assert np.isnan(constant.correlation)
    two = rank_diagnostics({"x": target[:5]}, target[:5], np.array([0, 0, 0, 1, 1]))[0]
    assert (two.low, two.high) == (-1.0, 1.0), "two clusters have no interval"
    with pytest.raises(ValueError, match="5 or more checkpoints with a target, got 1 and 3"):
        rank_diagnostics({"x": np.arange(3.0)}, np.arange(3.0))
    assert np.isnan(spearman(np.arange(2.0), np.arange(2.0)))

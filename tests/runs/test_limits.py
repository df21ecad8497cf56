"""Sizes that no machine can run are refused before anything is allocated, whatever machine the tests run on."""

import itertools

import pytest
import torch

from jepa_scale.models.size import ModelSize, parameters
from jepa_scale.runs import limits, run
from jepa_scale.runs.build import build_model, build_world
from jepa_scale.runs.config import compose, groups
from jepa_scale.runs.errors import UserError
from jepa_scale.worlds import memory
from jepa_scale.worlds.base import ExactWorld
from jepa_scale.worlds.deterministic_grid import DeterministicGrid
from jepa_scale.worlds.lowrank import LowRank
from jepa_scale.worlds.nuisance import Nuisance
from jepa_scale.worlds.persistence import Persistence
from jepa_scale.worlds.point_mass import PointMass
from jepa_scale.worlds.torus import Torus

GB = 10**9


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.threads=100000", r"trainer\.threads: expected at most 1024, got 100000"),
        ("trainer.devices=102400", r"trainer\.devices: expected at most 1024, got 102400"),
        ("trainer.accelerator=bogus", r"trainer: expected accelerator cpu, gpu, auto, cuda, mps, got 'bogus'"),
        ("trainer.epochs=1000000000000", r"trainer\.epochs: expected a whole number up to 2147483647"),
        ("trainer.divergence=inf", r"trainer\.divergence: expected a finite number, got inf"),
        (
            "model.k=1000000",
            r"memory: expected at most 2,199 GB, .* got .* 224,001 GB, .* \(model\.k=1000000, .*: lower",
        ),
        ("model.k=4294967296", r"model\.k: expected a whole number up to 1073741824, got 4294967296"),
        ("encoder.depth=1000000000", r"memory: .* for the model"),
        ("data.n=1e12", r"data\.n: expected an integer, got 1000000000000\.0"),
        ("data.n=1000000000000", r"memory: .* 132,000 GB for the data \(data\.n=1000000000000, .*: lower data\.n"),
        ("data.n=99999999999999999999", r"data\.n: expected a whole number up to 1099511627776"),
        ("optimizer.lr=nan", r"optimizer\.lr: expected a finite number, got nan"),
        ("seed=-1", r"seed: expected a seed from 0 to 2147483647, got -1"),
        ("seed=12345678901234567890", r"seed: expected a seed from 0 to 2147483647, got 12345678901234567890"),
        (f"seed={10**60}", r"seed: .* got one of more than 40 digits"),
        ("world.world_seed=-1", r"world\.world_seed: expected a seed from 0"),
        ("world.hidden.slip=nan", r"world\.hidden\.slip: expected a finite number, got nan"),
        ("world.hidden.side=100000", r"world, planner\.horizon: exhaustive search over 5\^1 plans × 80000000000²"),
        ("planner.horizon=30", r"world, planner\.horizon: exhaustive search over 5\^30 plans"),
    ],
)
def test_what_no_machine_can_run_is_refused_in_a_line(override, message):
    with pytest.raises(UserError, match=message) as caught:
        compose([override])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("group", ["world", "encoder", "predictor", "planner", "finetune", "objective"])
def test_what_is_shipped_is_within_the_limits(group):
    for option in groups()[group]:
        config = compose([f"{group}={option}"])
        assert limits.unfit(config) == []
        limits.check_here(config, memory=8 * GB, cores=1)


def test_the_largest_seed_and_sizes_of_a_large_cluster_are_allowed():
    compose([f"seed={2**31 - 1}", "data.n=10000000000", "model.k=10000", "trainer.threads=256"])


def test_a_machine_refuses_what_it_cannot_hold_and_a_larger_one_does_not():
    config = compose(["model.k=10000"])
    needed = limits.model_bytes(config)
    limits.check_here(config, memory=2 * needed, cores=4)
    with pytest.raises(
        UserError, match=r"memory: expected at most 1 GB, which is what this machine has, got .*model\.k"
    ):
        limits.check_here(config, memory=GB, cores=4)


def test_weights_on_a_gpu_take_a_quarter_of_the_memory_beside_it():
    on_cpu = compose(["model.k=1000"])
    on_gpu = {**on_cpu, "trainer": {**on_cpu["trainer"], "accelerator": "gpu"}}
    assert limits.model_bytes(on_cpu) == 4 * limits.model_bytes(on_gpu)


def test_threads_and_processes_are_four_a_core_at_most():
    config = compose(["trainer.threads=9"])
    limits.check_here(config, memory=100 * GB, cores=3)
    with pytest.raises(UserError, match=r"trainer\.threads: expected at most 8, 4 for each core .*, got 9"):
        limits.check_here(config, memory=100 * GB, cores=2)
    with pytest.raises(UserError, match=r"trainer\.devices: expected at most 8"):
        limits.check_here(compose(["trainer.devices=16"]), memory=100 * GB, cores=2)


def test_a_run_that_does_not_fit_into_this_machine_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "machine_memory", lambda: GB)
    with pytest.raises(UserError, match="which is what this machine has"):
        run.preflight(compose(["model.k=10000", "logger=none"]))


SIZES = (ModelSize(4, 128), ModelSize(500, 1000))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("encoder", "predictor"),
    [*itertools.product(["linear", "mlp"], groups()["predictor"]), ("cnn", "mlp"), ("cnn", "gru"), ("vit_tiny", "mlp")],
)
def test_parameters_are_estimated_from_below(encoder, predictor, size):
    world = ["world=two_rooms", "planner=cem"] if encoder in ("cnn", "vit_tiny") else []
    sizes = [f"model.k={size.k}", f"model.hidden={size.hidden}"]
    config = compose([*world, f"encoder={encoder}", f"predictor={predictor}", *sizes])
    with torch.device("meta"):
        exact = parameters(build_model(config, build_world(config), size))
    estimate = limits.parameters_of(config)
    assert 0 < estimate <= exact
    if "mlp" in (encoder, predictor) and encoder != "cnn":
        # Biases, embeddings, and all but one action of operators for each are missing.
        assert estimate > 0.5 * exact


WORLDS = [
    ["world=torus", "world.side=5"],
    ["world=deterministic_grid", "world.side=4"],
    ["world=lowrank", "world.states=30"],
    ["world=nuisance"],
    ["world=persistence"],
    ["world=two_rooms", "planner=cem"],
    ["world=point_mass", "planner=cem", "world.noise_size=3"],
    ["world=distractors", "planner=cem"],
]


@pytest.mark.parametrize("overrides", WORLDS, ids=" ".join)
def test_sizes_of_worlds_are_those_of_the_worlds(overrides):
    config = compose(overrides)
    world = build_world(config)
    shape = world.observation_shape
    numbers = int(torch.tensor(shape).prod())
    assert limits.observation_bytes(config["world"]) == numbers * (1 if len(shape) == 3 else 4)
    if isinstance(world, ExactWorld):
        assert limits.table_shape(config["world"]) == (world.actions, world.finite.states)


@pytest.mark.parametrize("option", ["tabular", "recorded", "gymnasium", "icu_sepsis"])
def test_a_world_whose_size_is_in_a_file_counts_for_the_least(option):
    leaf = compose([f"world={option}"])["world"]
    assert limits.table_shape(leaf) is None
    assert limits.observation_bytes(leaf) == 4


@pytest.mark.parametrize(
    "build",
    [
        lambda: Torus(400),
        lambda: DeterministicGrid(400),
        lambda: LowRank(states=200_000, rank=3),
        lambda: Nuisance(Torus(10), observations_per_state=2000).kernel(),
        lambda: Persistence(Torus(10), nuisance_values=2000).kernel(),
        lambda: Nuisance(Torus(3), observation_size=100_000),
        lambda: PointMass(nuisance_size=100_000),
        lambda: Torus(3).sample(10_000_000, 100, 0),
        lambda: PointMass().sample(10_000_000, 100, 0),
    ],
    ids=["torus", "grid", "lowrank", "nuisance", "persistence", "codes", "point_mass", "exact data", "simulated data"],
)
def test_worlds_refuse_what_would_not_fit_before_they_allocate_it(build, monkeypatch):
    monkeypatch.setattr(memory, "machine_memory", lambda: GB)
    with pytest.raises(
        ValueError, match=r"to fit into the memory of this machine, 1 GB, got a need of at least [\d,.e+]+ GB"
    ):
        build()


def test_tables_are_compared_with_the_memory_that_is_given():
    assert memory.table_bytes(5, 1000) == 2 * 5 * 1000**2 * 8
    memory.check_tables(5, 1000, memory=GB)
    with pytest.raises(ValueError, match=r"5 actions and 4000 states .* at least 1\.28 GB: choose a smaller world"):
        memory.check_tables(5, 4000, memory=GB)


@pytest.mark.parametrize(
    ("size", "text"),
    [(10**7, "0.01 GB"), (23 * GB, "23 GB"), (2**41, "2,199 GB"), (10**5000, "10^4990 GB")],
    ids=range(4),
)
def test_bytes_are_said_in_gb_however_many_they_are(size, text):
    assert memory.in_gb(size) == text


def planted(root, cgroup, **files):
    """A root of a file system with control groups."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("memory_", "memory.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def test_a_control_group_bounds_the_memory(tmp_path):
    here = memory.machine_memory(tmp_path / "nothing")
    bounded = planted(tmp_path / "two", "0::/job/step\n", job__memory_max="1000000\n", job__step__memory_max="max\n")
    assert memory.machine_memory(bounded) == 10**6
    older = planted(tmp_path / "one", "4:memory:/job\n0::/\n", memory__job__memory_limit_in_bytes="2000000\n")
    assert memory.machine_memory(older) == 2 * 10**6
    free = planted(tmp_path / "free", "4:memory:/\n", memory__memory_limit_in_bytes="9223372036854771712\n")
    assert memory.machine_memory(free) == here


def test_an_option_out_of_range_says_the_range():
    limits.check_option("--seed", None, 0, 5)
    limits.check_option("--seed", 5, 0, 5)
    with pytest.raises(UserError, match=r"--seed: expected a whole number from 0 to 5, got 6"):
        limits.check_option("--seed", 6, 0, 5)

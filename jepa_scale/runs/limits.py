"""Limits of a configuration's sizes, seeds and numbers, checked before anything is allocated.

Bytes are estimated from below, so that a refused run cannot fit: an unknown world or model counts for the least that
any would take.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jepa_scale.runs.errors import UserError
from jepa_scale.theory.planning import check_enumerable
from jepa_scale.worlds.memory import in_gb, machine_memory, table_bytes

CEILING = 2**41
"""Most bytes that a run may need on any machine, 2 TiB. A study is planned, and its report written, on other machines
than its runs, so a configuration is refused for one machine's memory only on the machine that is to run it."""
LARGEST = 2**31 - 1
"""Largest seed in a study's queue, and largest whole number of settings that are not in ``SIZES``."""
SIZES = {
    "data.n": 2**40,
    "data.heldout": 2**40,
    "data.test": 2**40,
    "model.k": 2**30,
    "model.hidden": 2**30,
    "trainer.divergence": 10**18,
}
"""Largest values of whole-number settings; those of n and k are the limits of a study's queue."""
SPREAD = 1024
"""Most threads, and most processes, of a run."""
THREADS_PER_CORE = 4
ACCELERATORS = ("cpu", "gpu", "auto", "cuda", "mps")
GPUS = ("gpu", "cuda")
"""Accelerators whose devices have a memory of their own and take CUDA graphs."""
_MOVES = 5
"""Number of actions in a grid world."""


def unfit(config: Mapping[str, Any]) -> list[str]:
    """One sentence for every number of a well-typed configuration that is beyond any machine."""
    problems = [problem for path, value in leaves(config) for problem in _unfit_number(path, value)]
    trainer = config["trainer"]
    for name in ("threads", "devices"):
        if trainer[name] > SPREAD:
            problems.append(f"trainer.{name}: expected at most {SPREAD}, got {trainer[name]}: lower it")
    if trainer["accelerator"] not in ACCELERATORS:
        problems.append(f"trainer: expected accelerator {', '.join(ACCELERATORS)}, got {trainer['accelerator']!r}")
    # The estimates multiply what has been found to be in range.
    return problems or _unfit_plans(config) or beyond(config, CEILING, "any run may need")


def check_here(config: Mapping[str, Any], memory: int | None = None, cores: int | None = None) -> None:
    """Refuse a run that this machine cannot do; ``memory`` in bytes and ``cores`` are this machine's unless given.

    Raises
    ------
    UserError
        If the run needs more memory than there is, or more than four threads or processes for each core.
    """
    memory, most = machine_memory() if memory is None else memory, most_threads(cores)
    problems = [] if memory is None else beyond(config, memory, "this machine has")
    trainer = config["trainer"]
    spread = ("threads", "devices") if trainer["accelerator"] == "cpu" else ("threads",)
    problems += [
        f"trainer.{name}: expected at most {most}, {THREADS_PER_CORE} for each core of this machine, got "
        f"{trainer[name]}: lower it"
        for name in spread
        if trainer[name] > most
    ]
    if problems:
        raise UserError("; ".join(problems))


def most_threads(cores: int | None = None) -> int:
    """Most useful number of threads or processes: four for each core, by default of this machine."""
    return THREADS_PER_CORE * (cores or os.cpu_count() or 1)


def beyond(config: Mapping[str, Any], memory: int, whose: str) -> list[str]:
    """Return one sentence if the parts of a run together need more than ``memory`` bytes, else an empty list."""
    needs = needed_bytes(config)
    total = sum(size for size, _ in needs.values())
    if total <= memory:
        return []
    part, (size, remedy) = max(needs.items(), key=lambda item: item[1][0])
    return [
        f"memory: expected at most {in_gb(memory)}, which is what {whose}, got a need of at least {in_gb(total)}, of "
        f"which {in_gb(size)} for {part}: {remedy}"
    ]


def needed_bytes(config: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    """Fewest bytes that each part of a run needs, and the settings that reduce them."""
    data, k = config["data"], config["model"]["k"]
    shape = table_shape(config["world"])
    sizes = ", ".join(f"data.{name}={data[name]}" for name in ("n", "heldout", "test"))
    return {
        f"the data ({sizes})": (data_bytes(config), "lower data.n, data.heldout or data.test"),
        f"the model (model.k={k}, model.hidden={hidden_of(config)})": (
            model_bytes(config),
            "lower model.k or model.hidden",
        ),
        "the tables of the world": (0 if shape is None else table_bytes(*shape), "choose a smaller world"),
        "the plans of one task": (plan_bytes(config), "lower planner.candidates or planner.horizon"),
    }


def data_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of training, held-out and test transitions, counting an action as one number."""
    data, world = config["data"], config["world"]
    rows = sum(max(data[name], 0) for name in ("n", "heldout", "test"))
    # Observations of a recording may stay in their file.
    return rows * (4 + (0 if _class_of(world) == "Recorded" else observation_bytes(world)))


def model_bytes(config: Mapping[str, Any]) -> int:
    """Bytes of the model: weights, gradient and the optimiser's two moments, all in float32.

    This counts for training on a GPU too, as the weights are drawn in the memory of its machine.
    """
    return 4 * parameters_of(config) * (4 if config["trainer"]["accelerator"] == "cpu" else 1)


def plan_bytes(config: Mapping[str, Any]) -> int:
    """Bytes that a search holds for one task: an action for each step, and a latent, of each candidate."""
    planner = config["planner"]
    candidates, horizon = planner.get("candidates", 0), planner.get("horizon", 1)
    return 4 * max(candidates, 0) * (max(horizon, 0) + config["model"]["k"])


def hidden_of(config: Mapping[str, Any]) -> int:
    """Hidden width: max(128, 2k) unless given, as in ``models.size``."""
    hidden, k = config["model"]["hidden"], config["model"]["k"]
    return int(max(128, 2 * k) if hidden is None else hidden)


def parameters_of(config: Mapping[str, Any]) -> int:
    """Lower bound of the parameters of encoder and predictor, without biases and parts that do not grow with a size."""
    k, hidden, world = config["model"]["k"], hidden_of(config), config["world"]
    seen = observation_bytes(world) // 4
    return sum(_ESTIMATES[name](leaf, seen, k, hidden) for leaf, name in _networks(config) if name in _ESTIMATES)


def _networks(config: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    for group in ("encoder", "predictor"):
        yield config[group], _class_of(config[group])


def _perceptron(inputs: int, hidden: int, outputs: int, depth: int) -> int:
    if depth < 1:
        return inputs * outputs
    return inputs * hidden + (depth - 1) * hidden**2 + hidden * outputs


_ESTIMATES: Mapping[str, Callable[[Mapping[str, Any], int, int, int], int]] = {
    "MLPEncoder": lambda leaf, seen, k, hidden: _perceptron(seen, hidden, k, leaf.get("depth", 2)),
    "CNNEncoder": lambda leaf, seen, k, hidden: hidden * k,
    "ViTEncoder": lambda leaf, seen, k, hidden: 12 * leaf.get("depth", 4) * leaf.get("units", 192) ** 2,
    "MLPPredictor": lambda leaf, seen, k, hidden: _perceptron(k, hidden, k, leaf.get("depth", 2)),
    "GRUPredictor": lambda leaf, seen, k, hidden: 3 * k * (k + hidden),
    "BilinearPredictor": lambda leaf, seen, k, hidden: k**2,
    "ResidualLinearPredictor": lambda leaf, seen, k, hidden: k**2,
    "TransformerPredictor": lambda leaf, seen, k, hidden: 12 * leaf.get("depth", 2) * leaf.get("units", 128) ** 2,
}
"""Number of weights by class, from its settings, the numbers in an observation, k and the hidden width."""


def observation_bytes(world: Mapping[str, Any]) -> int:
    """Bytes of an observation; 4, one number, if the settings do not tell."""
    name, shape = _class_of(world), table_shape(world)
    if "observation_size" in world:
        return 4 * int(world["observation_size"])
    if name == "TwoRooms":
        return 3 * int(world.get("size", 32)) ** 2
    if name == "PointMass":
        return 4 * (4 + int(world.get("nuisance_size", 0)) + int(world.get("noise_size", 0)))
    if name == "Distractors":
        inner = world.get("inner", {})
        more = 0 if _class_of(inner) == "TwoRooms" else 4 * int(world.get("size", 0))
        return observation_bytes(inner) + more
    return 4 if shape is None else 4 * shape[1]


def table_shape(world: Mapping[str, Any]) -> tuple[int, int] | None:
    """|A| and N of a finite world; None if its settings do not tell, as for a file."""
    name = _class_of(world)
    if name in ("Torus", "DeterministicGrid") and "side" in world:
        return _MOVES, int(world["side"]) ** 2
    if name == "LowRank" and {"action_count", "states"} <= set(world):
        return int(world["action_count"]), int(world["states"])
    copies = {"Nuisance": "observations_per_state", "Persistence": "nuisance_values"}.get(name, "")
    hidden = table_shape(world.get("hidden", {})) if copies in world else None
    return None if hidden is None else (hidden[0], hidden[1] * int(world[copies]))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of a configuration that is not a mapping or list, with its dotted path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item, path)
    else:
        yield path, value


def _unfit_number(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{path}: expected a finite number, got {value}"
    if not isinstance(value, int) or isinstance(value, bool):
        return
    if path.rpartition(".")[2] in ("seed", "world_seed") and not 0 <= value <= LARGEST:
        yield f"{path}: expected a seed from 0 to {LARGEST}, got {_shown(value)}"
    elif abs(value) > SIZES.get(path, LARGEST):
        yield f"{path}: expected a whole number up to {SIZES.get(path, LARGEST)}, got {_shown(value)}: lower it"


def _shown(value: int) -> str:
    # Python refuses to print whole numbers of thousands of digits.
    return str(value) if abs(value) < 10**40 else "one of more than 40 digits"


def _unfit_plans(config: Mapping[str, Any]) -> list[str]:
    """Sentences on plans that do not fit into a table: in finite worlds regret is measured against the best of all."""
    shape, horizon = table_shape(config["world"]), config["planner"].get("horizon")
    if shape is None or horizon is None or min(*shape, horizon) < 1:
        return []
    try:
        check_enumerable(*shape, horizon)
    except ValueError as error:
        return [f"world, planner.horizon: {error}"]
    return []


def _class_of(leaf: Mapping[str, Any]) -> str:
    return str(leaf.get("_target_")).rpartition(".")[2]


def check_option(name: str, value: int | None, least: int, most: int) -> None:
    """Refuse a command-line option that is out of range; None, an option that is not given, is accepted.

    Raises
    ------
    UserError
        If the value is out of range; the message states the range.
    """
    if value is not None and not least <= value <= most:
        raise UserError(f"{name}: expected a whole number from {least} to {most}, got {_shown(value)}")

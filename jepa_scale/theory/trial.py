"""One trial of the theory: a world, a model, a planning problem and a seed; writes itself to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from jepa_scale.records import GoalLaw, Negatives, Score
from jepa_scale.theory.bounds.base import BoundCase, RollOut, WorldConstants
from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.model import TabularModel, clip_spectrum
from jepa_scale.theory.planning import PlanningProblem


@dataclass(frozen=True)
class Trial:
    """Everything that a statement needs to be tried, and nothing else.

    Raises
    ------
    ValueError
        If the model is not of this world or the seed is negative.
    """

    world: FiniteWorld
    model: TabularModel
    horizon: int
    """T of the statements about more than one step; the others plan one step."""
    goal_law: GoalLaw
    score: Score
    """``inner`` or ``distance``, for statements that do not ask for the density score."""
    negatives: Negatives
    seed: int
    """Of the samples that statements about learning draw."""
    _cases: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        world, model = self.world, self.model
        if model.predictor.shape[:2] != (world.actions, world.states):
            raise ValueError(
                f"expected a model of {world.actions} actions and {world.states} observations, got a predictor (A, N, "
                f"k) = {model.predictor.shape}"
            )
        if self.seed < 0:
            raise ValueError(f"expected a seed ≥ 0, got {self.seed}")

    def constants(self, horizon: int) -> WorldConstants:
        """The world's constants at a horizon, computed once."""
        if horizon not in self._cases:
            problem = PlanningProblem(horizon, self.goal_law)
            self._cases[horizon] = WorldConstants.of(self.world, problem, self.negatives)
        return self._cases[horizon]

    def case(self, score: Score, horizon: int = 1, roll_out: RollOut = "latent", clipped: bool = False) -> BoundCase:
        """The model planning by a score, computed once; ``clipped`` to singular values of GᵀF at most 1."""
        key = (score, horizon, roll_out, clipped)
        if key not in self._cases:
            model = clip_spectrum(self.world, self.model, self.negatives) if clipped else self.model
            self._cases[key] = BoundCase(self.constants(horizon), score, model, roll_out)
        return self._cases[key]

    def once(self, name: str, compute: Callable[[Trial], Any]) -> Any:
        """What several statements share, computed once."""
        if name not in self._cases:
            self._cases[name] = compute(self)
        return self._cases[name]

    def with_parts(self, world: FiniteWorld, model: TabularModel) -> Trial:
        """The same trial on another world and model."""
        return replace(self, world=world, model=model, _cases={})

    @property
    def size(self) -> tuple[int, int, int, int]:
        """N, |A|, k and T: what a reader has to follow."""
        return self.world.states, self.world.actions, self.model.k, self.horizon


def to_json(trial: Trial, statement: str, numbers: Mapping[str, float]) -> str:
    """One JSON object; Python's shortest decimal for each float64 is read back to the same bits."""
    world, model = trial.world, trial.model
    return json.dumps(
        {
            "statement": statement,
            **numbers,
            "horizon": trial.horizon,
            "goal_law": trial.goal_law,
            "score": trial.score,
            "negatives": trial.negatives,
            "seed": trial.seed,
            "world": {
                "transition": world.transition.tolist(),
                "context_law": world.context_law.tolist(),
                "policy": world.policy.tolist(),
                "goal_groups": world.goal_groups.tolist(),
            },
            "model": {
                "encoder": model.encoder.tolist(),
                "predictor": model.predictor.tolist(),
                "maps": None if model.maps is None else model.maps.tolist(),
            },
        },
        indent=1,
    )


def from_json(path: Path) -> tuple[Trial, str]:
    """Read a trial and the name of the statement that it tries.

    Raises
    ------
    ValueError
        If the file is not one that ``to_json`` wrote, or its world is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        world, model = found["world"], found["model"]
        read = FiniteWorld(
            np.array(world["transition"], dtype=np.float64),
            np.array(world["context_law"], dtype=np.float64),
            np.array(world["policy"], dtype=np.float64),
            np.array(world["goal_groups"], dtype=np.int64),
        )
        maps = None if model["maps"] is None else np.array(model["maps"], dtype=np.float64)
        tabular = TabularModel(
            np.array(model["encoder"], dtype=np.float64), np.array(model["predictor"], dtype=np.float64), maps
        )
        problem = PlanningProblem(int(found["horizon"]), _one_of(GoalLaw, found["goal_law"]))
        score, negatives = _one_of(Score, found["score"]), _one_of(Negatives, found["negatives"])
        trial = Trial(read, tabular, problem.horizon, problem.goal_law, score, negatives, int(found["seed"]))
        return trial, str(found["statement"])
    except (KeyError, TypeError, IndexError, OverflowError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is not a counterexample that `theory` wrote ({error!r}): give one of its files"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _one_of(names: Any, found: Any) -> Any:
    if found not in get_args(names):
        raise ValueError(f"expected one of {', '.join(get_args(names))}; got {found!r}")
    return found

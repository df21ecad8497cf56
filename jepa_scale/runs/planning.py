"""Whether a planner can plan in a world, checked before anything is trained."""

from __future__ import annotations

import yaml

from jepa_scale.callbacks.tasks import trial_of
from jepa_scale.data.recorded import Recorded
from jepa_scale.planners.base import DiscretePlanner, Planner, Search
from jepa_scale.planners.none import NoPlanner
from jepa_scale.records import Evaluation
from jepa_scale.runs.errors import UserError
from jepa_scale.runs.leaves import options
from jepa_scale.runs.targets import target_of
from jepa_scale.theory.planning import check_enumerable
from jepa_scale.worlds.arena import Arena
from jepa_scale.worlds.base import ExactWorld, World
from jepa_scale.worlds.simulator import Simulator

Kinds = tuple[type, ...]


def check_planner(world: World, planner: DiscretePlanner | Planner | NoPlanner, evaluation: Evaluation) -> None:
    """Check that planner and world fit, and draw the tasks: searches control worlds with tasks, step by step.

    In a finite world a planner chooses among all plans. Nothing is planned in a world of recorded episodes alone.

    Raises
    ------
    UserError
        If they do not fit, or the world has no such tasks.
    """
    if isinstance(world, ExactWorld):
        if not isinstance(planner, DiscretePlanner):
            raise _other((DiscretePlanner,), "choose among the plans of a finite world", planner)
        try:
            # Any planner's regret is measured against the best of all plans.
            check_enumerable(world.actions, world.finite.states, planner.horizon)
        except ValueError as error:
            raise UserError(f"world, planner.horizon: {error}") from None
        return
    if isinstance(planner, NoPlanner):
        return
    arena = getattr(world, "task_world", None)
    if not isinstance(arena, Arena):
        more = ", or world.environment=ID of the one that was recorded" if isinstance(world, Recorded) else ""
        raise UserError(
            f"planner: expected planner=none, as nothing can be planned in a {type(world).__name__}{more}, got "
            f"{type(planner).__name__}"
        )
    kinds: Kinds = (DiscretePlanner, Search) if arena.action_space.discrete else (Planner,)
    if not all(isinstance(planner, kind) for kind in kinds):
        which = "finitely many" if arena.action_space.discrete else "continuous"
        raise _other(kinds, f"control worlds of {which} actions step by step", planner)
    _check_gradients(arena, planner, evaluation)
    try:
        trial_of(arena, evaluation)
    except ValueError as error:
        where = "evaluation.required_steps" if isinstance(arena, Simulator) else "world"
        raise UserError(f"{where}: {error}") from None


def _check_gradients(world: Arena, planner: DiscretePlanner | Planner, evaluation: Evaluation) -> None:
    """Refuse gradients where true dynamics give none."""
    if not getattr(planner, "needs_gradient", False) or not world.knows_dynamics:
        return
    name = type(planner).__name__
    if not isinstance(world, Simulator):
        raise UserError(
            f"world.oracle: expected false, as {name} takes gradients of costs and none pass through an environment"
        )
    if len(world.observation_shape) == 3 and evaluation.same_cost_episodes != 0:
        raise UserError(
            f"evaluation.same_cost_episodes: expected 0, as {name} takes gradients of costs and none pass through "
            f"images of bytes, which true dynamics are seen by; got {evaluation.same_cost_episodes}"
        )


def _other(kinds: Kinds, what: str, planner: object) -> UserError:
    return UserError(
        f"planner: expected planner={_planners(kinds)}, which {what}, got {type(planner).__name__}, which does not"
    )


def _planners(kinds: Kinds) -> str:
    """Options of ``planner`` that are of all these kinds, listed for a sentence."""
    leaves = options("planner")
    targets = {name: yaml.safe_load(leaf.read_text(encoding="utf-8"))["_target_"] for name, leaf in leaves.items()}
    classes = {name: target_of(target, "planner") for name, target in targets.items()}
    *others, last = [name for name, found in classes.items() if all(issubclass(found, kind) for kind in kinds)]
    return f"{', '.join(others)} or {last}" if others else last

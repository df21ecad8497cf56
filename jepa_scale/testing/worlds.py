"""Contract of worlds."""

from __future__ import annotations

import numpy as np
import torch

from jepa_scale.testing.saying import contract, require
from jepa_scale.theory.graph import next_law
from jepa_scale.theory.spectrum import singular_values
from jepa_scale.worlds.arena import Arena, Tasks
from jepa_scale.worlds.base import ExactWorld, SampledWorld
from jepa_scale.worlds.simulator import Simulator


@contract
def check_world(world: SampledWorld) -> None:
    """Check a world: shapes, seeds, prefixes and, of a finite one, its exact laws; of a simulator, its steps.

    Raises
    ------
    AssertionError
        On the first promise that is not kept.

    Examples
    --------
    >>> import jepa_scale
    >>> check_world(jepa_scale.world("torus", side=4))
    """
    space, sample = world.action_space, world.sample(3, 4, seed=1)
    wanted = (3, 5, *world.observation_shape)
    require(sample.observations.shape == wanted, world, f"observations {wanted}, got {sample.observations.shape}")
    kind = np.uint8 if len(world.observation_shape) == 3 else np.float32
    require(
        sample.observations.dtype == kind, world, f"observations of {kind.__name__}, got {sample.observations.dtype}"
    )
    acting = (3, 4) if space.discrete else (3, 4, space.size)
    require(sample.actions.shape == acting, world, f"actions {acting}, got {sample.actions.shape}")
    require(bool(np.isfinite(sample.observations).all()), world, "finite observations")
    low, high = (0, space.count - 1) if space.count is not None else (space.low, space.high)
    many = world.sample(40, 5, seed=4)
    inside = bool((many.actions >= low).all() and (many.actions <= high).all())
    require(inside, world, f"actions inside [{low}, {high}]")
    require(world.sample(4, 5, seed=2).checksum == world.sample(4, 5, seed=2).checksum, world, "one seed, one sample")
    require(world.sample(4, 5, seed=2).checksum != world.sample(4, 5, seed=3).checksum, world, "another seed, another")
    few = world.sample(2, 5, seed=4)
    prefix = np.array_equal(many.observations[:2], few.observations) and np.array_equal(many.actions[:2], few.actions)
    require(prefix, world, "fewer trajectories of a seed to be a prefix of more")
    try:
        world.sample(0, 5, seed=0)
    except ValueError:
        pass
    else:
        require(False, world, "a ValueError for no trajectories (worlds.base.check_sizes)")
    if isinstance(world, ExactWorld):
        _exact(world)
    if isinstance(world, Simulator):
        _simulator(world)
    if isinstance(world, Arena):
        _arena(world)


def _exact(world: ExactWorld) -> None:
    finite = world.finite
    rows = finite.transition.sum(-1)
    require(bool(np.allclose(rows, 1) and (finite.transition >= 0).all()), world, "P(·|x, a) ≥ 0 that sum to 1")
    stationary = np.allclose(finite.policy @ next_law(finite), finite.context_law, atol=1e-10)
    require(stationary, world, "a context law that is stationary under the policy")
    values = singular_values(finite)
    leading = bool(np.allclose(values[:, 0], 1) and (values <= 1 + 1e-10).all())
    require(leading, world, "singular values from 1 downwards")
    observed = world.observations
    wanted = (finite.states, *world.observation_shape)
    require(observed.shape == wanted, world, f"observations of all states {wanted}, got {observed.shape}")
    distinct = len(np.unique(observed.reshape(len(observed), -1).round(9), axis=0))
    require(distinct == finite.states, world, f"observations that tell {finite.states} states apart, got {distinct}")
    sample = world.sample(2000, 5, seed=5)
    drawn = finite.transition[sample.actions, sample.states[:, :-1], sample.states[:, 1:]]  # type: ignore[index]
    require(float(drawn.min()) > 0, world, "no sampled transition of probability 0")
    weights = finite.policy[:, None, None] * finite.context_law[None, :, None]
    expected = float((weights * finite.transition**2).sum())
    spread = float(np.sqrt(max((weights * finite.transition**3).sum() - expected**2, 0.0)))
    close = abs(float(drawn.mean()) - expected) <= 5 * spread / np.sqrt(2000) + 1e-12
    require(close, world, f"transitions drawn from the kernel: mean probability {expected:.4g}, got {drawn.mean():.4g}")


def _arena(world: Arena) -> None:
    levels = world.default_required_steps[:2]
    tasks, again = world.tasks(levels, 3, 0), world.tasks(levels, 3, 0)
    require(len(tasks) == 3 * len(tasks.levels), world, "as many tasks of each difficulty as asked for")
    require(torch.equal(again.goals, tasks.goals), world, "the same tasks from the same seed")
    require(bool((tasks.budgets >= 1).all()), world, "budgets of at least one step")
    normals = torch.zeros(len(tasks), world.view_numbers)
    views = world.goal_views(tasks, normals)
    wanted = (len(tasks), *world.observation_shape)
    require(tuple(views.shape) == wanted, world, f"observations of goals {wanted}, got {tuple(views.shape)}")
    some = torch.arange(min(len(tasks), world.most_at_once or len(tasks), 3))
    paths = [_path(world, tasks, some), _path(world, tasks, some)]
    same = all(torch.equal(one, other) for one, other in zip(*paths, strict=True))
    require(same, world, "the same episodes from the same tasks, actions and numbers")


def _path(world: Arena, tasks: Tasks, some: torch.Tensor) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    episodes = world.begin(tasks, some, generator)
    seen = [episodes.observe(some)]
    for _ in range(3):
        episodes.step(some, world.random_actions(len(tasks), generator)[some])
        seen.append(episodes.observe(some))
    return seen


def _simulator(world: Simulator) -> None:
    generator = torch.Generator().manual_seed(1)
    states = world.start(torch.rand(64, world.start_numbers, generator=generator))
    require(tuple(states.shape) == (64, world.state_size), world, f"start states (64, {world.state_size})")
    still = torch.zeros(64, world.step_numbers)
    space = world.action_space
    ends = [world.step(states, torch.full((64, space.size), limit), still) for limit in (space.low, space.high)]
    require(ends[0].shape == states.shape, world, f"steps to states of shape {tuple(states.shape)}")
    moved = ((ends[0] - ends[1]).abs().amax(1) > 1e-6).float().mean()
    require(float(moved) > 0.5, world, "actions that matter in more than half of the start states")
    again = world.step(states, torch.full((64, space.size), space.low), still)
    require(torch.equal(again, ends[0]), world, "the same step from the same state, action and numbers")
    tasks = world.tasks(world.default_required_steps, 2, 0)
    require(len(tasks) == 2 * len(world.default_required_steps), world, "as many tasks as asked for")
    near = world.distance(tasks.goals, tasks.goals)
    require(bool((near <= world.tolerance).all()), world, "goals within the tolerance of themselves")

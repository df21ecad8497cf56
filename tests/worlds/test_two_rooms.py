"""Two rooms: the wall, the door, and the picture of both."""

import pytest
import torch

from jepa_scale.worlds.two_rooms import TwoRooms

WORLD = TwoRooms()
LEFT, RIGHT = 0.47, 0.53
LOW, HIGH = 0.2, 0.4
"""Of the door."""
ROUNDING = 1e-6


def move(x, y, across, up, world=WORLD):
    return world.step(torch.tensor([[x, y]]), torch.tensor([[across, up]]), torch.zeros(1, 0))[0].tolist()


@pytest.mark.parametrize("world", [WORLD, TwoRooms(wall_width=0.2), TwoRooms(step_size=0.3)], ids=["", "wide", "fast"])
def test_nobody_passes_the_wall_but_through_the_door(world):
    """3000 random walks of 100 steps; a step goes up or down first, then across at its new height."""
    generator = torch.Generator().manual_seed(0)
    states = [world.start(torch.rand(3000, 2, generator=generator))]
    for _ in range(100):
        states.append(world.step(states[-1], 2 * torch.rand(3000, 2, generator=generator) - 1, torch.zeros(3000, 0)))
    here, there = torch.stack(states[:-1]), torch.stack(states[1:])
    left, right = 0.5 - world.wall_width / 2, 0.5 + world.wall_width / 2
    swept = (torch.minimum(here[..., 0], there[..., 0]) < right - ROUNDING) & (
        torch.maximum(here[..., 0], there[..., 0]) > left + ROUNDING
    )
    at_door = (there[..., 1] - world.door).abs() <= world.door_width / 2 + ROUNDING
    assert bool(at_door[swept].all())
    assert 0 <= float(there.min()) <= float(there.max()) <= 1
    crossed = (here[..., 0] < 0.5) != (there[..., 0] < 0.5)
    assert int(crossed.sum()) > 500, "the door is used"


def test_the_door_can_be_passed_both_ways():
    assert move(0.46, 0.3, 1.0, 0.0) == pytest.approx([0.54, 0.3])
    assert move(0.54, 0.3, -1.0, 0.0) == pytest.approx([0.46, 0.3])


def test_the_wall_stops():
    assert move(0.46, 0.7, 1.0, 0.0) == pytest.approx([LEFT, 0.7])
    assert move(0.54, 0.7, -1.0, 0.0) == pytest.approx([RIGHT, 0.7])
    assert move(LEFT, 0.7, 0.0, 1.0) == pytest.approx([LEFT, 0.78]), "one can slide along it"
    assert move(LEFT, 0.7, -1.0, 0.0) == pytest.approx([LEFT - 0.08, 0.7]), "and leave it"


def test_corners_of_the_door():
    slope = 0.5**0.5
    assert move(0.46, HIGH + 0.05, slope, -slope)[0] > 0.5, "down to the door, then through"
    assert move(0.46, HIGH - 0.01, slope, slope) == pytest.approx([LEFT, HIGH - 0.01 + 0.08 * slope]), "up first"
    assert move(0.5, HIGH - 0.01, 0.0, 1.0) == pytest.approx([0.5, HIGH - 0.01]), "posts stop who is between them"
    assert move(0.5, LOW + 0.01, 0.0, -1.0) == pytest.approx([0.5, LOW + 0.01])
    assert move(0.01, 0.99, -1.0, 1.0) == pytest.approx([0.0, 1.0])


def test_steps_are_no_longer_than_a_step():
    assert move(0.2, 0.5, 1.0, 1.0) == pytest.approx([0.2 + 0.08 * 0.5**0.5, 0.5 + 0.08 * 0.5**0.5])
    assert move(0.2, 0.5, 0.5, 0.0) == pytest.approx([0.24, 0.5]), "shorter ones stay as they are"


@pytest.mark.parametrize("size", [16, 32, 64])
def test_the_dot_is_where_the_state_says(size):
    """Centroid of what differs from the empty room, within half a pixel; row 0 is at height 0."""
    world = TwoRooms(size=size)
    grid = torch.tensor([0.15, 0.2, 0.26, 0.3])
    x, y = torch.meshgrid(torch.cat([grid, 1 - grid]), torch.cat([grid, 1 - grid, torch.tensor([0.5])]), indexing="ij")
    states = torch.stack([x.flatten(), y.flatten()], dim=1)
    images = world.observe(states, torch.zeros(len(states), 0)).float()
    # The floor's green, from which the dot's differs most; far from the wall it is all that changes.
    empty = world.observe(torch.tensor([[-9.0, -9.0]]), torch.zeros(1, 0)).float()
    dot = (empty - images)[..., 1]
    centres = (torch.arange(size) + 0.5) / size
    mass = dot.sum((1, 2))
    found = torch.stack([(dot.sum(1) * centres).sum(1) / mass, (dot.sum(2) * centres).sum(1) / mass], dim=1)
    assert (found - states).abs().max() < 0.5 / size


def test_pictures_do_not_depend_on_what_is_drawn_beside_them():
    states = WORLD.start(torch.rand(600, 2, generator=torch.Generator().manual_seed(0)))
    whole = WORLD.observe(states, torch.zeros(600, 0))
    assert torch.equal(whole, WORLD.observe(states, torch.zeros(600, 0)))
    assert torch.equal(whole[17:18], WORLD.observe(states[17:18], torch.zeros(1, 0)))


def test_the_shortest_way_goes_through_the_door():
    starts, goals = torch.tensor([[0.1, 0.3], [0.2, 0.9]]), torch.tensor([[0.9, 0.3], [0.2, 0.5]])
    assert WORLD.path_length(starts.numpy(), goals.numpy()) == pytest.approx([0.8, 0.4])
    with pytest.raises(ValueError, match="longest way"):
        WORLD.tasks((60,), 1, seed=0)

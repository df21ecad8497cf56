"""Worlds and models for property-based tests, with the zeros, ties and repeated rows that random draws avoid."""

import numpy as np
from hypothesis import strategies as st

from jepa_scale.theory.graph import FiniteWorld
from jepa_scale.theory.model import TabularModel

_weights = st.integers(0, 9)
_coordinates = st.one_of(st.integers(-2, 2).map(float), st.floats(-3, 3, width=64, allow_subnormal=False))


@st.composite
def worlds(draw, most_states=5, most_actions=3):
    """Rows of small whole numbers, so that equal, zero and deterministic rows are common."""
    states = draw(st.integers(1, most_states))
    actions = draw(st.integers(1, most_actions))
    kernel = np.array(
        draw(st.lists(_weights, min_size=actions * states**2, max_size=actions * states**2)), dtype=np.float64
    ).reshape(actions, states, states)
    # A row of zeros leads everywhere alike.
    kernel[kernel.sum(-1) == 0] = 1.0
    law = np.array(draw(st.lists(st.integers(1, 9), min_size=states, max_size=states)), dtype=np.float64)
    policy = np.array(draw(st.lists(st.integers(1, 9), min_size=actions, max_size=actions)), dtype=np.float64)
    return FiniteWorld(
        kernel / kernel.sum(-1, keepdims=True),
        law / law.sum(),
        policy / policy.sum(),
        np.arange(states, dtype=np.int64),
    )


@st.composite
def worlds_with_models(draw, linear=False):
    """A world, and f and g of any width 1 … N + 1 on it."""
    world = draw(worlds())
    k = draw(st.integers(1, world.states + 1))
    encoder = _array(draw, world.states, k)
    if linear:
        return world, TabularModel.linear(encoder, _array(draw, world.actions, k, k))
    return world, TabularModel(encoder, _array(draw, world.actions, world.states, k))


def _array(draw, *shape):
    size = int(np.prod(shape))
    return np.array(draw(st.lists(_coordinates, min_size=size, max_size=size)), dtype=np.float64).reshape(shape)

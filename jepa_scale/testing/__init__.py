"""Contracts of every part that can be one's own, as functions to call in one's tests.

Each takes a built part, raises ``AssertionError`` with one sentence on the first promise that is not kept, and returns
nothing. This package's own parts are held to the same.

>>> import torch
>>> from jepa_scale.testing import check_encoder
>>> check_encoder(torch.nn.Linear(6, 4), observation_shape=(6,), k=4)
>>> check_encoder(torch.nn.Linear(6, 3), observation_shape=(6,), k=4)
Traceback (most recent call last):
AssertionError: Linear: expected latents of shape (8, 4), got (8, 3)
"""

from jepa_scale.testing.data import check_reader
from jepa_scale.testing.models import check_encoder, check_objective, check_predictor
from jepa_scale.testing.planners import check_planner
from jepa_scale.testing.worlds import check_world

__all__ = ["check_encoder", "check_objective", "check_planner", "check_predictor", "check_reader", "check_world"]

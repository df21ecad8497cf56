"""How networks read actions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from jepa_scale.records import ActionSpace


class ActionCode(nn.Module):
    """One-hot code of a discrete action; a continuous one moved to [−1, 1], whatever its limits are."""

    codes: Tensor

    def __init__(self, space: ActionSpace) -> None:
        super().__init__()
        self.size = space.code_size
        self.space = space
        self.register_buffer("codes", torch.eye(space.count or 0), persistent=False)

    def forward(self, actions: Tensor) -> Tensor:
        """(…,) integer → (…, |A|), or (…, size) → (…, size)"""
        return self.codes[actions] if self.space.discrete else self.space.unit(actions)

"""A linear predictor that says by how much the action moves the latent."""

from __future__ import annotations

from torch import Tensor, nn

from jepa_scale.models.actions import ActionCode
from jepa_scale.records import ActionSpace


class ResidualLinearPredictor(nn.Module):
    """g(z, a) = z + W z + B e_a + b: the smallest model of a step, and the one of linear control.

    ``hidden`` is accepted for the sake of one constructor signature; there is no hidden layer.
    """

    def __init__(self, k: int, action_space: ActionSpace, hidden: int) -> None:
        super().__init__()
        del hidden
        self.code = ActionCode(action_space)
        self.drift = nn.Linear(k, k)
        self.control = nn.Linear(self.code.size, k, bias=False)

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…, k), (…,) integer or (…, size) → (…, k)"""
        return latents + self.drift(latents) + self.control(self.code(actions))

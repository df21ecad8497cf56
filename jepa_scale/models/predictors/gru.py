"""A gated recurrent cell whose state is the latent."""

from __future__ import annotations

from torch import Tensor, nn

from jepa_scale.models.actions import ActionCode
from jepa_scale.records import ActionSpace


class GRUPredictor(nn.Module):
    """g(z, a) = GRU(E(e_a), z): the action is the cell's input, the latent its state, so that roll-outs are one GRU.

    With tanh(z) as the new part of the state, |g| ≤ max(1, |z|): roll-outs cannot explode. ``residual`` adds z once
    more, as a step instead of a state, which can.
    """

    def __init__(self, k: int, action_space: ActionSpace, hidden: int, residual: bool = False) -> None:
        super().__init__()
        self.code = ActionCode(action_space)
        self.embed = nn.Sequential(nn.Linear(self.code.size, hidden), nn.SiLU())
        self.cell = nn.GRUCell(hidden, k)
        self.residual = residual

    def forward(self, latents: Tensor, actions: Tensor) -> Tensor:
        """(…, k), (…,) integer or (…, size) → (…, k)"""
        inputs = self.embed(self.code(actions))
        flat = self.cell(inputs.reshape(-1, inputs.shape[-1]), latents.reshape(-1, latents.shape[-1]))
        moved = flat.view_as(latents)
        return latents + moved if self.residual else moved

"""Roll-outs of a predictor on its own outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def roll_out(
    predict: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    actions: Tensor,
    step_axis: int,
    renew: Callable[[Tensor], Tensor] | None = None,
    every: int = 1,
) -> Tensor:
    """ẑ_{t+1} = g(ẑ_t, a_t) from ẑ_0 = ``start`` (…, k): → (…, H, k).

    ``actions`` has its steps on ``step_axis``, counted from the end: −1 for numbers (…, H), −2 for vectors
    (…, H, size).
    ``renew`` is applied to the latent before every ``every``-th step but the first: a model that was trained to decode,
    not to agree with its own encoder, must decode and encode again where its training windows end.
    """
    latent, reached = start, []
    for step, action in enumerate(actions.unbind(step_axis)):
        if renew is not None and step and step % every == 0:
            latent = renew(latent)
        latent = predict(latent, action)
        reached.append(latent)
    return torch.stack(reached, dim=-2)

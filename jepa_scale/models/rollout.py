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
    context: int = 1,
) -> Tensor:
    """ẑ_{t+1} = g(ẑ_t, a_t) from ẑ_0 = ``start`` (…, k): → (…, H, k).

    ``actions`` has its steps on ``step_axis``, counted from the end: −1 for numbers (…, H), −2 for vectors
    (…, H, size).
    ``renew`` is applied to the latent before every ``every``-th step but the first: a model that was trained to decode,
    not to agree with its own encoder, must decode and encode again where its training windows end.
    With ``context`` C > 1, ``predict`` is given the last c = min(t + 1, C) latents (…, c, k) with their actions, steps
    on the same axes, and answers with what follows each of them, (…, c, k), of which the last is taken.
    """
    latent = start
    reached: list[Tensor] = []
    visited: list[Tensor] = []
    for step, action in enumerate(actions.unbind(step_axis)):
        if renew is not None and step and step % every == 0:
            latent = renew(latent)
        if context == 1:
            latent = predict(latent, action)
        else:
            visited = [*visited, latent][-context:]
            taken = actions.narrow(step_axis, step + 1 - len(visited), len(visited))
            latent = predict(torch.stack(visited, dim=-2), taken)[..., -1, :]
        reached.append(latent)
    # Of a single step there is nothing to copy.
    return latent.unsqueeze(-2) if len(reached) == 1 else torch.stack(reached, dim=-2)

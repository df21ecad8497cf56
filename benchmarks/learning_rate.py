"""Does one learning rate serve every width? Regret, risk and training loss by rate, under both parametrisations."""

from __future__ import annotations

import argparse
import itertools
from typing import Any

import numpy as np
import torch

from jepa_scale.callbacks.base import tabulate
from jepa_scale.callbacks.planning import regrets_of
from jepa_scale.runs.build import build
from jepa_scale.runs.config import compose
from jepa_scale.theory.spectrum import exact_risk

BASES = {"standard": "null", "width-aware": "16"}


def train(config: dict[str, Any]) -> tuple[float, float, float]:
    """Exact regret, exact risk and the mean loss of the last 100 batches of one run, without callbacks."""
    parts = build(config)
    module, steps = parts.module, config["trainer"]["steps_per_epoch"]
    built = module.optimizer_settings.build(module.named_parameters(), steps, module.rates)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    losses = []
    for index, batch in enumerate(parts.data.train_dataloader()):
        loss = module.training_step(batch, index)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config["trainer"]["gradient_clip"])
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    module.eval()
    context = parts.context
    model = tabulate(module, context.world)
    risk = exact_risk(context.world.finite, model.encoder, model.predictor, context.negatives).mean()
    return regrets_of(context, module)["density"].value, float(risk), float(np.mean(losses[-100:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[2, 8, 32, 128])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.000875, 0.00175, 0.0035, 0.007, 0.014, 0.028])
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101])
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    common = ["logger=none", "callbacks=none", "trainer.steps_per_epoch=1000", *arguments.overrides]
    for (name, base), k in itertools.product(BASES.items(), arguments.widths):
        for rate in arguments.rates:
            runs = np.array(
                [
                    train(
                        compose(
                            [
                                f"optimizer.base_k={base}",
                                f"model.k={k}",
                                f"optimizer.lr={rate}",
                                f"seed={seed}",
                                *common,
                            ]
                        )
                    )
                    for seed in arguments.seeds
                ]
            )
            error = runs.std(0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else np.full(3, np.nan)
            shown = " ".join(f"{mean:9.4f} ± {spread:.4f}" for mean, spread in zip(runs.mean(0), error, strict=True))
            print(f"{name:12s} k = {k:4d} lr = {rate:<9g} regret, risk, training loss: {shown}", flush=True)


if __name__ == "__main__":
    main()

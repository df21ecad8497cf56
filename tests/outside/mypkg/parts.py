"""Parts as somebody has them."""

import json
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from jepa_scale.objectives.base import Objective
from jepa_scale.planners.cem import CEM
from jepa_scale.planners.exhaustive import Exhaustive
from jepa_scale.worlds.base import ExactWorld


class Encoder(nn.Module):
    """A BatchNorm encoder, which refuses a single row in training."""

    def __init__(self, observation_shape, k, width=32, depth=1):
        super().__init__()
        layers, size = [], observation_shape[0]
        for _ in range(depth):
            layers += [nn.Linear(size, width), nn.BatchNorm1d(width), nn.ReLU()]
            size = width
        self.net = nn.Sequential(*layers, nn.Linear(size, k))

    def forward(self, observations):
        return self.net(observations.flatten(0, -2)).unflatten(0, observations.shape[:-1])


def timm_like(name, *stages, **settings):
    """A factory of the kind of ``timm.create_model``: a name, stages and any keywords."""
    assert name == "tiny"
    del stages
    return Encoder((settings["in_features"],), settings["num_classes"], settings.get("width", 16))


class Predictor(nn.Module):
    def __init__(self, k, action_space):
        super().__init__()
        self.table = nn.Embedding(action_space.count, k)
        self.net = nn.Linear(2 * k, k)

    def forward(self, latents, actions):
        return self.net(torch.cat([latents, self.table(actions)], -1))


class Contrast(Objective):
    """Prediction, and a variance that keeps the latent from collapsing."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = weight

    def forward(self, view):
        error = (view.predicted - view.latents[:, 1:]).square().mean()
        return error + self.weight * (1 - view.latents.flatten(0, 1).std(0)).relu().mean()


@dataclass(frozen=True)
class Ring(ExactWorld):
    """A ring on which the two actions step left or right, and sometimes slip."""

    size: int = 12
    slip: float = 0.1

    def kernel(self):
        place = np.arange(self.size)
        found = np.zeros((2, self.size, self.size))
        for action, step in enumerate((-1, 1)):
            found[action, place, (place + step) % self.size] = 1 - self.slip
            found[action, place, place] += self.slip
        return found

    @property
    def actions(self):
        return 2


class Chooser(Exhaustive):
    """A planner of one's own, which happens to try everything."""


class Searcher(CEM):
    """A planner of continuous actions."""


class Counter(L.Callback):
    """Counts steps, and knows nothing of this project."""

    def __init__(self, path):
        self.path, self.steps, self.seen = Path(path), 0, {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps += 1

    def on_train_epoch_end(self, trainer, pl_module):
        self.seen = {name: float(value) for name, value in trainer.callback_metrics.items()}

    def on_train_end(self, trainer, pl_module):
        self.path.write_text(json.dumps({"steps": self.steps, "seen": self.seen}))


class Lines(Logger):
    """A logger that appends lines to a file."""

    def __init__(self, path):
        super().__init__()
        self.path = Path(path)

    name, version = "lines", 0

    def log_hyperparams(self, params, *args, **kwargs):
        self._write({"params": sorted(params)})

    def log_metrics(self, metrics, step=None):
        self._write({"step": step, **metrics})

    def _write(self, content):
        with self.path.open("a") as file:
            file.write(json.dumps(content) + "\n")


class Sign(torch.optim.Optimizer):
    """Steps by the sign of the gradient."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight -= group["lr"] * weight.grad.sign()
        return loss


class Wrong(nn.Module):
    """An encoder with whatever mistake is asked for."""

    def __init__(self, observation_shape, k, mistake="shape"):
        super().__init__()
        if mistake == "init":
            raise RuntimeError("no luck")
        self.net, self.mistake = nn.Linear(observation_shape[0], k), mistake

    def forward(self, observations):
        if self.mistake == "raises":
            raise KeyError("patches")
        found = self.net(observations)
        return {"shape": found[..., :-1], "tuple": (found, found), "double": found.double()}[self.mistake]

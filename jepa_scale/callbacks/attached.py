"""Callbacks for anybody's LightningModule: spectrum and ranks of its embeddings on validation batches."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torchmetrics import MetricCollection

from jepa_scale import metrics, processes
from jepa_scale.estimators.moments import GROUPS
from jepa_scale.metrics.base import MomentMetric
from jepa_scale.records import Negatives

Embed = Callable[[Any, Any], Any]
"""From the module and a batch, as validation gives it, to embeddings."""
Column = Callable[[Any], Tensor]
"""From a batch to a number for each row."""


class Attached(L.Callback, ABC):
    """Feed metrics from batches and log their values, errors and sizes when the batches are over.

    The batches are those of the first loader of the validation loop, or of a ``dataloader`` of its own, gone through at
    the end of training epochs. Values are logged by ``pl_module.log_dict``: ``EarlyStopping``, ``ModelCheckpoint``,
    every logger and ``trainer.callback_metrics`` see ``prefix/name``, ``prefix/name/standard_error``, ``prefix/n``. A
    value that cannot be told is NaN, and a warning says why.
    """

    def __init__(self, prefix: str, dataloader: Iterable[Any] | None = None, every_n_epochs: int = 1) -> None:
        if every_n_epochs < 1:
            raise ValueError(f"expected every_n_epochs ≥ 1, got {every_n_epochs}")
        self.prefix, self.dataloader, self.every_n_epochs = prefix, dataloader, every_n_epochs
        self.collection: MetricCollection | None = None
        self._widths: tuple[int, ...] = ()
        self._logged = False
        if dataloader is not None and iter(dataloader) is dataloader:
            raise ValueError("expected a dataloader that can be gone through again, got an iterator, which ends once")

    @abstractmethod
    def rows(self, module: L.LightningModule, batch: Any) -> tuple[Tensor, ...]:
        """Return the embeddings of a batch, each (…, width)."""

    @abstractmethod
    def build(self, *widths: int) -> dict[str, Any]:
        """Return the metrics of embeddings of these widths, by name."""

    def columns(self, batch: Any) -> dict[str, Tensor | None]:
        """Return further columns of a batch's rows, by the name that metrics have for them."""
        del batch
        return {}

    @torch.no_grad()
    def _take(self, module: L.LightningModule, batch: Any) -> None:
        rows = self.rows(module, batch)
        self._start(tuple(part.shape[-1] for part in rows), module)
        assert self.collection is not None
        self.collection.update(*rows, **self.columns(batch))

    def _start(self, widths: tuple[int, ...], module: L.LightningModule) -> None:
        if self.collection is None:
            self._widths = widths
            self.collection = MetricCollection(self.build(*widths)).to(module.device)

    def _log(self, module: L.LightningModule) -> None:
        if processes.world_size() > 1:
            # A rank without a batch does not know the widths, and all must take part in the sum.
            known = [widths for widths in processes.every(lambda: self._widths) if widths]
            if known:
                self._start(known[0], module)
        if self.collection is None:
            return
        values = self.collection.compute()
        found: dict[str, Tensor | float] = {}
        for name, metric in self.collection.items():
            found[f"{self.prefix}/{name}"] = values[name].float()
            if isinstance(metric, MomentMetric):
                found[f"{self.prefix}/{name}/standard_error"] = float(metric.standard_error)
                found[f"{self.prefix}/n"] = float(metric.n)
        with warnings.catch_warnings():
            # The values are of all ranks already, and a trainer may have no logger.
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*|.*have no logger configured.*")
            module.log_dict(found)
        self._logged = True
        self.collection.reset()

    def _due(self, trainer: L.Trainer) -> bool:
        if trainer.sanity_checking:
            return False
        # `trainer.validate` is asked for once.
        return trainer.state.fn != TrainerFn.FITTING or (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn where there is nothing to look at."""
        if self.dataloader is None and not trainer.enable_validation:
            warnings.warn(
                f"{type(self).__name__} will log nothing: it runs on validation batches, and there is no validation "
                "loop. Give the trainer val_dataloaders and the module a validation_step, or give the callback a "
                "dataloader of its own",
                stacklevel=2,
            )

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the batches of the first validation loader."""
        if self.dataloader is None and dataloader_idx == 0 and self._due(trainer):
            self._take(pl_module, batch)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log; outside training, as in ``trainer.validate``, after the batches of a loader of its own."""
        if self.dataloader is None and self._due(trainer):
            self._log(pl_module)
        elif self.dataloader is not None and trainer.state.fn == TrainerFn.VALIDATING:
            self._go_through(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go through the callback's own loader and log."""
        if self.dataloader is not None and self._due(trainer):
            self._go_through(trainer, pl_module)

    def _go_through(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self.dataloader is not None
        was_training = pl_module.training
        pl_module.eval()
        for number, batch in enumerate(self.dataloader):
            if number % processes.world_size() == processes.rank():
                self._take(pl_module, trainer.strategy.batch_to_device(batch))
        pl_module.train(was_training)
        self._log(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn if nothing was ever logged."""
        if not self._logged:
            warnings.warn(
                f"{type(self).__name__} has logged nothing: no batch reached it in {trainer.current_epoch} epochs",
                stacklevel=2,
            )


class OperatorSpectrum(Attached):
    """Log the spectrum, risk and ranks of (x, a) → x⁺ as a model embeds it.

    Logged are ``gap``, ``total``, ``lidar_wm``, the ranks ``rankme_sv_uncentred`` and ``erank_eig_centred`` of the
    observed side and, if both sides have one width, ``loss`` and ``calibration_deficit``; see ``jepa_scale.metrics``.

    Parameters
    ----------
    embed
        ``embed(module, batch) -> (predicted, target)``, both (…, width): predicted and observed next embeddings.
    action, group, weight
        From a batch to one number a row: the discrete action, for ``actions`` > 1; the trajectory, without which rows
        are taken for independent and errors come out too small; a weight.
    k
        Rank of the gap s_k − s_{k+1}, the constant counted; by default the width.
    actions, negatives, groups
        See ``jepa_scale.metrics.SpectralGap``.
    dataloader
        Batches of its own, in place of the validation loop's.
    prefix, every_n_epochs
        First part of the names, and how often to log.

    Raises
    ------
    ValueError
        If a setting makes no sense, or ``embed`` does not give two tensors.

    Examples
    --------
    >>> import lightning as L, torch
    >>> from jepa_scale.callbacks import OperatorSpectrum
    >>> class Mine(L.LightningModule):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.encoder, self.predictor = torch.nn.Linear(6, 4), torch.nn.Linear(4, 4)
    ...     def training_step(self, batch, index):
    ...         return (self.predictor(self.encoder(batch[0])) - self.encoder(batch[1]).detach()).square().mean()
    ...     def validation_step(self, batch, index):
    ...         pass
    ...     def configure_optimizers(self):
    ...         return torch.optim.Adam(self.parameters(), 1e-3)
    >>> x = torch.randn(512, 6, generator=torch.Generator().manual_seed(0))
    >>> loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x + 0.1), batch_size=64)
    >>> spectrum = OperatorSpectrum(embed=lambda m, b: (m.predictor(m.encoder(b[0])), m.encoder(b[1])))
    >>> trainer = L.Trainer(max_epochs=1, callbacks=[spectrum], accelerator="cpu", logger=False,
    ...     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    >>> _ = torch.manual_seed(0)
    >>> trainer.fit(Mine(), loader, loader)
    >>> 3 < float(trainer.callback_metrics["spectrum/total"]) <= 4  # of four features, nearly all is known
    True
    """

    def __init__(
        self,
        embed: Embed,
        action: Column | None = None,
        group: Column | None = None,
        weight: Column | None = None,
        *,
        k: int | None = None,
        actions: int = 1,
        negatives: Negatives = "same_action",
        groups: int = GROUPS,
        dataloader: Iterable[Any] | None = None,
        prefix: str = "spectrum",
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(prefix, dataloader, every_n_epochs)
        if (actions > 1) != (action is not None):
            raise ValueError(
                "expected both action=, from a batch to its actions, and actions=, how many there are, for an operator "
                f"of each; or neither, for one of all; got {actions=} and {'an' if action else 'no'} action="
            )
        self.embed, self.sources = embed, {"action": action, "group": group, "weight": weight}
        self.settings: dict[str, Any]
        self.k, self.settings = k, {"actions": actions, "negatives": negatives, "groups": groups}

    def rows(self, module: L.LightningModule, batch: Any) -> tuple[Tensor, ...]:
        """Return what ``embed`` gives, predicted and observed."""
        pair = self.embed(module, batch)
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(one, Tensor) for one in pair)):
            raise ValueError(
                f"{type(self).__name__}: expected embed(module, batch) to return (predicted, target), two tensors, got "
                f"{type(pair).__name__}"
            )
        return pair[0], pair[1]

    def build(self, *widths: int) -> dict[str, Any]:
        """Return the metrics of the operator, and the ranks of the observed side."""
        p, q = widths
        settings = self.settings | {"target_features": q}
        k = min(p, q) if self.k is None else self.k
        found: dict[str, Any] = {
            "gap": metrics.SpectralGap(p, k=k, **settings),
            "total": metrics.SpectralTotal(p, **settings),
            "lidar_wm": metrics.LiDAR(p, **settings),
            "rankme_sv_uncentred": metrics.RankMe(q, self.settings["groups"]),
            "erank_eig_centred": metrics.EffectiveRank(q, self.settings["groups"]),
        }
        if p == q:
            found |= {
                "loss": metrics.SpectralLoss(p, **settings),
                "calibration_deficit": metrics.CalibrationDeficit(p, **settings),
            }
        return found

    def columns(self, batch: Any) -> dict[str, Tensor | None]:
        """Return actions, groups and weights."""
        return {name: None if column is None else column(batch) for name, column in self.sources.items()}


class EmbeddingRank(Attached):
    """Log effective ranks of embeddings: ``rankme_sv_uncentred``, ``erank_eig_centred``, from width 20 ``alpha_req``.

    Parameters
    ----------
    embed
        ``embed(module, batch) -> z``, (…, width).
    group
        From a batch to the trajectory or image that each row is of.
    groups, dataloader, prefix, every_n_epochs
        As of ``OperatorSpectrum``.

    Examples
    --------
    >>> from jepa_scale.callbacks import EmbeddingRank
    >>> callback = EmbeddingRank(embed=lambda module, batch: module.encoder(batch[0]), every_n_epochs=5)
    """

    def __init__(
        self,
        embed: Embed,
        group: Column | None = None,
        *,
        groups: int = GROUPS,
        dataloader: Iterable[Any] | None = None,
        prefix: str = "embedding",
        every_n_epochs: int = 1,
    ) -> None:
        super().__init__(prefix, dataloader, every_n_epochs)
        self.embed, self.group, self.groups = embed, group, groups

    def rows(self, module: L.LightningModule, batch: Any) -> tuple[Tensor, ...]:
        """Return what ``embed`` gives."""
        embeddings = self.embed(module, batch)
        if not isinstance(embeddings, Tensor):
            raise ValueError(
                f"EmbeddingRank: expected embed(module, batch) to return a tensor, got {type(embeddings).__name__}"
            )
        return (embeddings,)

    def build(self, *widths: int) -> dict[str, Any]:
        """Return the ranks."""
        (width,) = widths
        found: dict[str, Any] = {
            "rankme_sv_uncentred": metrics.RankMe(width, self.groups),
            "erank_eig_centred": metrics.EffectiveRank(width, self.groups),
        }
        return found | ({"alpha_req": metrics.AlphaReQ(width, self.groups)} if width >= 20 else {})

    def columns(self, batch: Any) -> dict[str, Tensor | None]:
        """Return the groups."""
        return {"group": None if self.group is None else self.group(batch)}

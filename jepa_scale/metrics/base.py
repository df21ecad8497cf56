"""Base of the metrics: grouped second moments as torchmetrics states."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from jepa_scale.estimators.jackknife import Jackknifed
from jepa_scale.estimators.moments import GROUPS, GroupedMoments, MomentAccumulator


class _Shared(MomentAccumulator):
    """An accumulator that adds to a metric's float64 sums, about zero, in place.

    Sums about zero add up over processes as they are. In float64 a mean of a thousand deviations costs six of the
    sixteen digits.
    """

    def __init__(self, sums: dict[str, Tensor]) -> None:
        cells, groups, rows, columns = sums["zy"].shape
        # Its own sums are given up at once: without memory, and without a device to move from.
        with torch.device("meta"):
            super().__init__(rows - 1, columns - 1, cells, groups, torch.float64)
        self._sums = sums
        self._shift = sums["zy"].new_zeros(rows - 1), sums["zy"].new_zeros(columns - 1)


class MomentMetric(Metric):
    """A statistic of the second moments of predicted and observed embeddings, with a jackknife error.

    States are float64 sums over rows, by action and group: they add up over batches and ranks
    (``dist_reduce_fx="sum"``), are shared by the metrics of a ``MetricCollection`` (``compute_groups``) and stay in
    float64 under ``.half()`` and ``.to(torch.bfloat16)``. They take ``actions * groups * (num_features + 1)²`` numbers,
    three times: fewer ``groups`` need less memory, and give a less certain error.

    Parameters
    ----------
    num_features
        Width of the predicted embeddings.
    target_features
        Width of the observed embeddings; by default the same.
    actions
        Number of actions of a discrete action space whose operators are looked at one by one; 1: one operator for all.
    groups
        Groups of rows of the jackknife, at least 2.
    kwargs
        Keywords of ``torchmetrics.Metric``.

    Attributes
    ----------
    standard_error, n, flag
        Of the value that ``compute`` gave last: its jackknife standard error, the number of rows behind it, and why it
        is doubtful or missing: ``no_rows``, ``not_finite``, ``n_too_small``, ``rank_deficient``, ``degenerate``,
        ``below_edge``, separated by commas. A missing value is NaN.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    is_differentiable = False
    full_state_update = False
    least = "25 for each direction that varies, with every action"
    """Rows that a value takes, in words."""
    bounded = False
    """Whether no value is above the width."""
    any_size = False
    """Whether the statistic is unbiased, or of the sample itself, however few rows there are."""

    zz: Tensor
    yy: Tensor
    zy: Tensor
    matched_square: Tensor
    weight_square: Tensor
    rows: Tensor
    lost: Tensor

    def __init__(
        self,
        num_features: int,
        target_features: int | None = None,
        actions: int = 1,
        groups: int = GROUPS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        target_features = num_features if target_features is None else target_features
        if min(num_features, target_features, actions) < 1 or groups < 2:
            raise ValueError(
                "expected num_features, target_features and actions ≥ 1 and groups ≥ 2, got "
                f"{num_features=}, {target_features=}, {actions=}, {groups=}"
            )
        self.num_features, self.target_features = num_features, target_features
        self.actions, self.groups = actions, groups
        p, q = num_features + 1, target_features + 1
        sizes: dict[str, tuple[int, ...]] = {"zz": (p, p), "yy": (q, q), "zy": (p, q)}
        sizes |= {"matched_square": (), "weight_square": (), "rows": ()}
        for name, size in sizes.items():
            self.add_state(name, torch.zeros(actions, groups, *size, dtype=torch.float64), dist_reduce_fx="sum")
        # Rows that were no numbers: they are left out, and the value is flagged.
        self.add_state("lost", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.standard_error, self.n, self.flag = float("nan"), 0, "no_rows"
        self._told: set[str] = set()

    def update(
        self,
        predicted: Tensor,
        target: Tensor,
        action: Tensor | None = None,
        group: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> None:
        """Add rows.

        Parameters
        ----------
        predicted, target
            (…, num_features) predicted and (…, target_features) observed next embeddings.
        action
            (…,) integer in 0 … actions − 1.
        group
            (…,) integer ≥ 0: the trajectory, episode or image that a row is of. Rows of one group are not independent
            and are left out together in the jackknife. None: every row is independent of the others.
        weight
            (…,) floating ≥ 0.

        Raises
        ------
        ValueError
            If shapes disagree or an action or group is out of range.
        """
        for name, part in (("predicted", predicted), ("target", target)):
            if not isinstance(part, Tensor) or not part.is_floating_point() or part.ndim < 2:
                shown = f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
                raise ValueError(f"expected {name} as a floating tensor (…, width), got {shown}")
        for name, column in (("action", action), ("group", group), ("weight", weight)):
            if column is None:
                continue
            if not isinstance(column, Tensor) or (column.is_floating_point() and name != "weight"):
                shown = str(column.dtype) if isinstance(column, Tensor) else type(column).__name__
                raise ValueError(f"expected {name} as a tensor of integers, got {shown}")
            if column.shape != predicted.shape[:-1]:
                wanted, got = tuple(predicted.shape[:-1]), tuple(column.shape)
                raise ValueError(f"expected {name} of shape {wanted}, one number a row, got {got}")
        sides = tuple(predicted.shape[:-1]), tuple(target.shape[:-1])
        widths = predicted.shape[-1], target.shape[-1]
        if sides[0] != sides[1] or widths != (self.num_features, self.target_features):
            raise ValueError(
                f"expected predicted (…, {self.num_features}) and target (…, {self.target_features}) of as many rows, "
                f"got {tuple(predicted.shape)} and {tuple(target.shape)}"
            )
        if self.actions == 1 and action is not None and bool((action != 0).any()):
            raise ValueError("expected actions=, how many there are, at construction: the metric looks at one operator")
        if weight is not None and not bool((weight >= 0).all() & weight.isfinite().all()):
            raise ValueError("expected finite weights ≥ 0")
        device = self.rows.device
        h = predicted.detach().reshape(-1, predicted.shape[-1]).to(device)
        f = target.detach().reshape(-1, target.shape[-1]).to(device)
        columns = [None if part is None else part.detach().reshape(-1).to(device) for part in (action, group, weight)]
        if self.actions > 1 and action is None:
            raise ValueError(f"expected the action of every row, as the metric has actions={self.actions}, got none")
        finite = torch.isfinite(h).all(-1) & torch.isfinite(f).all(-1)
        # A row without weight is none.
        given = torch.ones_like(finite) if columns[2] is None else columns[2] > 0
        self.lost += (given & ~finite).sum()
        used = given & finite
        if not bool(used.all()):
            h, f = h[used], f[used]
            columns = [None if part is None else part[used] for part in columns]
        self._accumulator().update(h, f, *columns)
        if self.num_features != self.target_features:
            # NaN, as there is no inner product; a collection compares states, and NaN is not equal to NaN.
            self.matched_square.zero_()

    def _accumulator(self) -> MomentAccumulator:
        names = ("zz", "yy", "zy", "matched_square", "weight_square", "rows")
        return _Shared({name: getattr(self, name) for name in names})

    def moments(self) -> GroupedMoments:
        """Return the moments of all rows so far, those of this process only outside ``compute``."""
        return self._accumulator().compute()

    def statistic(self, moments: GroupedMoments) -> tuple[Jackknifed | None, list[str]]:
        """Return the statistic, or None where there is none, and flags; to be implemented."""
        raise NotImplementedError(f"{type(self).__name__} must say what it computes")

    def compute(self) -> Tensor:
        """Return the value, and set ``standard_error``, ``n`` and ``flag``; NaN where there is none."""
        self.n = int(self.rows.sum())
        flags = ["not_finite"] * bool(self.lost > 0)
        value, self.standard_error = float("nan"), float("nan")
        if self.n == 0:
            flags.append("no_rows")
        elif bool((self.rows.sum(1) == 0).any()):
            flags.append("missing_action")
        else:
            found, more = self.statistic(self.moments())
            flags += more
            if found is not None and (self.any_size or "n_too_small" not in more):
                value, self.standard_error = float(found.value), float(found.standard_error)
                if self.bounded:
                    # Corrected for bias it may come out above the width.
                    value = min(value, float(self.target_features))
                if not math.isfinite(value):
                    value, self.standard_error = float("nan"), float("nan")
                    flags.append("n_too_small")
                elif not math.isfinite(self.standard_error):
                    flags.append("one_group")
        self.flag = ",".join(dict.fromkeys(flags))
        self._warn(value)
        device = self.rows.device
        return torch.tensor(value, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)

    def _warn(self, value: float) -> None:
        """Say once why there is no value, or that rows were left out."""
        if self.lost > 0 and value == value and "lost" not in self._told:
            self._told.add("lost")
            warnings.warn(
                f"{type(self).__name__} left out {int(self.lost)} rows with NaN or infinity, {self.n} are left",
                stacklevel=3,
            )
        if value == value or self.flag in self._told:
            return
        self._told.add(self.flag)
        reasons = {
            "no_rows": "no rows were given",
            "missing_action": f"some of the {self.actions} actions have no rows",
            "not_finite": f"{int(self.lost)} rows held NaN or infinity",
            "n_too_small": (
                f"{self.n} rows are too few for {max(self.num_features, self.target_features)} features: it takes "
                f"{self.least}"
            ),
        }
        why = "; ".join(reasons.get(flag, flag.replace("_", " ")) for flag in self.flag.split(",") if flag)
        warnings.warn(f"{type(self).__name__} has no value: {why}", stacklevel=3)

    def reset(self) -> None:
        """Forget all rows."""
        super().reset()
        self.standard_error, self.n, self.flag = float("nan"), 0, "no_rows"

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot one value or several, as torchmetrics does: returns the figure and the axes."""
        return self._plot(val, ax)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        """Move sums to another device, but never to another precision: a bfloat16 sum is worth nothing."""

        def kept(tensor: Tensor) -> Tensor:
            if tensor.dtype != torch.float64:
                return fn(tensor)
            place = fn(tensor.new_zeros(1)).device
            return tensor if place.type == "mps" else tensor.to(place)

        return super()._apply(kept, exclude_state)

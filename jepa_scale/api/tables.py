"""Runs in a table, for notebooks: laws, forecasts and advice from whatever holds the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jepa_scale.api.results import AdviceResult, FitResult, ForecastResult, frame
from jepa_scale.records import Ask, RunTable
from jepa_scale.runs.errors import UserError
from jepa_scale.studies.tables.table import Table

_STATES = {"COMPLETE": "finished", "FAIL": "failed", "RUNNING": "running", "WAITING": "running", "PRUNED": "failed"}


@dataclass(frozen=True)
class Runs:
    """Runs of a scaling study that somebody has done: one row a run, with its sizes and what it reached.

    Made by one of ``from_csv``, ``from_parquet``, ``from_dataframe``, ``from_optuna``, ``from_wandb`` and
    ``from_study``. ``columns`` name what the table calls n, k, regret, or any name in a law: a column, or an expression
    of columns (``regret="1 - 0.01*success_rate"``).

    Examples
    --------
    >>> import jepa_scale
    >>> cells = [(n, k) for n in (300, 1000, 3000, 10000) for k in (2, 4, 8) for _ in range(2)]
    >>> runs = jepa_scale.Runs.from_dataframe({
    ...     "samples": [n for n, k in cells], "k": [k for n, k in cells],
    ...     "regret": [round(0.3 / k + 6 / n**0.7 + 0.001 * i, 4) for i, (n, k) in enumerate(cells)],
    ... }, n="samples")
    >>> runs
    Runs(24 runs, 12 cells of n = 300 … 10000 and k = 2 … 8, from a data frame)
    >>> fit = runs.fit("regret = E + A k^-a + B n^-b", draws=50)
    >>> forecast = runs.forecast(n=30_000, k=8)
    >>> forecast.low <= forecast.predicted <= forecast.high
    array([ True])
    >>> runs.advise(target_regret=0.1, n=10_000, k=8).verdict
    'sufficient'
    """

    table: Table = field(repr=False)
    columns: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    remarks: tuple[str, ...] = ()
    study: Path | None = None
    """Folder of the study, whose file the advice may extend."""

    @classmethod
    def from_dataframe(cls, frame: Any, **columns: str) -> Runs:
        """Take a pandas, polars or pyarrow table, or a mapping of columns.

        Raises
        ------
        ValueError
            If it is none of these, or its columns differ in length.
        """
        cells = _columns_of(frame)
        lengths = {len(values) for values in cells.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise UserError(f"expected columns of one length ≥ 1, got {sorted(lengths) or 'no column'}")
        return cls(_table("a data frame", cells), columns, "a data frame")

    @classmethod
    def from_csv(cls, *paths: str | Path, **columns: str) -> Runs:
        """Read one table or several, of any format and encoding that ``jepa-scale fit`` reads.

        Raises
        ------
        ValueError
            If one cannot be read; the message says what to do.
        """
        from jepa_scale.studies.tables.reading import read_tables

        table = read_tables([Path(path) for path in paths])
        return cls(table, columns, table.source)

    from_parquet = from_csv

    @classmethod
    def from_optuna(cls, study: Any, value: str = "regret", **columns: str) -> Runs:
        """Take the trials of an Optuna study; ``value`` names what its objective returned, such as ``success``.

        Parameters and user attributes are columns, failed and pruned trials are left out. A ``success`` is turned into
        a regret, 1 − success, unless ``regret`` is given.

        Raises
        ------
        ValueError
            If there is no trial, or the study has several objectives.
        """
        if len(study.directions) != 1:
            raise UserError(
                f"expected a study of one objective, got {len(study.directions)}: take its trials_dataframe()"
            )
        trials = study.get_trials(deepcopy=False)
        if not trials:
            raise UserError(f"the Optuna study {study.study_name} has no trials")
        names = list(dict.fromkeys(name for trial in trials for name in (*trial.params, *trial.user_attrs)))
        cells: dict[str, list[Any]] = {
            name: [trial.params.get(name, trial.user_attrs.get(name)) for trial in trials] for name in names
        }
        rises = study.directions[0].name == "MAXIMIZE"
        if rises and value == "regret" and "regret" not in columns:
            raise UserError(
                f"the Optuna study {study.study_name} is maximised, so its objective is no regret: say what it is, "
                'as in value="success", or value="score" with regret="1 - 0.01*score"'
            )
        cells["status"] = [_STATES[trial.state.name] for trial in trials]
        cells[value] = [trial.value if trial.state.name == "COMPLETE" else None for trial in trials]
        if value == "success":
            columns = {"regret": "1 - success", **columns}
        return cls(
            _table(f"the Optuna study {study.study_name}", cells), columns, f"the Optuna study {study.study_name}"
        )

    @classmethod
    def from_wandb(cls, source: str | Path, **columns: str) -> Runs:
        """Read runs of W&B: ``wandb://entity/project?group=first``, or a folder of offline runs.

        ``columns`` are keys of their configuration or summary (``n="data.num_samples"``); none for runs that this
        package logged.

        Raises
        ------
        ValueError
            If they cannot be read, or a key is in none of them.
        """
        from jepa_scale.integrations.wandb.files import read_runs
        from jepa_scale.integrations.wandb.importing import import_runs, is_ours
        from jepa_scale.integrations.wandb.server import SCHEME, parse_address, read_server

        told: list[str] = []
        if str(source).startswith(SCHEME):
            address = parse_address(str(source))
            runs = read_server(address, needs_history=lambda run: not columns and is_ours(run))
        else:
            runs = read_runs(Path(source), unreadable=lambda problem: told.append(f"left out: {problem}"))
        table, remarks = import_runs(str(source), runs, columns)
        return replace(_of_run_table(table, str(source)), remarks=(*told, *remarks))

    @classmethod
    def from_study(cls, folder: str | Path) -> Runs:
        """Read the runs of a study's folder.

        Raises
        ------
        ValueError
            If it is no study's folder, or holds no finished run.
        """
        from jepa_scale.studies.advising import study_runs

        return replace(_of_run_table(study_runs(Path(folder))[1], str(folder)), study=Path(folder))

    @cached_property
    def _rows(self) -> tuple[RunTable, tuple[str, ...]]:
        from jepa_scale.studies.advising import table_of

        return table_of(self.table, self.columns)[:2]

    def to_pandas(self) -> Any:
        """Return the table as a pandas data frame.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return frame(self.table.columns)

    def fit(self, *laws: str, loss: str = "huber", draws: int = 1000, seed: int = 0, **settings: Any) -> FitResult:
        """Fit one law or several: names of ``conf/law``, or formulas of the table's columns.

        Further settings are fields of ``jepa_scale.studies.fitting.FitSettings``: ``cluster``, ``scale``, ``level``, …

        Raises
        ------
        ValueError
            If a law or column is wrong; the message says what to do.
        """
        from jepa_scale.studies.fitting import FitSettings, fit_file

        chosen = FitSettings(laws or ("chinchilla",), self.columns, loss, draws=draws, seed=seed, **settings)
        return FitResult(fit_file(self.table, chosen))

    def forecast(
        self, n: float | Sequence[float], k: float | Sequence[float], forecaster: str = "stack", level: float = 0.9
    ) -> ForecastResult:
        """Forecast the regret of one more run at each point, with its interval.

        Raises
        ------
        ValueError
            If the table has no n, k and regret, or ``n`` and ``k`` differ in length.
        """
        from jepa_scale.laws.outlook import Outlook
        from jepa_scale.runs.instantiate import build_forecaster

        sizes, widths = np.broadcast_arrays(np.atleast_1d(np.asarray(n, float)), np.atleast_1d(np.asarray(k, float)))
        if not ((sizes >= 1).all() and (widths >= 1).all() and 0.5 < level < 1):
            raise UserError(f"expected n and k ≥ 1 and a level inside (0.5, 1), got {n=}, {k=}, {level=}")
        outlook = Outlook.of(build_forecaster(forecaster), self._rows[0])
        return ForecastResult.of(outlook, sizes, widths, level)

    def advise(
        self,
        target_regret: float = 0.02,
        n: int | None = None,
        k: int | None = None,
        level: float = 0.9,
        budget: float | None = None,
        forecaster: str = "stack",
    ) -> AdviceResult:
        """Say whether (n, k) suffices for a target regret, and what to run next, as ``jepa-scale advise`` does.

        Raises
        ------
        ValueError
            If no answer is possible; the message says what to run.
        """
        from jepa_scale.studies.advising import advise_study, advise_table

        ask = Ask(target_regret, level, n, k, budget)
        if self.study is not None:
            return AdviceResult(advise_study(self.study, ask, forecaster))
        return AdviceResult(advise_table(self.table, ask, forecaster, self.columns))

    def plot(self, axes: Any = None) -> Any:
        """Plot the regret over n, one line for each k, on matplotlib axes, which are returned."""
        from jepa_scale.api.results import new_axes
        from jepa_scale.laws.cells import cells_from_table

        axes, cells = new_axes(axes), cells_from_table(self._rows[0], "regret", np.inf)
        for width in np.unique(cells.k):
            here = cells.k == width
            error = cells.sd[here] / np.sqrt(cells.seeds[here])
            axes.errorbar(cells.n[here], cells.mean[here], np.nan_to_num(error), marker="o", label=f"k = {width:g}")
        axes.set_xscale("log")
        axes.set_xlabel("n")
        axes.set_ylabel("regret")
        axes.legend()
        return axes

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        try:
            table, _ = self._rows
        except ValueError:
            return f"Runs({len(self)} rows of {', '.join(self.table.columns)}, from {self.name})"
        done = table.where(table["status"] == "finished")
        n, k = done["n"], done["k"]
        cells = len(set(zip(n.tolist(), k.tolist(), strict=True)))
        return (
            f"Runs({len(done)} runs, {cells} cells of n = {n.min()} … {n.max()} and k = {k.min()} … {k.max()}, from "
            f"{self.name})"
        )


def _table(source: str, cells: Mapping[str, Sequence[Any]]) -> Table:
    rows = len(next(iter(cells.values())))
    return Table(source, cells, [f"row {row + 1}" for row in range(rows)], [0] * rows)


def _of_run_table(table: RunTable, source: str) -> Runs:
    cells = {name: table[name].tolist() for name in table.columns}
    return Runs(_table(source, cells), {}, source)


def _columns_of(frame: Any) -> dict[str, list[Any]]:
    if isinstance(frame, Mapping):
        return {str(name): _listed(values) for name, values in frame.items()}
    if hasattr(frame, "to_pydict"):
        return dict(frame.to_pydict())
    if hasattr(frame, "columns") and hasattr(frame, "__getitem__"):
        return {str(name): _listed(frame[name]) for name in frame.columns}
    raise UserError(f"expected a pandas, polars or pyarrow table, or a mapping of columns, got {type(frame).__name__}")


def _listed(values: Any) -> list[Any]:
    cells = values.tolist() if hasattr(values, "tolist") else list(values) if isinstance(values, Iterable) else None
    if cells is None:
        raise UserError(f"expected columns of cells, got {type(values).__name__}")
    # NaN of pandas is an empty cell.
    return [None if isinstance(cell, float) and cell != cell else cell for cell in cells]

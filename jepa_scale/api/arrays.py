"""Audits of embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepa_scale.auditing.record import Audit

_ARRAYS = ("z", "z_next", "z_pred", "action", "trajectory", "weight")


def audit(path: str | Path | None = None, **settings: Any) -> Audit:
    """Audit embeddings, on disk or as arrays: spectrum, total, tail, deficits, ranks and a width, with intervals.

    Parameters
    ----------
    path
        ``.npz``, a folder of ``.npy``, ``.h5`` or ``.parquet`` with ``z`` and, as far as known, ``z_next``, ``z_pred``,
        ``action``, ``trajectory`` and ``weight``; the layouts are those of ``jepa-scale audit --help``.
    settings
        Fields of ``jepa_scale.auditing.settings.AuditSettings``; without a path the arrays themselves, under the names
        above.

    Returns
    -------
    The record that ``jepa-scale audit`` prints and writes.

    Raises
    ------
    ValueError
        If the file or a setting makes no sense; the message says what to do.

    Examples
    --------
    >>> import jepa_scale, numpy as np
    >>> z = np.random.default_rng(0).normal(size=(1000, 4))
    >>> record = jepa_scale.audit(z=z, z_next=z, dictionary=0)  # nothing changes: four directions are known
    >>> round(record.total.value, 2), record.rows
    (5.0, 1000)
    """
    import tempfile
    from dataclasses import replace

    import numpy as np

    from jepa_scale.auditing.audit import run_audit
    from jepa_scale.auditing.settings import AuditSettings

    arrays = {name: settings.pop(name) for name in _ARRAYS if name in settings}
    if (path is None) == (not arrays):
        raise ValueError(f"expected a path, or arrays by name ({', '.join(_ARRAYS)}), and not both")
    if path is not None:
        return run_audit(Path(path), AuditSettings(**settings))
    with tempfile.TemporaryDirectory() as folder:
        # The layouts, checks and passes over the data are those of files.
        file = Path(folder) / "arrays.npz"
        np.savez(file, **{name: _array(values) for name, values in arrays.items() if values is not None})
        return replace(run_audit(file, AuditSettings(**settings)), source="arrays")


def _array(values: Any) -> Any:
    """An array, of a tensor too."""
    import numpy as np

    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)

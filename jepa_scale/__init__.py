"""Scaling studies of JEPA world models, checked against worlds whose truth is computable."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from pathlib import Path

    from jepa_scale.auditing.record import Audit

__version__ = "0.1.0"


def audit(path: str | Path, **settings: typing.Any) -> Audit:
    """Audit embeddings on disk: spectrum, total, tail, deficits, effective ranks and a width, with intervals.

    Parameters
    ----------
    path
        ``.npz``, a folder of ``.npy``, ``.h5`` or ``.parquet`` with ``z`` and, as far as known, ``z_next``, ``z_pred``,
        ``action``, ``trajectory`` and ``weight``; the layouts are those of ``jepa-scale audit --help``.
    settings
        Fields of ``jepa_scale.auditing.settings.AuditSettings``.

    Returns
    -------
    The record that ``jepa-scale audit`` prints and writes.

    Raises
    ------
    ValueError
        If the file or a setting makes no sense; the message says what to do.

    Examples
    --------
    >>> record = jepa_scale.audit("embeddings.npz", widths=(8, 32))  # doctest: +SKIP
    >>> record.total.value, record.total.low, record.total.high  # doctest: +SKIP
    """
    from pathlib import Path

    from jepa_scale.auditing.audit import run_audit
    from jepa_scale.auditing.settings import AuditSettings

    return run_audit(Path(path), AuditSettings(**settings))

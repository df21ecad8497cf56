"""Figure of the residuals of laws fitted to a table, by the size of the run."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from jepa_scale.laws.table import FittedLaw, TableStudy
from jepa_scale.report.page.style import INK, MUTED, styled
from jepa_scale.report.wording import law_name, number

NAME = "residuals"
TITLE = "Residuals"


def _drawn(study: TableStudy) -> list[FittedLaw]:
    return [fitted for fitted in study.laws if len(fitted.fitted)]


def missing(study: TableStudy) -> str:
    """Say why there is nothing to draw; empty if there is something."""
    return "" if _drawn(study) else "no law converged"


def caption(study: TableStudy) -> str:
    """Say what is shown."""
    kind = "ln of predicted over observed" if study.relative else "predicted less observed"
    what = f"{kind} {study.target}"
    spread = ", ".join(f"{law_name(fitted.fit.law)} {number(_spread(fitted), 2)}" for fitted in _drawn(study))
    return (
        f"{what[0].upper()}{what[1:]} of every run, against {study.scale_name}. A law that bends the wrong way "
        f"shows as a trend. Dashed: robust sd of the residuals ({spread}). No run was left out of the picture."
    )


def _spread(fitted: FittedLaw) -> float:
    return max(fitted.fit.noise)


@styled
def draw(study: TableStudy) -> Figure:
    """Draw one panel for each law."""
    drawn = _drawn(study)
    figure = Figure(figsize=(5.4 * len(drawn) if len(drawn) < 3 else 11, 3.2))
    for axes, fitted in zip(figure.subplots(1, len(drawn), squeeze=False, sharey=True)[0], drawn, strict=True):
        seen = study.columns[study.target]
        residual = np.log(fitted.fitted) - np.log(seen) if study.relative else fitted.fitted - seen
        axes.axhline(0, color=INK, linewidth=0.9)
        for sign in (-1, 1):
            axes.axhline(sign * _spread(fitted), color=MUTED, linewidth=0.9, linestyle="--")
        axes.plot(study.scale, residual, "o", markersize=3, alpha=0.6, color="#2f7ab8", markeredgewidth=0)
        axes.set_xscale("log")
        axes.set_xlabel(study.scale_name)
        axes.set_ylabel("ln predicted − ln observed" if study.relative else "predicted − observed")
        axes.set_title(fitted.fit.formula, fontsize=8.5)
    return figure

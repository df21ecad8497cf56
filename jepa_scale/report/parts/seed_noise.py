"""Seed noise: the scatter of runs of one cell, by which differences between cells are judged."""

from __future__ import annotations

import math

from jepa_scale.laws.distributions import chi_square_quantile
from jepa_scale.records import StudyResult
from jepa_scale.report.page.markup import paragraph, table
from jepa_scale.report.summary import Cell, cells, rows_by_n
from jepa_scale.report.wording import interval, number, percent, place, plural, whole

_LEVEL = 0.9


def pooled(row: list[Cell]) -> tuple[float, float, float, int] | None:
    """Return the pooled sd of one run over seeds, the ends of its χ² interval and the degrees of freedom.

    √(Σ(m − 1)s² / Σ(m − 1)) over cells of m seeds; the interval holds for normal scatter of one size.
    """
    replicated = [(cell.seeds, cell.standard_error) for cell in row if cell.standard_error is not None]
    freedom = sum(seeds - 1 for seeds, _ in replicated)
    if not freedom:
        return None
    # s² = m SE²
    total = sum((seeds - 1) * seeds * error**2 for seeds, error in replicated)
    low, high = (math.sqrt(total / chi_square_quantile(q, freedom)) for q in ((1 + _LEVEL) / 2, (1 - _LEVEL) / 2))
    return math.sqrt(total / freedom), low, high, freedom


def seed_noise(result: StudyResult) -> str:
    """Return the scatter of a run's regret over seeds, by n, and the cell that scatters most."""
    regrets = cells(result.table, "regret")
    every = pooled(list(regrets.values()))
    if every is None:
        return paragraph("No cell has two seeds with a regret: how far seeds scatter is not known.")
    replicated = [cell for cell in regrets.values() if cell.standard_error is not None]
    worst = max(replicated, key=lambda cell: cell.standard_error * math.sqrt(cell.seeds))  # type: ignore[operator]
    spread = worst.standard_error * math.sqrt(worst.seeds)  # type: ignore[operator]
    rows = []
    for n, row in rows_by_n(regrets).items():
        noise = pooled(row)
        if noise is not None:
            rows.append((whole(n), number(noise[0], 2), interval(noise[1], noise[2]), str(noise[3]), str(len(row))))
    sentence = (
        f"One run's regret scatters over seeds by sd {number(every[0], 2)} {interval(every[1], every[2])} "
        f"({percent(_LEVEL)} χ², {plural(every[3], 'degree')} of freedom), pooled over {plural(len(regrets), 'cell')}; "
        f"most at {place(worst)}: sd {number(spread, 2)} over {worst.seeds} seeds."
    )
    head = ("n", "sd of one run", f"{percent(_LEVEL)} interval", "degrees of freedom", "cells")
    caption = "Regret: sd over seeds, pooled over the widths of each n."
    return paragraph(sentence, "") + table(head, rows, caption, tuple(range(5)))

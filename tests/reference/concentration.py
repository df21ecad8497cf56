"""Confidence bounds the slow way: loops written from the papers, on a grid of means."""

import math


def capital_path(unit, mean, delta, truncation, horizon):
    """K_t(m) for values in [0, 1]; bets for a fixed horizon."""
    total, squares, capital, path = 0.5, 0.25, 1.0, []
    for place, value in enumerate(unit, start=1):
        variance = squares / place
        bet = math.sqrt(2 * math.log(1 / delta) / (variance * horizon))
        if mean < 1:
            bet = min(bet, truncation / (1 - mean))
        capital *= 1 - bet * (value - mean)
        path.append(capital)
        total += value
        squares += (value - total / (place + 1)) ** 2
    return path


def betting_upper(unit, delta, truncation, steps=2000):
    """Least mean on the grid that is refuted at some time."""
    for step in range(steps + 1):
        if max(capital_path(unit, step / steps, delta, truncation, len(unit))) >= 1 / delta:
            return step / steps
    return 1.0

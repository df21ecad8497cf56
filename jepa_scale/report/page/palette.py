"""Colours with enough contrast to their background, in the light and in the dark theme."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_hex, to_rgb

TEXT_CONTRAST, GRAPHIC_CONTRAST = 4.5, 3.0
"""Contrast that WCAG 2.2 AA requires of small text, and of graphics needed to read a figure."""

LIGHT_CARD, DARK_CARD = "#ffffff", "#1c2229"
"""Background of figures in the light and in the dark theme."""

_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
"""Linear sRGB to cone responses, and these to OKLab (Ottosson 2020): lightness there is as even as it looks."""
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def _linear(color: str) -> np.ndarray:
    channels = np.array(to_rgb(color))
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    """Return the relative luminance of WCAG, 0 for black and 1 for white."""
    return float(_linear(color) @ (0.2126, 0.7152, 0.0722))


def contrast(first: str, second: str) -> float:
    """Return (L₁ + 0.05)/(L₂ + 0.05), from 1 to 21."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def ink_on(ground: str, dark: str = "#000000") -> str:
    """Return dark or white ink, whichever is easier to read."""
    return max((dark, "#ffffff"), key=lambda ink: contrast(ink, ground))


def in_the_dark(color: str) -> str:
    """Return a colour of the same hue for a dark page, with the contrast to the dark card that the input has to white.

    Lightness is turned round, so the order of a sequence is kept; beyond 5 the contrast is compressed to what there is.
    """
    if to_hex(color) == LIGHT_CARD:
        return DARK_CARD
    given = contrast(color, LIGHT_CARD)
    wanted = given if given <= 5 else 5 + (given - 5) * 9 / 16
    # The card is not grey, and what was grey on white is of its hue there.
    hue = sum((_LAB @ np.cbrt(_LMS @ _linear(tone)))[1:] for tone in (color, DARK_CARD))
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        candidate = _from_lab(middle, hue)
        brighter = luminance(candidate) > luminance(DARK_CARD)
        low, high = (low, middle) if brighter and contrast(candidate, DARK_CARD) > wanted else (middle, high)
    return _from_lab(high, hue)


def _from_lab(lightness: float, hue: np.ndarray) -> str:
    # Very light and very dark colours have less room for a hue: what would leave the gamut is paled.
    for share in np.linspace(1, 0, 21):
        linear = np.linalg.solve(_LMS, np.linalg.solve(_LAB, [lightness, *(share * hue)]) ** 3)
        if linear.min() >= -1e-4 and linear.max() <= 1 + 1e-4:
            break
    linear = np.clip(linear, 0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).tolist()
    return str(to_hex((red, green, blue)))


def spread(count: int, palette: str) -> list[str]:
    """Return colours of a perceptually even palette, from dark to the lightest that is distinct from white."""
    chosen = matplotlib.colormaps[palette]
    ends = np.linspace(1, 0, 201)
    top = next(float(end) for end in ends if contrast(to_hex(chosen(end)), LIGHT_CARD) >= GRAPHIC_CONTRAST)
    return [to_hex(chosen(0.02 + (top - 0.02) * place / max(count - 1, 1))) for place in range(count)]


def shade(share: float) -> tuple[str, str]:
    """Return the background of a table's cell, darker for a larger share of 1, and a readable ink for it."""
    # The root spreads small values, among which the best width is decided.
    ground = to_hex(matplotlib.colormaps["Blues"](0.05 + 0.8 * math.sqrt(min(max(share, 0.0), 1.0))))
    return ground, ink_on(ground)


def distinct(names: Sequence[str]) -> dict[str, str]:
    """Return a colour for each name, from Okabe and Ito's palette for all kinds of colour vision."""
    # Darkened where the original cannot be told from white: #E69F00, #56B4E9, #F0E442 and #009E73.
    eight = ("#0072b2", "#d55e00", "#00805d", "#a3578a", "#1f2933", "#9a6a00", "#2b87bd", "#857a00")
    return {name: eight[place % len(eight)] for place, name in enumerate(names)}

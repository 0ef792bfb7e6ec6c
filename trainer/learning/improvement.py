"""Relative improvement of one forecaster over another, and its bootstrap interval.

Consecutive windows overlap and their errors are autocorrelated, so whole blocks of windows are
drawn, never single ones, separately for each asset. The improvement is of sums: 1 - sum(challenger)
/ sum(champion).

Reference: H. R. Künsch, The Jackknife and the Bootstrap for General Stationary Observations,
Annals of Statistics 17 (1989); circular blocks after Politis and Romano (1992).
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]

#: Added to errors before they are compared, so that an error of zero can be divided by.
_TINY: Final = 1e-9


def improvement(challenger: float, champion: float) -> float:
    """Relative improvement of a mean error, or of a sum of errors, over the champion's.

    >>> round(improvement(0.9, 1.0), 6)
    0.1
    """
    return 1.0 - (challenger + _TINY) / (champion + _TINY)


def interval(challenger: Float64, champion: Float64, confidence: float) -> tuple[float, float]:
    """Both one-sided ends of the improvement.

    Args:
        challenger: Drawn sums of errors, float64 of shape (draws,).
        champion: The champion's in the same draws.
        confidence: Of each end.
    """
    improvements = 1.0 - (challenger + _TINY) / (champion + _TINY)
    low, high = np.quantile(improvements, [1 - confidence, confidence])
    return float(low), float(high)


def draw(
    challenger: Floats, champion: Floats, resamples: int, block: int, rng: np.random.Generator
) -> tuple[Float64, Float64]:
    """Draw circular blocks of an asset's windows.

    Args:
        challenger: Errors of its windows in their order, shape (n,).
        champion: The champion's on the same windows.
        resamples: Number of draws.
        block: Windows in a block.
        rng: Where chance comes from.

    Returns:
        Sums of both errors per draw, float64 of shape (resamples,) each.
    """
    pair = np.stack([challenger, champion]).astype(np.float64)
    count = pair.shape[1]
    length = min(block, count)
    # Sums over every block that could be drawn; a draw is then a sum of such sums.
    wrapped = np.concatenate([pair, pair[:, : length - 1]], axis=1)
    running = np.concatenate([np.zeros((2, 1)), np.cumsum(wrapped, axis=1)], axis=1)
    blocks = running[:, length:] - running[:, :-length]
    drawn = rng.integers(count, size=(resamples, max(1, round(count / length))))
    # The number of blocks is rounded; the scale keeps assets in proportion to their windows.
    scale = count / (drawn.shape[1] * length)
    return blocks[0][drawn].sum(axis=1) * scale, blocks[1][drawn].sum(axis=1) * scale


def draw_by_asset(
    challenger: Floats,
    champion: Floats,
    asset: npt.NDArray[np.str_],
    resamples: int,
    block: int,
    seed: int,
) -> dict[str, tuple[Float64, Float64]]:
    """Draw blocks of every asset's windows, see `draw`; ``asset`` names each window's."""
    rng = np.random.default_rng(seed)
    return {
        str(name): draw(challenger[asset == name], champion[asset == name], resamples, block, rng)
        for name in np.unique(asset)
    }


def together(drawn: Iterable[tuple[Float64, Float64]]) -> tuple[Float64, Float64]:
    """Sums of both errors over all assets, per draw."""
    challenger, champion = zip(*drawn, strict=True)
    return np.sum(challenger, axis=0), np.sum(champion, axis=0)

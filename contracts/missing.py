"""The rule for missing readings, shared by all services.

A sensor that misses more than `ABSENT_ABOVE` of a window's samples is *absent* from it:
masked, normalised to 0 with presence 0, and excluded from errors and detectors. Smaller gaps are
closed by carrying the last reading forward (a leading gap takes the first reading). A window in
which no target sensor is present is of no use to a model, and is refused; an asset that lacks
some sensors permanently is served like any other.

>>> import numpy as np
>>> x = np.array([[1.0, np.nan], [np.nan, np.nan], [3.0, np.nan], [4.0, 8.0]], "f4")
>>> filled, present = fill_missing(x)
>>> filled.tolist(), present.tolist()
([[1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [4.0, 0.0]], [True, False])
"""

from typing import Final

import numpy as np
import numpy.typing as npt

ABSENT_ABOVE: Final = 0.30

Bools = npt.NDArray[np.bool_]


def fill_missing(
    values: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float32], Bools]:
    """Close small gaps and mask absent sensors.

    Args:
        values: float32 of shape (..., samples, sensors), NaN where missing: one window, or a
            batch of them. A window is treated the same alone and in a batch, bit for bit.

    Returns:
        The readings without NaN (absent sensors 0), same shape, and which sensors are
        present, bool of shape (..., sensors).
    """
    missing = np.isnan(values)
    present = missing.mean(axis=-2) <= ABSENT_ABOVE
    if not missing.any():
        return values, present
    rows = np.arange(values.shape[-2])[:, None]
    last_seen = np.maximum.accumulate(np.where(missing, -1, rows), axis=-2)
    first_seen = np.argmin(missing, axis=-2)[..., None, :]
    source = np.where(last_seen < 0, first_seen, last_seen)
    filled = np.take_along_axis(values, source, axis=-2)
    return np.where(present[..., None, :], filled, np.float32(0.0)), present

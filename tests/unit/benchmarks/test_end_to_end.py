"""Which rates count as sustained, and where the ramp ends."""

import numpy as np
import numpy.typing as npt

from benchmarks.arrivals import COLUMNS, Arrivals
from benchmarks.end_to_end import ramp, sustained
from benchmarks.steady_edge import Sent

SECOND = 1000.0


def step(rate: float, began_ms: float, *, whole: bool = True) -> Sent:
    """Eight seconds at a rate."""
    return Sent(rate, round(rate * 8), began_ms, began_ms + 8 * SECOND, whole)


def predicted(sent: Sent, waits: npt.NDArray[np.float64] | float) -> Arrivals:
    """Predictions of all of a step's windows, which waited so long."""
    made = np.zeros((sent.windows, len(COLUMNS)))
    moments = sent.began_ms + np.arange(sent.windows) * SECOND / sent.rate
    made[:, COLUMNS.index("sent")] = moments
    made[:, COLUMNS.index("arrived")] = moments + waits
    return made


def test_a_rate_whose_windows_wait_no_longer_at_its_end_is_sustained() -> None:
    """Whatever the wait is."""
    calm = step(100, 0.0)
    assert sustained(calm, predicted(calm, 60.0))


def test_a_rate_whose_lag_grows_is_not() -> None:
    """Its last windows wait longer than its second quarter did."""
    busy = step(100, 0.0)
    assert not sustained(busy, predicted(busy, np.linspace(50, 900, busy.windows)))


def test_a_rate_that_was_not_sent_to_its_end_or_not_all_predicted_is_not() -> None:
    """Even if what was predicted did not wait."""
    short = step(100, 0.0, whole=False)
    assert not sustained(short, predicted(short, 60.0))
    lossy = step(100, 0.0)
    assert not sustained(lossy, predicted(lossy, 60.0)[:-5])


def test_the_ramp_ends_with_the_first_rate_that_is_not_sustained() -> None:
    """What came after it is not shown, even if it looks well."""
    steps = [step(100, 0.0), step(200, 10 * SECOND), step(300, 20 * SECOND)]
    waits = (60.0, 5000.0, 60.0)
    arrivals = np.concatenate([predicted(s, w) for s, w in zip(steps, waits, strict=True)])
    assert ramp(steps, arrivals) == steps[:2]
    assert ramp(steps[:1], arrivals) == steps[:1]

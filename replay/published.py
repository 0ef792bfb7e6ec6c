"""Published predictions of a partition, in the order of their windows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import PLATFORM, header
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.contracts.wire.codec import EventReader
from millrace.infra.archive.objects import Record

_read: Final = EventReader[Prediction](Prediction)


class Published(NamedTuple):
    """A published prediction.

    Attributes:
        prediction: Its content.
        platform: Where it was made; empty if the record does not say.
    """

    prediction: Prediction
    platform: str = ""


class PublishedStream:
    """Reads on with the windows; records that are no predictions are passed over."""

    def __init__(self, records: Iterator[Record]) -> None:
        """Read nothing yet; ``records`` are those of `predictions`."""
        self._records = records
        self._ahead: dict[int, Published] = {}
        self._through = -1

    def through(self, position: int) -> dict[int, Published]:
        """Read on to the prediction of a window.

        Returns:
            By position, the predictions of windows up to it that were not returned before.
        """
        while self._through <= position and (record := next(self._records, None)) is not None:
            prediction = _read.valid(record.value)
            if prediction is not None and prediction.source.topic == SENSOR_WINDOWS.name:
                at = prediction.source.offset
                self._through = max(self._through, at)
                self._ahead[at] = Published(prediction, header(record.headers, PLATFORM) or "")
        found = {at: each for at, each in self._ahead.items() if at <= position}
        self._ahead = {at: each for at, each in self._ahead.items() if at > position}
        return found

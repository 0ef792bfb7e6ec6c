"""The thread that fetches: records as they were parsed, committed ones only, promptly.

aiokafka's consumer runs in a thread of its own, with Faust's driver around it; what there is
no setting for is set here.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import aiokafka
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.legacy_records import LegacyRecordBatch
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from stream_processors.batch_header import COUNTED, LENGTH, checksum

#: Longest wait of a fetch for data. A partition whose records were still unread when a fetch
#: was sent is not in it, and has to wait for its end; Faust fixes 1.5 s.
FETCH_WAIT_MS: Final = 50
#: How long a fetch waits for unread records of other partitions to be taken. Those of a
#: table's changelog never are, after recovery, so each checkpoint costs this; aiokafka's
#: default is 0.1.
UNREAD_SECONDS: Final = 0.01


class CheckedRecords(fetcher.MemoryRecords):  # type: ignore[misc]  # untyped
    """Record batches as they were fetched; compares each one's checksum when it is taken out.

    aiokafka's own check takes ten times as long, see `checksum`.
    """

    def __init__(self, data: bytes | None) -> None:
        """Take what was fetched of a partition; None where there was nothing."""
        super().__init__(data or b"")
        self._data = memoryview(data or b"")
        self._begin = 0

    def next_batch(self) -> Any:
        """Take out the next batch.

        Raises:
            CorruptRecordException: It is not as it was written.
        """
        batch = super().next_batch()
        if batch is None:
            return None
        begin = self._begin
        (length,) = struct.unpack_from(">i", self._data, begin + LENGTH)
        self._begin += COUNTED + length
        whole = self._data[begin : self._begin]
        is_legacy = isinstance(batch, LegacyRecordBatch)  # the format before record batches
        if not (batch.validate_crc() if is_legacy else checksum(whole) == batch.crc):
            raise CorruptRecordException(
                f"the record batch at byte {begin} of what was fetched is not as it was written"
            )
        return batch


class ParsedRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # untyped
    """Hands out records as they were parsed.

    aiokafka makes another object of each, with the topic, the partition and three sizes in it, and
    asks for each by a call of its own: a quarter of what reading a record costs.
    """

    def __init__(self, tp: Any, records: Any, *rest: Any) -> None:
        """Take what was fetched of a partition, and check it here if nobody else does."""
        super().__init__(tp, records, *rest)
        if isinstance(records, CheckedRecords):
            self._check_crcs = False

    def __iter__(self) -> Any:
        return self._records_iterator

    def _consumer_record(self, tp: Any, record: Any) -> Any:  # noqa: ARG002  (aiokafka's)
        return record


class FetchThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only (predictions are written in transactions), and promptly."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        made = super()._create_worker_consumer(transport)
        fetcher.PartitionRecords = ParsedRecords  # there is no setting for it
        fetcher.MemoryRecords = CheckedRecords
        made._isolation_level = "read_committed"
        made._fetch_max_wait_ms = FETCH_WAIT_MS
        return made

    def place_of(self, tp: TP) -> tuple[int | None, int | None, float]:
        """Look up what is known of a partition; from any thread.

        Returns:
            Offset of the next record; the end as the last fetch told it; when that was.
        """
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        state = None if assignment is None else assignment.state_value(tp)
        if state is None:
            return None, None, 0.0
        told = (state.timestamp or 0) / 1000  # before the end, after which aiokafka writes it
        return state._position, state.highwater, told

    async def on_start(self) -> None:
        """Start, and let no partition's unread records hold up the others for long."""
        await super().on_start()
        self._ensure_consumer()._fetcher._prefetch_backoff = UNREAD_SECONDS

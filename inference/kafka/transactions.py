"""Records and offsets go in; the broker has all of them, or none, once they are committed.

```
produce, commit ──► (returns)   all of it is there, for good
                ├─► Undone      nothing of it is there, nor ever will be: read again, do again
                ├─► Unsure      this writer is finished; with another one in its place, the output
                │               itself tells which of the two it was
                └─► (never)     a call to the client that does not end whatever its time-out (seen
                                with librdkafka 2.16): as if it were unsure
```

Handing records over is work for the interpreter, and gives way to other threads with each
record; committing is only waiting. So the two are calls of their own: the first belongs on the
thread that has made the records, the second beside it (`inference.kafka.commit_pipeline`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException, Producer, TopicPartition

from millrace.contracts.topics import MAX_DEAD_LETTER_BYTES, PREDICTIONS
from millrace.inference.batch.records import Record
from millrace.inference.metrics import ABORTED, COMMIT
from millrace.infra.kafka.clients import TRANSACTION_RETRY_MS, TRANSACTION_TIMEOUT_MS, producer
from millrace.infra.kafka.errors import error_of, is_forbidden
from millrace.infra.kafka.retry import DeadlineExceeded, RetryPolicy
from millrace.infra.process.fault_points import reached
from millrace.infra.settings import Settings

_log = structlog.get_logger(__name__)

#: How long the client may ask the broker before we look whether to stop, seconds.
STEP_SECONDS: Final = 3.0
#: How long a commit may take, seconds. One that is only slow is done again then, to no effect.
COMMIT_SECONDS: Final = 12.0
#: How long a producer is given to abort, or to begin, before another one takes its place, seconds.
ANEW_SECONDS: Final = 5.0
#: The next one that is to begin gets twice as long, and so on up to this: the broker may be slow.
LONGEST_SECONDS: Final = 60.0
#: How long records may wait for others to be sent with, milliseconds. A commit sends at once
#: what still waits, and until then the offsets are on their way. With 0 a micro-batch is many
#: small requests: measured, about a third more work for the client's thread.
LINGER_MS: Final = 5
#: zstd's: compression shares two cores with the network, and the default, 3, takes longer.
COMPRESSION_LEVEL: Final = 1


class Undone(Exception):  # noqa: N818  (an outcome)
    """The transaction was aborted: nothing of it is there."""


class Unsure(Exception):  # noqa: N818  (an outcome)
    """The producer has failed for good; whether it has committed, the output tells."""


class TransactionalWriter:
    """Writes micro-batches, one after the other; used by one thread at a time, but for `close`."""

    def __init__(self, settings: Settings, transactional_id: str, patience: RetryPolicy) -> None:
        """Connect, fencing an earlier life under the same id; waits for the broker."""
        self._settings = settings
        self._id = settings.named(transactional_id)
        self._patience = patience
        self._topics: dict[str, str] = {}
        self._producer = self._connect()

    def produce(self, records: Iterable[Record]) -> None:
        """Begin a transaction, and hand records to the client, which sends them meanwhile.

        Args:
            records: What to write, in order.

        Raises:
            Undone, Unsure, Stopped, KafkaException: See `commit`.
        """
        try:
            self._producer.begin_transaction()
            self._hand_over(records)
        except KafkaException as error:
            self._abort(error)

    def commit(self, offsets: list[TopicPartition], group: Any) -> None:
        """Commit what was produced together with the offsets of what it answers.

        Args:
            offsets: The next offset of each partition that was read.
            group: The reader's place in the group, as its client describes it; if it has
                lost that meanwhile, the broker refuses the offsets.

        Raises:
            Undone: Nothing has been written.
            Unsure: It may have been written.
            Stopped: The process was told to stop while the broker was away; what is open then
                is aborted by the broker, or by this writer's next life.
            KafkaException: Broken machinery: there is no use in going on.
        """
        begun = time.monotonic()
        try:
            self._patience.call(
                lambda: self._producer.send_offsets_to_transaction(offsets, group, STEP_SECONDS),
                "offsets to go into the transaction",
                COMMIT_SECONDS,
            )
            reached("inference.before-commit")
            self._patience.call(
                lambda: self._producer.commit_transaction(STEP_SECONDS),
                "the commit",
                COMMIT_SECONDS,
            )
        except DeadlineExceeded as why:
            raise Unsure(str(why)) from why
        except KafkaException as error:
            self._abort(error)
        COMMIT.observe(time.monotonic() - begun)

    def close(self) -> None:
        """Send no more: another writer is to take its place."""
        self._producer.purge()

    def _connect(self) -> Producer:
        def begin(made: Producer) -> None:
            # The client looks for the coordinator when it is asked to begin, and if it is not
            # connected yet, not again before half a second has passed.
            made.list_topics(self._settings.named(PREDICTIONS.name), timeout=STEP_SECONDS)
            made.init_transactions(STEP_SECONDS)

        seconds = ANEW_SECONDS
        while True:
            made = self._made()
            try:
                self._patience.call(partial(begin, made), "the transaction coordinator", seconds)
            except DeadlineExceeded as why:
                _log.warning("tries with another producer", why=str(why))
                seconds = min(2 * seconds, LONGEST_SECONDS)
            else:
                return made

    def _made(self) -> Producer:
        return producer(
            self._settings,
            {
                "transactional.id": self._id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                # Each record was made to fit into its own topic (`results`, `reading`): one that
                # the client refuses would be refused again, for ever.
                "message.max.bytes": MAX_DEAD_LETTER_BYTES,
                "linger.ms": LINGER_MS,
                "compression.level": COMPRESSION_LEVEL,
                "retry.backoff.ms": TRANSACTION_RETRY_MS,
            },
        )

    def _hand_over(self, records: Iterable[Record]) -> None:
        produce: Any = self._producer.produce
        named = self._topics
        for topic, key, value, headers, partition in records:
            if topic not in named:
                named[topic] = self._settings.named(topic)
            while True:
                try:
                    produce(named[topic], value, key, partition, headers=headers)
                except BufferError:  # the client holds enough: let it send
                    self._producer.poll(STEP_SECONDS)
                else:
                    break

    def _abort(self, cause: KafkaException) -> None:
        """Abort, whatever went wrong.

        Raises:
            Undone, Unsure, Stopped, KafkaException: See `commit`.
        """
        error = error_of(cause)
        if is_forbidden(error):
            raise cause
        if error.fatal():
            raise Unsure(str(cause)) from cause
        try:
            self._patience.call(
                lambda: self._producer.abort_transaction(STEP_SECONDS),
                "the abort",
                ANEW_SECONDS,
            )
        except (DeadlineExceeded, KafkaException) as failure:
            raise Unsure(f"{cause}; then {failure}") from cause
        ABORTED.inc()
        _log.warning("micro-batch aborted", why=str(cause))
        raise Undone(str(cause)) from cause

"""Opens a spool, on disk or in memory, and the forwarder that delivers windows through it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from confluent_kafka import Producer

from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.infra.kafka.clients import producer
from millrace.infra.settings import Settings
from millrace.producers.delivery.forwarder import PRODUCER, Forwarder
from millrace.producers.delivery.handshake import BrokerHandshake, connect
from millrace.producers.delivery.memory_spool import MemorySpool
from millrace.producers.delivery.spool_folder import (
    SpoolOptions,
    SpoolOwner,
    claim,
    claim_cluster,
    folder_of,
    lock_spool,
)
from millrace.producers.delivery.sqlite_spool import SqliteSpool
from millrace.producers.record import Encoding


class Run(NamedTuple):
    """Parameters of a run's deliveries.

    Attributes:
        spec: The model to declare before the first window; None for none.
        address: CloudEvents source of the windows.
        source: The spool's owner.
        spool: Options of the spool; None to send from memory.
        encoding: Encoding of the windows.
        live: Whether the source cannot wait, and so starts even without a broker.
        positions: Whether the source can resume at a place.
        any_cluster: Whether windows that were spooled for another cluster are sent to this one.
    """

    spec: ModelSpec | None
    address: str
    source: SpoolOwner
    spool: SpoolOptions | None
    encoding: Encoding = "msgpack"
    live: bool = False
    positions: bool = False
    any_cluster: bool = False


@contextmanager
def open_forwarder(
    settings: Settings, run: Run, stopping: Callable[[], bool], tell: Callable[[str], None]
) -> Iterator[tuple[Forwarder, bytes | None]]:
    """Open a forwarder; yields it and the place at which the source resumes.

    Unless the source is live, the broker has answered, the topic exists and the model is declared
    when the block begins. When it ends, a spool without records to send and without a place to
    resume at is removed.

    Raises:
        DataError: The spool is damaged, or another model conflicts.
        ServerError: No broker answers, or the topic does not exist.
        SettingsError: The spool is used by another edge, or belongs to another source.
    """
    client = producer(settings, PRODUCER)
    if run.spool is None:
        with _forwarding(settings, run, MemorySpool(), client, stopping, tell) as forwarder:
            yield forwarder, None
        return
    options = run.spool
    folder = options.folder or folder_of(settings, run.source)
    with lock_spool(folder), SqliteSpool(folder, options.limit_bytes) as spool:
        finished = False
        try:
            claim(spool, settings, run.source, run.spec)
            if options.restart:
                spool.forget_position()
            with _forwarding(settings, run, spool, client, stopping, tell) as forwarder:
                yield forwarder, spool.position
            finished = forwarder.finished
        finally:
            if not spool.waiting and (finished or spool.position is None):
                spool.remove()


@contextmanager
def _forwarding(
    settings: Settings,
    run: Run,
    spool: MemorySpool | SqliteSpool,
    client: Producer,
    stopping: Callable[[], bool],
    tell: Callable[[str], None],
) -> Iterator[Forwarder]:
    """Open a forwarder of a spool, and run its loop once."""
    forwarder = Forwarder(
        spool,
        client,
        settings.named(SENSOR_WINDOWS.name),
        source=run.address,
        encoding=run.encoding,
        live=run.live,
        positions=run.positions,
        connect=connection(settings, client, run, spool),
        stopping=stopping,
        tell=tell,
    )
    try:
        forwarder.poll(0)
        yield forwarder
    finally:
        forwarder.close()


def connection(
    settings: Settings, client: Producer, run: Run, spool: MemorySpool | SqliteSpool
) -> Callable[[], bool]:
    """Build the forwarder's check whether the broker is ready for a spool's windows.

    Raises (the returned function):
        DataError: Another model conflicts with the declaration.
        ServerError: No broker answers (unless the source is live), or the topic does not exist.
        SettingsError: The spool's windows are for another cluster.
    """
    topic = settings.named(SENSOR_WINDOWS.name)
    greeting = BrokerHandshake(settings, client, topic, run.spec) if run.live else None

    def is_ready() -> bool:
        if greeting is None:
            cluster = connect(settings, client, topic, run.spec)
        elif (answer := greeting.answer()) is None:
            return False
        else:
            cluster = answer
        if isinstance(spool, SqliteSpool):
            claim_cluster(spool, cluster, anyway=run.any_cluster)
        return True

    return is_ready

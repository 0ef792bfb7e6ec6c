"""``edge flush``: sends the windows in spools, without the sources that filled them."""

import sys
from pathlib import Path

import msgspec
import structlog

from millrace.contracts.errors import SettingsError
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.contracts.wire.visible import visible_json
from millrace.infra.kafka.clients import producer
from millrace.infra.settings import Settings
from millrace.infra.terminal import Terminal
from millrace.producers.delivery.forwarder import PRODUCER, Forwarder, SpoolCounts
from millrace.producers.delivery.open_forwarder import Run, connection
from millrace.producers.delivery.spool_folder import (
    SpoolOwner,
    describe,
    lock_spool,
    namespace_of,
    spec_of,
    spool_folders,
)
from millrace.producers.delivery.sqlite_spool import DATABASE, SqliteSpool
from millrace.producers.session import Session

_log = structlog.get_logger(__name__)


class Flushed(msgspec.Struct, frozen=True):
    """Result of a flush.

    Attributes:
        sent: Windows that the broker confirmed.
        spools: Figures of each spool.
        interrupted: Whether a person ended it.
    """

    sent: int
    spools: list[SpoolCounts]
    interrupted: bool


def flush_spools(
    settings: Settings, folder: Path | None, *, any_cluster: bool, as_json: bool
) -> None:
    """Send the windows in spools; spools of running edges and other namespaces are skipped.

    Args:
        settings: Where Kafka is, the namespace, and the home of the spools.
        folder: The one spool to send; None for all.
        any_cluster: Whether windows for another cluster are sent to this one.
        as_json: Whether to print the result as JSON.

    Raises:
        DataError: A spool is damaged.
        ServerError: Kafka does not answer, or refuses a window.
        SettingsError: The one spool cannot be sent, or one holds windows for another cluster.
    """
    if folder is not None and not (folder / DATABASE).exists():
        raise SettingsError(f"there is no spool in {folder}")
    told = Terminal(stderr=True, soft_wrap=True)
    counts: list[SpoolCounts] = []
    with Session(settings, "", as_json=as_json) as session:
        for place in [folder] if folder is not None else spool_folders(settings):
            try:
                done = _flush(settings, place, session, any_cluster=any_cluster)
            except SettingsError as error:
                if folder is not None:
                    raise
                told.print(f"passed over: {error}", style="yellow")
                continue
            if done is not None:
                counts.append(done)
            if session.stopping:
                break
        sent = sum(done.found - done.waiting for done in counts)
        if as_json:
            result = Flushed(sent, counts, session.stopping)
            sys.stdout.write(visible_json(msgspec.json.encode(result)) + "\n")
        else:
            waiting = sum(done.waiting for done in counts)
            rest = f"; {waiting:,} still wait" if waiting else ""
            Terminal().print(f"{sent:,} windows of {len(counts)} spools delivered{rest}")
        session.end()


def _flush(
    settings: Settings, folder: Path, session: Session, *, any_cluster: bool
) -> SpoolCounts | None:
    """Send what one spool holds; None if it is another namespace's."""
    with lock_spool(folder), SqliteSpool(folder) as spool:
        if namespace_of(spool) != settings.namespace:
            if spool.waiting:
                _log.info("passed over", spool=str(folder), belongs_to=describe(spool))
            return None
        client = producer(settings, PRODUCER)
        run = Run(spec_of(spool), "", SpoolOwner("", ""), None, any_cluster=any_cluster)
        forwarder = Forwarder(
            spool,
            client,
            settings.named(SENSOR_WINDOWS.name),
            connect=connection(settings, client, run, spool),
            stopping=lambda: session.stopping,
            tell=_log.warning,
        )
        try:
            forwarder.flush()
        finally:
            forwarder.close()
        if not spool.waiting and spool.position is None:
            spool.remove()
        return forwarder.counts()

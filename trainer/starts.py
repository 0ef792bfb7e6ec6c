"""Where the archiver begins to read: the store is asked on threads, while the group is polled.

A rebalance callback must return at once: while it runs the group is not polled, and a member
that does not poll for long is put out of its group.
"""

from collections.abc import Mapping
from multiprocessing.pool import ThreadPool
from typing import Final, NamedTuple

import structlog

from contracts.errors import ServerError
from infra.object_store import ObjectStore
from infra.stalls import Place
from trainer.catalogue import find_end

#: Partitions whose ends are looked for at the same time.
_SEARCHERS: Final = 8
_log = structlog.get_logger(__name__)


class Bounds(NamedTuple):
    """What a topic has of a partition.

    Attributes:
        low: Its first offset.
        high: The offset after its last record.
    """

    low: int
    high: int


def start_of(place: Place, archived: int, bounds: Bounds) -> int:
    """Decide where reading a partition begins.

    Args:
        place: The partition.
        archived: Offset after the last archived record; 0 if there is none.
        bounds: What the topic has.

    Raises:
        ServerError: The archive is ahead of the topic, and so is another topic's.

    >>> start_of(Place("outcomes", 0), 40, Bounds(10, 90))
    40
    """
    if archived > bounds.high:
        raise ServerError(
            f"the archive of {place} ends at {archived}, the topic at {bounds.high}: the topic"
            " was created anew. Move the objects under archive/ away, or choose another"
            " MILLRACE_NAMESPACE"
        )
    return max(archived, bounds.low)


class StartSearch:
    """Looks for the ends of partitions in the archive; nobody waits for its threads' end."""

    def __init__(
        self, store: ObjectStore, topics: Mapping[Place, str], bounds: Mapping[Place, Bounds]
    ) -> None:
        """Begin.

        Args:
            store: Where the archive is; its client may be used by many threads.
            topics: The partitions, each with its topic's name in the archive.
            bounds: What the topics have of them.
        """
        self._store = store
        self._topics = topics
        self._bounds = bounds
        pool = ThreadPool(min(_SEARCHERS, max(len(topics), 1)))
        self._found = pool.map_async(self._search, topics, chunksize=1)
        pool.close()

    def result(self) -> dict[Place, int] | None:
        """The offset after the last archived record of each; None until all are known.

        Raises:
            ServerError: The store does not answer.
        """
        if not self._found.ready():
            return None
        return dict(zip(self._topics, self._found.get(), strict=True))

    def _search(self, place: Place) -> int:
        end = find_end(self._store, self._topics[place], place.partition, self._bounds[place].high)
        _log.info("end of the archive", place=str(place), end=end)
        return end

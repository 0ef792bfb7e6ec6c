"""Finds the archiver's start positions by querying the store on threads, off the poll loop.

A rebalance callback must return at once: while it runs the group is not polled, and a member
that exceeds the maximum poll interval is removed from its group.
"""

from collections.abc import Mapping
from multiprocessing.pool import ThreadPool
from typing import Final

import structlog

from millrace.infra.archive.catalogue import ArchiveEnd, find_end
from millrace.infra.kafka.place import Place
from millrace.infra.object_store import ObjectStore

#: Partitions whose ends are searched concurrently.
_SEARCHERS: Final = 8
_log = structlog.get_logger(__name__)


class StartSearch:
    """Searches the archive for the ends of partitions, on threads that are never joined."""

    def __init__(
        self, store: ObjectStore, topics: Mapping[Place, str], near: Mapping[Place, int]
    ) -> None:
        """Start the search.

        Args:
            store: The archive's store; its client may be used by many threads.
            topics: The partitions, each with its topic's name in the archive.
            near: A position near which each one's archive ends, see `find_end`.
        """
        self._store = store
        self._topics = topics
        self._near = near
        pool = ThreadPool(min(_SEARCHERS, max(len(topics), 1)))
        self._found = pool.map_async(self._search, topics, chunksize=1)
        pool.close()

    def result(self) -> dict[Place, ArchiveEnd] | None:
        """Where the archive of each ends; None until all are known.

        Raises:
            ServerError: The store does not answer.
        """
        if not self._found.ready():
            return None
        return dict(zip(self._topics, self._found.get(), strict=True))

    def _search(self, place: Place) -> ArchiveEnd:
        end = find_end(self._store, self._topics[place], place.partition, self._near[place])
        _log.info("end of the archive", place=str(place), end=end.position, date=str(end.date))
        return end

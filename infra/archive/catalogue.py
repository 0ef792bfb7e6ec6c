"""Lists a partition's archived objects: from its index, and from a listing after the index's end.

Listing a whole partition takes one request per thousand objects. The index names the objects
before its end, so a listing begins there.
"""

from typing import Final

from millrace.infra.archive.index import Entry, Index, decode_index, index_key, named, uncovered
from millrace.infra.archive.objects import ArchivedObject, parse_key, prefix_of
from millrace.infra.object_store import MissingObjectError, ObjectStore

#: Records before the topic's end at which the search for an archive's end starts, and the factor
#: by which that distance grows from one attempt to the next.
_NEAR: Final = 250
_FARTHER: Final = 32


class Catalogue:
    """The archive's objects, as index and store name them.

    Guarantee: the objects of a partition have each archived record once, except for an object
    that an archiver wrote after it had hung and was replaced (see `archiver`). Their names stay
    valid for `ArchiverSettings.retired_seconds` after they were listed.
    """

    def __init__(self, store: ObjectStore, *, whole: bool = False) -> None:
        """Create a catalogue; nothing is listed yet.

        Args:
            store: The archive's store.
            whole: Whether to list all objects and to ignore the indexes.
        """
        self._store = store
        self._whole = whole
        self._entries: dict[tuple[str, int], list[Entry]] = {}

    def refresh(self, topic: str, partition: int) -> list[ArchivedObject]:
        """List a partition's objects: the first call lists all, later calls only new ones.

        Returns:
            All of them, by offset.

        Raises:
            ServerError: The store does not answer.
        """
        place = topic, partition
        known = self._entries.get(place)
        if known is None:
            index = Index() if self._whole else read_index(self._store, topic, partition) or Index()
            known = list(index.entries)
        found = uncovered([*known, *entries_from(self._store, topic, partition, _end(known))])
        self._entries[place] = found
        return named(topic, partition, found)

    def covering(self, topic: str, partition: int, first: int, until: int) -> list[ArchivedObject]:
        """Return the listed objects that have records of a range.

        Args:
            topic: The topic.
            partition: Its partition.
            first: First offset of the range.
            until: Offset after its last one.

        Raises:
            ServerError: The store does not answer.
        """
        if (topic, partition) not in self._entries:
            self.refresh(topic, partition)
        found = self._entries[topic, partition]
        return named(topic, partition, (e for e in found if e.first < until and e.last >= first))

    def end(self, topic: str, partition: int) -> int:
        """Find the offset after the last archived record; 0 if there is none.

        Raises:
            ServerError: The store does not answer.
        """
        self.refresh(topic, partition)
        return _end(self._entries[topic, partition])


def read_index(store: ObjectStore, topic: str, partition: int) -> Index | None:
    """Read a partition's index; None if it is missing or damaged.

    Raises:
        ServerError: The store does not answer.
    """
    try:
        return decode_index(store.get(index_key(topic, partition)))
    except MissingObjectError:
        return None


def entries_from(
    store: ObjectStore, topic: str, partition: int, first: int, most: int | None = None
) -> list[Entry]:
    """List objects whose first offset is at or after a given one.

    Args:
        store: The archive's store.
        topic: The topic.
        partition: Its partition.
        first: The offset.
        most: Most objects to list; all when None.

    Raises:
        ServerError: The store does not answer.
    """
    prefix = prefix_of(topic, partition)
    found: list[Entry] = []
    for one in store.objects(prefix, after=f"{prefix}{first:020d}"):
        item = parse_key(one.key)
        if item is not None:
            found.append(Entry(item.first, item.last, one.bytes))
        if len(found) == most:
            break
    return found


def find_end(store: ObjectStore, topic: str, partition: int, near: int) -> int:
    """Find the offset after the last archived record, without listing the archive.

    An archive ends close to its topic's end, so the listing begins a little before that, and
    farther before it if nothing is found there; never before the index's end.

    Args:
        store: The archive's store.
        topic: The topic.
        partition: Its partition.
        near: The topic's end.

    Returns:
        The offset; 0 if nothing is archived.

    Raises:
        ServerError: The store does not answer.
    """
    floor = (read_index(store, topic, partition) or Index()).end
    back = _NEAR
    while True:
        begin = max(floor, near - back)
        found = entries_from(store, topic, partition, begin)
        if found or begin == floor:
            return max(floor, _end(found))
        back *= _FARTHER


def _end(entries: list[Entry]) -> int:
    return max((one.last + 1 for one in entries), default=0)

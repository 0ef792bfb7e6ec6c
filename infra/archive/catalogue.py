"""What is archived of a partition: its index, and the objects that were written after it.

A listing of a whole partition takes a request for each thousand objects, so nobody lists one
who need not: the index says what is before its end, and a listing begins there.
"""

from typing import Final

from millrace.infra.archive.index import Entry, Index, decode_index, index_key, named, uncovered
from millrace.infra.archive.objects import ArchivedObject, parse_key, prefix_of
from millrace.infra.object_store import MissingObjectError, ObjectStore

#: How far before the topic's end an archive's end is looked for first, records, and by how much
#: that grows from one attempt to the next.
_NEAR: Final = 250
_FARTHER: Final = 32


class Catalogue:
    """The archive's objects, as index and store name them.

    Guarantee: the objects of a partition have each archived record once, apart from those that
    an archiver wrote twice which hung and came back (see `archiver`), and their names
    stay valid for `ArchiverSettings.retired_seconds` after they were listed.
    """

    def __init__(self, store: ObjectStore, *, whole: bool = False) -> None:
        """List nothing yet.

        Args:
            store: Where the archive is.
            whole: Whether to list all objects and to believe no index.
        """
        self._store = store
        self._whole = whole
        self._entries: dict[tuple[str, int], list[Entry]] = {}

    def refresh(self, topic: str, partition: int) -> list[ArchivedObject]:
        """List a partition's objects: all of them at first, and then those that are new.

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
        """List the objects with records of a range, as far as they were listed.

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
    """Read a partition's index; None if there is none, or what is there is not one.

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
    """List objects whose first offset is at or after one.

    Args:
        store: Where the archive is.
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

    An archive ends close to where its topic does, so the listing begins a little before the
    topic's end, and farther before it if nothing is there; not before the index's end.

    Args:
        store: Where the archive is.
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

"""An object store in memory that notes what is asked of it, and may break off at a request."""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from millrace.contracts.errors import ServerError
from millrace.infra.object_store import MissingObjectError, StoredObject


class Shelf:
    """A store in memory.

    Attributes:
        objects_by_key: What it holds.
        fetched: Keys of objects that were fetched whole.
        listings: How often it was listed.
        changes_left: Changes until it breaks off; None for no end.
    """

    def __init__(self) -> None:
        self.objects_by_key: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.listings = 0
        self.changes_left: int | None = None

    def put(self, key: str, data: bytes, _: str = "") -> str:
        """Store an object."""
        self._change()
        self.objects_by_key[key] = data
        return sha256(data).hexdigest()

    def get(self, key: str, *, digest: str | None = None) -> bytes:
        """Fetch an object."""
        self.fetched.append(key)
        if key not in self.objects_by_key:
            raise MissingObjectError(f"object {key} is not there")
        data = self.objects_by_key[key]
        assert digest in {None, sha256(data).hexdigest()}
        return data

    def objects(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """List objects."""
        self.listings += 1
        keys = [k for k in sorted(self.objects_by_key) if k.startswith(prefix)]
        return (
            StoredObject(key, len(self.objects_by_key[key])) for key in keys if key > (after or "")
        )

    def children(self, prefix: str, *, after: str | None = None) -> Iterator[StoredObject]:
        """List what is directly under a prefix, folders last."""
        folders = set()
        for one in self.objects(prefix, after=after):
            name, slash, _ = one.key[len(prefix) :].partition("/")
            if slash:
                folders.add(f"{prefix}{name}/")
            else:
                yield one
        yield from (StoredObject(folder, 0) for folder in sorted(folders))

    def end_of(self, stored: StoredObject, most: int) -> bytes:
        """Fetch the last bytes of an object."""
        if stored.key not in self.objects_by_key:
            raise MissingObjectError(f"object {stored.key} is not there")
        return self.objects_by_key[stored.key][-most:]

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects."""
        for key in keys:
            self._change()
            self.objects_by_key.pop(key, None)

    def _change(self) -> None:
        if self.changes_left is not None:
            if self.changes_left == 0:
                raise ServerError("the store is away")
            self.changes_left -= 1

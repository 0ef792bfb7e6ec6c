"""A first-in, first-out queue in SQLite; one file, since all of it upholds one guarantee.

Records are kept on disk until the broker has confirmed them:

```
append ──► spool.sqlite (one transaction a batch, on the disk when it returns) ──► read
confirm ──► the file `confirmed`: a number, overwritten in place
trim    ──► deletes confirmed records
```

Guarantee: when `append` has returned, its records survive a kill and a power cut, in order, until
they are confirmed. The last confirmed number is in a file of its own and not in the database,
because it can then be written at once, at no cost, and without further disk space: a spool that
has filled the disk can still be emptied, and a crash repeats only unconfirmed records. If the
number is lost, all records that are still in the spool are resent; if the machine loses power
between writing the two files, the larger of the two last numbers counts, so that no number is
assigned twice. If there is not even space for deleting, an empty database is recreated, and
`confirmed` holds the notes meanwhile. One process and one thread own a spool
(`producers.delivery.spool_folder`).
"""

import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import msgspec

from millrace.contracts.errors import DataError
from millrace.contracts.headers import RawHeaders
from millrace.producers.delivery.confirmed import Confirmed
from millrace.producers.delivery.spool import SpoolFullError
from millrace.producers.record import Record

#: The database in a spool's folder, and SQLite's own files beside it.
DATABASE: Final = "spool.sqlite"
CONFIRMED: Final = "confirmed"
#: Default largest size of the database, bytes.
LIMIT_BYTES: Final = 1 << 30

_APPLICATION: Final = int.from_bytes(b"MRSP")
_VERSION: Final = 1
_PAGE_BYTES: Final = 16 << 10
#: Journal pages at which SQLite checkpoints them into the database: 8 MiB.
_JOURNAL_PAGES: Final = 512
#: Confirmed records that may stay in the database before they are deleted.
_TRIM_RECORDS: Final = 4_000
#: A database smaller than this is not worth recreating, bytes.
_SMALL_BYTES: Final = 1 << 20
#: Free space from which a disk does not count as full.
_ROOM_BYTES: Final = 16 << 20
_POSITION: Final = "position"

_SCHEMA: Final = """
BEGIN;
CREATE TABLE windows (
    id INTEGER PRIMARY KEY, key BLOB, value BLOB NOT NULL, headers BLOB NOT NULL,
    at_ms INTEGER NOT NULL);
CREATE TABLE about (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(RawHeaders).decode


class SqliteSpool:
    """The queue of one folder; see `spool.Spool`.

    Attributes:
        folder: Its folder.
        last: Number of the last record appended; they count up from 1.
        confirmed: All records up to this number are confirmed.
    """

    is_durable = True

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        """Open a spool, or create an empty one.

        Args:
            folder: Its folder; created if it does not exist.
            limit_bytes: Size to which the database may grow, without its journal.

        Raises:
            DataError: The file is damaged or no spool; the message names the remedy.
            SpoolFullError: There is no space to create one.
        """
        self.folder = folder
        self._path = folder / DATABASE
        self._pages = max(limit_bytes // _PAGE_BYTES, 8)
        self._about: dict[str, bytes] = {}
        self._db: sqlite3.Connection | None = None
        with self._errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._mark = Confirmed(folder / CONFIRMED)
            marked, saved = self._mark.through, self._mark.notes
            try:
                self._db = self._open()
                found = self._db.execute("SELECT min(id), max(id) FROM windows").fetchone()
                first, last = found if found[1] is not None else (marked + 1, marked)
                self._about = dict(self._db.execute("SELECT name, value FROM about"))
                self._noted = bool(self._about) or not saved
                self._about = self._about or saved
                self.confirmed = max(marked, first - 1)
                self.last = max(last, self.confirmed)
                self._trimmed = first - 1
            except BaseException:
                self.close()
                raise

    @property
    def waiting(self) -> int:
        """Records that are not confirmed."""
        return self.last - self.confirmed

    @property
    def place(self) -> str:
        """Its folder."""
        return str(self.folder)

    @property
    def size(self) -> int:
        """Size of its files."""
        return sum(path.stat().st_size for path in self._files() if path.exists())

    @property
    def about(self) -> Mapping[str, bytes]:
        """Its notes, see `note`."""
        return {name: value for name, value in self._about.items() if name != _POSITION}

    @property
    def position(self) -> bytes | None:
        """Place in the source after the last record, as passed to `append`; None if unknown."""
        return self._about.get(_POSITION)

    def append(self, records: Sequence[Record], position: bytes | None = None) -> None:
        """Add a batch: all of it, or nothing if this raises.

        Args:
            records: In order.
            position: Place in the source after the last of them; None keeps the last one.

        Raises:
            SpoolFullError: No room; once there is, the same call succeeds.
            DataError: The file is damaged.
        """
        try:
            self._append(records, position)
        except SpoolFullError:
            # Delete confirmed records; if there is no space even for that, recreate the file.
            if not self._trim() and not self._renew():
                raise
            self._append(records, position)

    def read(self, after: int, count: int, most_bytes: int) -> list[tuple[int, Record]]:
        """Read records in order.

        Args:
            after: Number after which to begin, not below `confirmed`.
            count: How many at most.
            most_bytes: Bytes of values after which to stop; at least one record is read.

        Returns:
            Numbers and records; empty if there are none.

        Raises:
            DataError: The file is damaged.
        """
        found: list[tuple[int, Record]] = []
        size = 0
        if self._db is None:
            return found
        with self._errors():
            rows = self._db.execute(
                "SELECT id, key, value, headers, at_ms FROM windows WHERE id > ? ORDER BY id"
                " LIMIT ?",
                (after, count),
            )
            for number, key, value, headers, at_ms in rows:
                found.append((number, Record(key, value, _decode(headers), at_ms)))
                size += len(value)
                if size >= most_bytes:
                    break
        return found

    def confirm(self, through: int) -> None:
        """Note that the broker has every record up to a number.

        Raises:
            SpoolFullError: The file could not be written.
        """
        with self._errors():
            self._mark.write(through)
        self.confirmed = through
        if through - self._trimmed >= _TRIM_RECORDS:
            self._trim()

    def note(self, about: Mapping[str, bytes]) -> None:
        """Store notes about the records' owner, in addition to earlier notes.

        Raises:
            SpoolFullError: No room.
        """
        with self._transaction() as db:
            self._write_notes(db, {**self._about, **about})
        self._about |= about
        self._noted = True

    def forget_position(self) -> None:
        """Delete the place, so that the source starts again.

        Raises:
            SpoolFullError: No room.
        """
        with self._transaction() as db:
            db.execute("DELETE FROM about WHERE name = ?", (_POSITION,))
        self._about.pop(_POSITION, None)

    def clear(self) -> None:
        """Delete position and notes of an empty spool; numbering continues."""
        with self._transaction() as db:
            db.execute("DELETE FROM windows")
            db.execute("DELETE FROM about")
        self._about = {}
        self._trimmed = self.confirmed

    def close(self) -> None:
        """Close the files; unconfirmed records stay in them."""
        if self._db is not None:
            with suppress(sqlite3.Error):  # a journal that cannot be checkpointed is read later
                self._db.close()
            self._db = None
        self._mark.close()

    def remove(self) -> None:
        """Close the files and delete them."""
        self.close()
        for path in self._files():
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, records: Sequence[Record], position: bytes | None) -> None:
        rows = [
            (number, record.key, record.value, _encode(record.headers), record.at_ms)
            for number, record in enumerate(records, self.last + 1)
        ]
        with self._transaction() as db:
            db.executemany("INSERT INTO windows VALUES (?, ?, ?, ?, ?)", rows)
            if not self._noted:
                self._write_notes(db, self._about)
            if position is not None:
                self._write_notes(db, {_POSITION: position})
        self.last += len(records)
        self._noted = True
        if position is not None:
            self._about[_POSITION] = position

    @staticmethod
    def _write_notes(db: sqlite3.Connection, notes: Mapping[str, bytes]) -> None:
        db.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", list(notes.items()))

    def _trim(self) -> bool:
        """Delete confirmed records; False if there are none, or no space even for that."""
        if self._trimmed == self.confirmed:
            return False
        try:
            with self._transaction() as db:
                if self.waiting:
                    db.execute("DELETE FROM windows WHERE id <= ?", (self.confirmed,))
                else:
                    db.execute("DELETE FROM windows")  # SQLite drops the table's pages whole
        except SpoolFullError:
            return False
        self._trimmed = self.confirmed
        return True

    def _renew(self) -> bool:
        """Recreate the database when it holds no unconfirmed record, which frees all its space.

        Returns:
            Whether space was freed.
        """
        if self.waiting:
            return False
        if self._path.exists() and self._path.stat().st_size < _SMALL_BYTES:
            return False
        with self._errors():
            if not self._mark.save(self._about):
                return False
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        for path in self._files():
            if path.name != CONFIRMED:
                path.unlink(missing_ok=True)
        self._trimmed = self.confirmed
        self._noted = False
        return True

    def _files(self) -> list[Path]:
        names = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", CONFIRMED)
        return [self.folder / name for name in names]

    def _open(self) -> sqlite3.Connection:
        """Connect, and check the file or lay out a new one."""
        db = sqlite3.connect(self._path, isolation_level=None, timeout=0)
        try:
            # Exclusive: no shared memory, and no other process can write while this one lives.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_JOURNAL_PAGES}")
            db.execute(f"PRAGMA max_page_count = {self._pages}")
            self._check(db)
        except BaseException:
            db.close()
            raise
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        """Check that a file is a sound spool; create the tables of a new one."""
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not (tables or application):
            db.executescript(
                f"{_SCHEMA} PRAGMA application_id = {_APPLICATION};"
                f" PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        elif application != _APPLICATION:
            raise DataError(f"{self._path} is no spool; choose another folder with --spool")
        elif version != _VERSION:
            raise DataError(
                f"{self._path} is of version {version}, this program writes {_VERSION}:"
                " send what waits there with the program that wrote it (`edge flush`)"
            )
        elif (said := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise DataError(self._damaged(said))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._errors():
            if self._db is None:
                self._db = self._open()
            db = self._db
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Convert errors of SQLite and the file system into errors with a remedy."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            match getattr(error, "sqlite_errorcode", 0) & 0xFF:
                case sqlite3.SQLITE_FULL:  # raised at our limit and on a full disk
                    raise SpoolFullError(self._full(str(error), at_limit=True)) from error
                case sqlite3.SQLITE_IOERR:
                    raise SpoolFullError(self._full(str(error))) from error
                case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                    raise DataError(self._damaged(str(error))) from error
                case _:
                    raise DataError(f"the spool {self._path} cannot be used: {error}") from error
        except OSError as error:
            raise SpoolFullError(self._full(error.strerror or str(error))) from error

    def _full(self, said: str, *, at_limit: bool = False) -> str:
        if at_limit and shutil.disk_usage(self.folder).free >= _ROOM_BYTES:
            return f"the spool {self.folder} has reached its limit (--spool-limit)"
        return f"the spool {self.folder} cannot be written ({said}); make space on its disk"

    def _damaged(self, said: str) -> str:
        return (
            f"the spool {self._path} is damaged ({' '.join(said.split())}); move it away"
            f" (`mv {self.folder} {self.folder}.damaged`) and start again, a recording then from"
            f" its beginning; `sqlite3 {DATABASE} .recover` in the moved folder saves what can be"
            " read"
        )

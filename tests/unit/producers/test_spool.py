"""A spool keeps what it was given, in order, through crashes, full disks and small limits."""

import shutil
import sqlite3
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.contracts.errors import DataError
from millrace.producers.delivery.spool import SpoolFullError
from millrace.producers.delivery.sqlite_spool import CONFIRMED, DATABASE, SqliteSpool
from millrace.producers.record import Record
from tests.spools import all_of, no_file_beyond, some


def killed(folder: Path, place: Path) -> Path:
    """The files as a kill at this moment would leave them."""
    shutil.copytree(folder, place)
    return place


def fill(spool: SqliteSpool, position: bytes, batch: int = 500) -> None:
    """Append until there is no room."""
    while True:
        spool.append(some(spool.last + 1, batch, 800), position)


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 40)),
    st.tuples(st.just("confirm"), st.integers(1, 60)),
    st.tuples(st.just("crash"), st.booleans()),
    st.tuples(st.just("close"), st.just(0)),
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=25))
def test_any_sequence_keeps_order_and_loses_nothing(steps: list[tuple[str, int]]) -> None:
    """Appends, confirmations, kills and restarts in any order: a queue, as on paper."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "0"
        spool = SqliteSpool(folder)
        expected: deque[tuple[int, Record]] = deque()
        position = None
        for index, (step, argument) in enumerate(steps, 1):
            if step == "append":
                batch = some(spool.last + 1, argument)
                position = str(index).encode()
                expected += enumerate(batch, spool.last + 1)
                spool.append(batch, position)
            elif step == "confirm":
                for _ in range(min(argument, len(expected))):
                    spool.confirm(expected.popleft()[0])
            else:
                if step == "crash":
                    folder = killed(folder, Path(place) / str(index))
                    if argument:  # a lost number repeats what is not deleted, and no more
                        (folder / CONFIRMED).unlink()
                spool.close()
                last = spool.last
                spool = SqliteSpool(folder)
                if step == "crash" and argument:
                    assert all_of(spool)[-len(expected) or len(all_of(spool)) :] == list(expected)
                    spool.confirm(last - len(expected))
                assert spool.last == last
            assert all_of(spool) == list(expected)
            assert (spool.waiting, spool.position) == (len(expected), position)
        spool.close()


def test_confirmed_records_are_deleted(tmp_path: Path) -> None:
    """A hundred thousand records through a queue of few leave a file of a few megabytes."""
    with SqliteSpool(tmp_path) as spool:
        for _ in range(200):
            spool.append(some(spool.last + 1, 500, 800))
            spool.confirm(spool.last - 100)
        assert spool.size < 24 << 20
        assert spool.waiting == 100


def test_a_full_spool_takes_nothing_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """At its limit a batch is refused whole; after a confirmation the same batch fits."""
    with SqliteSpool(tmp_path, 1 << 20) as spool:
        with pytest.raises(SpoolFullError, match=r"reached its limit \(--spool-limit\)"):
            fill(spool, b"here", 100)
        full_at = spool.last
        assert 500 < full_at < 1_300
        assert [number for number, _ in all_of(spool)] == list(range(1, full_at + 1))
        spool.confirm(200)
        spool.append(some(full_at + 1, 100, 800), b"there")
        assert [n for n, _ in all_of(spool)] == list(range(201, full_at + 101))
        assert spool.position == b"there"


def test_a_disk_without_space_holds_back_and_nothing_is_lost(tmp_path: Path) -> None:
    """When the system refuses to write, reading and confirming go on; then so does appending."""
    with SqliteSpool(tmp_path) as spool:
        spool.append(some(1, 500, 800), b"a")
        with no_file_beyond(spool.size):
            with pytest.raises(SpoolFullError, match="make space on its disk"):
                fill(spool, b"b")
            last = spool.last
            spool.confirm(300)
            assert [n for n, _ in all_of(spool)] == list(range(301, last + 1))
        spool.append(some(last + 1, 10), b"c")
        assert (spool.waiting, spool.position) == (last + 10 - 300, b"c")


def test_a_spool_that_filled_the_disk_can_be_emptied_and_begun_anew(tmp_path: Path) -> None:
    """Where not even deleting finds space, the emptied file is replaced, and the notes kept."""
    with SqliteSpool(tmp_path / "1") as spool:
        spool.note({"source": b"pumps"})
        with no_file_beyond(12 << 20):
            with pytest.raises(SpoolFullError):
                fill(spool, b"end")
            spool.confirm(spool.last)
            last = spool.last
            assert spool._renew()
            copy = killed(tmp_path / "1", tmp_path / "2")
            spool.append(some(last + 1, 500, 800))
            assert spool.waiting == 500
    with SqliteSpool(tmp_path / "1") as again, SqliteSpool(copy) as between:
        assert (again.position, dict(again.about)) == (b"end", {"source": b"pumps"})
        assert (between.position, dict(between.about)) == (b"end", {"source": b"pumps"})
        assert (again.waiting, between.waiting, between.last) == (500, 0, last)


def test_after_a_power_cut_no_number_is_given_twice(tmp_path: Path) -> None:
    """A database that fell behind the confirmed number does not swallow what comes next."""
    with SqliteSpool(tmp_path / "1") as spool:
        spool.append(some(1, 10), b"ten")
        behind = killed(tmp_path / "1", tmp_path / "2")
        spool.append(some(11, 10), b"twenty")
        spool.confirm(20)
        shutil.copy(tmp_path / "1" / CONFIRMED, behind / CONFIRMED)
    with SqliteSpool(behind) as spool:
        assert (spool.waiting, spool.position) == (0, b"ten")
        spool.append(some(11, 10))
        assert [n for n, _ in all_of(spool)] == list(range(21, 31))


@pytest.mark.parametrize("damage", ["header", "inside"])
def test_a_damaged_file_is_refused_and_how_to_mend_it_said(tmp_path: Path, damage: str) -> None:
    """Overwritten bytes are noticed at the start, before anything is sent."""
    with SqliteSpool(tmp_path) as spool:
        spool.append(some(1, 500, 800))
    path = tmp_path / DATABASE
    written = bytearray(path.read_bytes())
    place = 0 if damage == "header" else len(written) // 2 // 4096 * 4096
    written[place : place + 4096] = b"\x5a" * 4096
    path.write_bytes(written)
    with pytest.raises(DataError, match=r"is damaged .*; move it away \(`mv .*`sqlite3"):
        SqliteSpool(tmp_path)


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    """A database that is no spool is left as it is."""
    other = sqlite3.connect(tmp_path / DATABASE)
    other.execute("CREATE TABLE theirs (x)")
    other.close()
    with pytest.raises(DataError, match="is no spool"):
        SqliteSpool(tmp_path)


def test_another_version_is_refused(tmp_path: Path) -> None:
    """A later layout is not read by an earlier program."""
    with SqliteSpool(tmp_path):
        pass
    later = sqlite3.connect(tmp_path / DATABASE)
    later.execute("PRAGMA user_version = 99")
    later.close()
    with pytest.raises(DataError, match="version 99"):
        SqliteSpool(tmp_path)


def test_clearing_forgets_notes_and_keeps_counting(tmp_path: Path) -> None:
    """A spool for another source begins empty, with numbers that were never used."""
    with SqliteSpool(tmp_path) as spool:
        spool.note({"source": b"a"})
        spool.append(some(1, 5), b"x")
        spool.confirm(5)
        spool.clear()
        assert (spool.position, dict(spool.about), spool.last) == (None, {}, 5)
        spool.append(some(6, 1))
    with SqliteSpool(tmp_path) as spool:
        assert (spool.waiting, spool.last, spool.position) == (1, 6, None)


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    """All files go, and a new spool begins at one."""
    folder = tmp_path / "s"
    with SqliteSpool(folder) as spool:
        spool.append(some(1, 5))
        spool.remove()
    assert list(folder.iterdir()) == []
    with SqliteSpool(folder) as spool:
        assert spool.last == 0

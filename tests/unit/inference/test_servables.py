"""Versions that can predict: found at once, waited for, refused, dropped."""

import threading
from collections.abc import Callable

import pytest

from millrace.inference.serving.batches import Stamp
from millrace.inference.serving.servables import Persistence, Servable, Servables
from millrace.infra.kafka.retry import Stopped
from tests.builders import UNITS, pump_spec

SPEC = pump_spec()
FOREVER = 30.0


def version(number: int) -> Servable:
    """A version that is ready."""
    return Servable(SPEC, number, UNITS, "digest", Persistence(SPEC))


def while_waiting(servables: Servables, act: Callable[[], None]) -> Servable | None:
    """Find version 1 on another thread, and act once it is wanted."""
    found: list[Servable | None] = []
    waiting = threading.Event()
    thread = threading.Thread(target=lambda: found.append(servables.find("pump", 1, FOREVER)))
    thread.start()
    while ("pump", 1) not in servables.wanted():
        waiting.wait(0.001)
    act()
    thread.join(FOREVER)
    return found[0]


def test_a_ready_version_is_found_at_once() -> None:
    """Nobody waits for what is there."""
    servables = Servables()
    servables.put(version(1))
    found = servables.find("pump", 1, 0.0)
    assert found is not None
    assert found.version == 1
    assert servables.wanted() == set()


def test_find_waits_until_a_version_is_loaded() -> None:
    """What is not there is wanted, until it is put in its place."""
    servables = Servables()
    found = while_waiting(servables, lambda: servables.put(version(1)))
    assert found is not None
    assert servables.wanted() == set()


def test_find_ends_when_a_version_is_refused() -> None:
    """None says that it cannot be loaded; it is not waited for again."""
    servables = Servables()
    assert while_waiting(servables, lambda: servables.refuse("pump", 1)) is None
    assert servables.find("pump", 1, 0.0) is None
    assert servables.knows("pump", 1)


def test_find_does_not_wait_for_ever_nor_twice() -> None:
    """What has not come in time is not waited for again, is still wanted, and may yet come."""
    servables = Servables()
    assert servables.find("pump", 1, 0.0) is None
    assert servables.find("pump", 1, 3600.0) is None
    assert servables.wanted() == {("pump", 1)}
    servables.put(Servable(SPEC, 1, UNITS, "digest", Persistence(SPEC)))
    assert servables.find("pump", 1, 0.0) is not None


def test_settled_is_what_find_answers_at_once() -> None:
    """Ready, refused, put off or late; asking changes nothing."""
    servables = Servables()
    servables.put(version(1))
    servables.refuse("pump", 2)
    servables.postpone("pump", 3)
    servables.find("pump", 4, 0.0)
    assert servables.settled([])
    assert servables.settled([Stamp("pump", number, 1) for number in (1, 2, 3, 4)])
    assert not servables.settled([Stamp("pump", 1, 1), Stamp("pump", 5, 1)])
    assert servables.wanted() == {("pump", 4)}


def test_find_ends_when_a_version_is_put_off() -> None:
    """None says that it cannot be loaded now; it is still wanted, and found once it is there."""
    servables = Servables()
    assert while_waiting(servables, lambda: servables.postpone("pump", 1)) is None
    assert servables.wanted() == {("pump", 1)}
    assert not servables.knows("pump", 1)
    servables.put(version(1))
    assert servables.find("pump", 1, 0.0) is not None


def test_a_refused_version_may_come_back() -> None:
    """Putting a version in its place takes the refusal back."""
    servables = Servables()
    servables.refuse("pump", 1)
    servables.put(version(1))
    assert servables.find("pump", 1, 0.0) is not None


def test_only_what_is_kept_or_waited_for_stays() -> None:
    """Versions that nothing asks for are dropped; one that a batch waits for is not."""
    servables = Servables()
    for number in range(3):
        servables.put(version(number))

    def put_and_drop() -> None:
        servables.put(version(1))
        servables.keep_only({("pump", 0)})

    servables.keep_only({("pump", 0)})
    assert [servables.knows("pump", number) for number in range(3)] == [True, False, False]
    assert while_waiting(servables, put_and_drop) is not None


def test_a_held_version_outlives_its_dropping() -> None:
    """A batch that has taken a version keeps it until it is done."""
    servables = Servables()
    servables.put(version(1))
    held = servables.find("pump", 1, 0.0)
    servables.keep_only(set())
    assert not servables.knows("pump", 1)
    assert held is not None
    assert held.version == 1


def test_nobody_waits_in_a_process_that_is_to_end() -> None:
    """Stopping ends the waiting for a version; one that is there is still found."""
    stop = threading.Event()
    servables = Servables(stop)
    servables.put(version(0))
    stop.set()
    with pytest.raises(Stopped):
        servables.find("pump", 1, FOREVER)
    assert servables.find("pump", 0, FOREVER) is not None


def test_missing_is_what_is_neither_ready_nor_refused() -> None:
    """By this a replica tells whether it still loads."""
    servables = Servables()
    servables.put(version(0))
    servables.refuse("pump", 1)
    assert servables.missing({("pump", n) for n in range(3)}) == {("pump", 2)}

"""Dead letters in the console: what each says, what became of it, and what is sent again."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from millrace.console.cli.dead_letters.listing import visible
from millrace.console.operations.dead_letters.letter import (
    Choice,
    Letter,
    Reference,
    State,
    counts,
    letter_of,
    parse_reference,
    states,
    why_final,
)
from millrace.console.operations.dead_letters.resend import Mend, again
from millrace.console.operations.dead_letters.retry import choose, refusal
from millrace.console.operations.moments import parse_moment
from millrace.contracts.errors import DataError, SettingsError
from millrace.contracts.events.dead_letter import (
    BATCH_RECORDS,
    REASON,
    Origin,
    dead_letter_headers,
    headers_again,
    origin_of,
)
from millrace.contracts.events.event import JSON, MSGPACK
from millrace.contracts.events.window import SensorWindow, encode_window, encode_window_json
from millrace.contracts.headers import CONTENT_TYPE, SOURCE_OFFSET, RawHeaders, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import SENSOR_WINDOWS
from millrace.contracts.wire.cut_letter import cut_letter
from millrace.producers.sources.defects import REASONS, make_bad
from tests.builders import pump_spec, pump_window, registry_of

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
WINDOWS = SENSOR_WINDOWS.name
FIRST = Origin(WINDOWS, 2, 40)
TYPED: RawHeaders = [("ce_id", b"w-0"), (CONTENT_TYPE, MSGPACK.encode())]


def letter_headers(
    offset: int,
    *,
    reason: str = "unknown_sensor_set",
    original: RawHeaders | None = None,
    topic: str = WINDOWS,
    by_inference: bool = False,
) -> RawHeaders:
    """Headers of a letter about a record of partition 2."""
    made = dead_letter_headers(
        original or [],
        InvalidRecord(reason, "a detail"),
        topic=topic,
        partition=2,
        offset=offset,
        timestamp_ms=1,
    )
    return made if by_inference else [*made, (SOURCE_OFFSET, b"%d" % offset)]


def letter(place: int, offset: int, *, minutes: int = 0, first: int | None = None) -> Letter:
    """A letter of the stream processor; one that was sent again has a first origin."""
    original = headers_again([], Origin(WINDOWS, 2, first)) if first is not None else []
    headers = letter_headers(offset, original=original)
    return letter_of(Reference(2, place), NOW_MS + 60_000 * minutes, b"pump-1", headers, 9)


def test_a_letter_says_where_it_came_from() -> None:
    """The record that was refused, and the one that was refused first."""
    found = letter(7, 90, first=40)
    assert found.source == Origin(WINDOWS, 2, 90)
    assert found.first_origin == FIRST
    assert found.is_window
    assert (found.reason, found.detail, found.asset) == (
        "unknown_sensor_set",
        "a detail",
        "pump-1",
    )
    assert found.time == NOW


def test_a_letter_about_a_wrong_origin_is_its_own_origin() -> None:
    """What it says of an earlier place is what it was refused for."""
    assert letter(7, 90, first=95).first_origin == Origin(WINDOWS, 2, 90)


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (letter_headers(3, reason="forecast_not_finite", by_inference=True), "was taken"),
        (
            letter_headers(3, topic="sensor.windows.normalized", by_inference=True),
            "only the stream processor writes to",
        ),
        ([], "none of Millrace's"),
        ([(REASON, b"\xff"), (SOURCE_OFFSET, b"-1")], "none of Millrace's"),
    ],
)
def test_what_only_the_stream_processor_refused_can_be_sent_again(
    headers: RawHeaders, why: str
) -> None:
    """The others say why not, and are final."""
    found = letter_of(Reference(2, 1), NOW_MS, None, headers, 0)
    assert why in (why_final(found) or "")
    assert states([found], {}) == {found.place: State.FINAL}
    assert why_final(letter(1, 3)) is None


def test_a_letter_is_open_until_its_record_is_refused_again_or_taken() -> None:
    """Of those with one first origin, only the last is open; once one is taken, none is."""
    first, second, other = letter(1, 40), letter(2, 90, first=40), letter(3, 41)
    known = states([first, second, other], {})
    assert [known[each.place] for each in (first, second, other)] == [
        State.SENT_AGAIN,
        State.OPEN,
        State.OPEN,
    ]
    known = states([first, second, other], {FIRST: 97})
    assert [known[each.place] for each in (first, second, other)] == [
        State.MENDED,
        State.MENDED,
        State.OPEN,
    ]


def test_letters_are_counted_by_reason() -> None:
    """All of them, those that were sent again, and those that were mended."""
    letters = [letter(1, 40), letter(2, 90, first=40), letter(3, 41), letter(4, 42)]
    letters.append(letter_of(Reference(2, 9), NOW_MS, b"x", [], 0))
    known = states(letters, {Origin(WINDOWS, 2, 41): 99})
    found = [(c.reason, c.letters, c.retried, c.mended, c.final) for c in counts(letters, known)]
    assert found == [("unknown_sensor_set", 4, 2, 1, 0), ("unknown", 1, 0, 0, 1)]


def test_only_open_letters_are_chosen() -> None:
    """Each first origin once; the others are counted by what became of them."""
    letters = [letter(1, 40), letter(2, 90, first=40), letter(3, 41), letter(4, 42, minutes=9)]
    known = states(letters, {Origin(WINDOWS, 2, 41): 99})
    chosen, passed = choose(letters, Choice(), known)
    assert chosen == [Reference(2, 2), Reference(2, 4)]
    assert passed == {"sent again": 1, "mended": 1}
    late = Choice(since=parse_moment("--since", "2026-11-21T12:05", NOW))
    assert choose(letters, late, known) == ([Reference(2, 4)], {})
    assert choose(letters, Choice(asset="pump-2"), known) == ([], {})
    assert choose(letters, Choice(reason="oversized"), known) == ([], {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", "2026-11-21T11:58:30+00:00"),
        ("30m", "2026-11-21T11:30:00+00:00"),
        ("7d", "2026-11-14T12:00:00+00:00"),
        ("1w", "2026-11-14T12:00:00+00:00"),
        ("2026-11-20", "2026-11-20T00:00:00+00:00"),
        ("2026-11-20T06:00+02:00", "2026-11-20T06:00:00+02:00"),
    ],
)
def test_a_moment_is_a_time_or_how_long_ago(text: str, expected: str) -> None:
    """ISO 8601, UTC unless it says otherwise; or a number and a unit."""
    moment = parse_moment("--since", text, NOW)
    assert moment is not None
    assert moment.isoformat() == expected


@pytest.mark.parametrize("text", ["", "yesterday", "2h ago", "-2h", "99999999999w"])
def test_what_is_no_moment_is_told(text: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(SettingsError, match="2026-11-21T06:00"):
        parse_moment("--since", text, NOW)


@pytest.mark.parametrize("text", ["", "3", "3:", ":4", "3:-1", "a:b", "1:2:3", "\u00b2:1"])
def test_what_is_no_letter_is_told(text: str) -> None:
    """The message says where to find them."""
    with pytest.raises(SettingsError, match="dead-letters list"):
        parse_reference(text)


def test_a_letter_is_named_by_its_place() -> None:
    """As it is printed, it is read."""
    assert parse_reference("2:17") == Reference(2, 17)
    assert str(Reference(2, 17)) == "2:17"


def test_a_record_goes_back_as_it_came() -> None:
    """Key, bytes and headers, and where it was refused first."""
    original: RawHeaders = [("ce_id", b"x"), ("ce_id", b"y"), (CONTENT_TYPE, b"text/csv")]
    made = again(FIRST, b"pump-1", b"\x00", letter_headers(90, original=original), Mend())
    assert (made.key, made.value) == (b"pump-1", b"\x00")
    assert made.headers[:3] == original
    assert origin_of(made.headers, WINDOWS, 2, 99) == FIRST


def mended(window: SensorWindow, mend: Mend, key: bytes | None = b"pump-1") -> RawHeaders:
    """Headers of a mended record."""
    headers = letter_headers(90, original=TYPED)
    return again(FIRST, key, encode_window(window), headers, mend).headers


def test_a_mended_record_is_named_by_what_it_says() -> None:
    """Its id is that of the window that it is now; the other headers stay."""
    window = pump_window(3)
    headers = mended(pump_window(0), Mend(encode_window_json(window), content_type=JSON))
    assert header(headers, "ce_id") == window.id
    assert header(headers, CONTENT_TYPE) == JSON
    assert [name for name, _ in headers][:2] == ["ce_id", CONTENT_TYPE]


def test_what_lacks_a_key_or_a_type_can_be_mended() -> None:
    """Without touching the bytes."""
    window = pump_window(0)
    value = encode_window(window)
    without_key = again(FIRST, None, value, letter_headers(90, original=TYPED), Mend(key="pump-1"))
    assert without_key.key == b"pump-1"
    typed = again(FIRST, b"pump-1", value, letter_headers(90), Mend(content_type=MSGPACK))
    assert header(typed.headers, CONTENT_TYPE) == MSGPACK
    assert typed.value == value


@pytest.mark.parametrize(
    ("mend", "says"),
    [
        (Mend(b"{"), "undecodable"),
        (Mend(content_type="text/csv"), "wrong_content_type"),
        (Mend(key="pump-2"), "--key 'pump-1'"),
    ],
)
def test_a_mend_that_makes_no_window_is_refused_here(mend: Mend, says: str) -> None:
    """Nothing is sent."""
    with pytest.raises(DataError, match=says):
        mended(pump_window(0), mend)


@pytest.mark.parametrize("reason", REASONS)
def test_what_would_be_refused_again_is_known_before(reason: str) -> None:
    """The stream processor's own judgement says so."""
    made = make_bad(pump_window(0), reason, np.random.default_rng(1))
    record = again(FIRST, made.key, made.value, made.headers, Mend())
    assert refusal(record, registry_of()) == f"would be refused again: {reason}"


def test_what_would_be_taken_now_is_known_before() -> None:
    """A model was declared since."""
    window = pump_window(0, spec=pump_spec("basin", window=9))
    record = again(FIRST, b"pump-1", encode_window(window), TYPED, Mend())
    assert refusal(record, registry_of()) == "would be refused again: wrong_shape"
    both = registry_of(specs=(pump_spec(), pump_spec("basin", window=9)))
    assert refusal(record, both) is None


def test_somebody_elses_text_does_nothing_to_a_terminal() -> None:
    """No control characters, no markup, no endless lines."""
    assert visible("\x1b[2Jgone\n") == r"\x1b[2Jgone\n"
    assert visible("[/red]") == "[/red]"
    assert visible("x" * 9, 5) == "xxxx…"


def test_a_letter_that_is_cut_says_the_records_own_size() -> None:
    """Not how much of it is here; and it can be sent again."""
    made = cut_letter(b"k", b"x" * 9000, letter_headers(3), "dead-letters/x", head_bytes=9)
    headers = made.headers
    found = letter_of(Reference(2, 1), NOW_MS, b"k", headers, 9)
    assert found.size == 9000
    assert found.is_window


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        (
            [*letter_headers(3, reason="oversized_batch"), (BATCH_RECORDS, b"4")],
            "in smaller batches",
        ),
        (
            letter_headers(-1, reason="oversized_output", topic="outcomes", by_inference=True),
            "an event of outcomes",
        ),
    ],
)
def test_what_is_no_single_record_is_final(headers: RawHeaders, why: str) -> None:
    """A batch is not sent again as if it were a record, nor is an event of ours."""
    assert why in (why_final(letter_of(Reference(2, 1), NOW_MS, None, headers, 0)) or "")


def test_another_content_type_replaces_one_in_any_case() -> None:
    """The last one counts, so none may be left."""
    original: RawHeaders = [("Content-Type", b"text/csv"), ("x", b"y")]
    headers = letter_headers(90, original=original)
    value = encode_window(pump_window(0))
    made = again(FIRST, b"pump-1", value, headers, Mend(content_type=MSGPACK))
    assert made.headers[:2] == [(CONTENT_TYPE, MSGPACK.encode()), ("x", b"y")]

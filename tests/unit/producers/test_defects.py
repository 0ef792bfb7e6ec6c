"""Each bad window has one thing wrong with it, seeded, and says which."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.contracts.events.window import SensorWindow, decode_window, encode_window
from millrace.contracts.headers import CONTENT_TYPE, header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.missing import fill_missing
from millrace.contracts.topics import MAX_RECORD_BYTES, MAX_WINDOW_BYTES
from millrace.producers.sources.defects import REASONS, BadWindow, bad_windows, make_bad
from millrace.producers.sources.simulate import SPEC

GOOD = SensorWindow(
    "PUMP-01", SPEC.sensors, 1_741_000_000_000, 60.0, np.full((32, 5), 7.0, np.float32)
)


def finding(bad: BadWindow) -> str:
    """Say what is wrong with a record, by the contracts alone."""
    if not bad.key:
        return "empty_key"
    if len(bad.value) > MAX_WINDOW_BYTES:
        return "oversized"
    try:
        window = decode_window(bad.value, header(bad.headers, CONTENT_TYPE) or "")
    except InvalidRecord as problem:
        return problem.reason
    found = {
        "bad_period": not window.period_seconds > 0,
        "implausible_time": not 946_684_800_000 < window.start_ms < 4_000_000_000_000,
        "unknown_sensor_set": window.sensors != SPEC.sensors,
        "wrong_shape": len(window.values) != SPEC.window,
        "not_finite": bool(np.isinf(window.values).any()),
        "too_many_missing": not fill_missing(window.values)[1].any(),
    }
    with np.errstate(invalid="ignore"):
        found["out_of_range"] = (
            bool((np.abs(window.values) > 1e30).any()) and not found["not_finite"]
        )
    return " and ".join(reason for reason, true in found.items() if true)


@given(st.sampled_from(REASONS), st.integers(0, 1_000))
def test_a_bad_window_is_bad_for_its_reason_alone(reason: str, seed: int) -> None:
    """Whichever way is drawn, exactly the named thing is wrong."""
    bad = make_bad(GOOD, reason, np.random.default_rng(seed))
    assert bad.reason == reason
    assert finding(bad) == reason


def test_the_good_window_stays_good() -> None:
    """Spoiling works on a copy."""
    before = encode_window(GOOD)
    rng = np.random.default_rng(3)
    for bad in bad_windows([GOOD] * 50, rng):
        assert bad.value != before or bad.reason in {"empty_key", "wrong_content_type"}
    assert encode_window(GOOD) == before


def test_the_mix_is_seeded_and_complete() -> None:
    """The same seed gives the same records, and every reason has its turn."""
    mixes = [list(bad_windows([GOOD] * 22, np.random.default_rng(9))) for _ in range(2)]
    assert mixes[0] == mixes[1]
    assert [bad.reason for bad in mixes[0]] == [*REASONS, *REASONS]
    assert set(REASONS) == {
        "wrong_shape",
        "unknown_sensor_set",
        "not_finite",
        "out_of_range",
        "too_many_missing",
        "bad_period",
        "undecodable",
        "wrong_content_type",
        "oversized",
        "empty_key",
        "implausible_time",
    }


def test_an_oversized_window_still_fits_the_topic() -> None:
    """It must arrive to be explained."""
    bad = make_bad(GOOD, "oversized", np.random.default_rng(0))
    assert MAX_WINDOW_BYTES < len(bad.value) < MAX_RECORD_BYTES
    assert msgspec.msgpack.decode(bad.value)["asset"] == "PUMP-01"


def test_an_unknown_reason_is_a_mistake() -> None:
    """Only known defects can be asked for."""
    with pytest.raises(KeyError):
        make_bad(GOOD, "haunted", np.random.default_rng(0))

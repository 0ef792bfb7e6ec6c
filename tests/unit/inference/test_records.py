"""Predictions on the wire: exactly the contract, written a batch at a time."""

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.contracts.clock import event_time
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import PLATFORM, SOURCE_OFFSET, header
from millrace.contracts.ids import derived_id
from millrace.contracts.model_spec import ModelSpec
from millrace.contracts.names import name_problem
from millrace.contracts.normaliser import Normaliser
from millrace.contracts.source import Source
from millrace.contracts.topics import PREDICTIONS
from millrace.contracts.wire.codec import encode, headers_of
from millrace.inference.batch.predictions import LAST_MS, Forecasts
from millrace.inference.batch.records import ORIGIN, prediction_ids, prediction_records
from millrace.inference.serving.platform import platform_name
from millrace.inference.serving.servables import Persistence, Servable
from tests.builders import AT, START_MS, UNITS, pump_spec, pump_window, stamped_window

SENSORS = ("flow", '100 %d "pressure"\n', "Temperatur \u00b0C")
HORIZON_MS = 90_500
#: Until then (2242) a float tells milliseconds exactly, and so `event_time` does.
EXACT_MS = (1000 << 33) - HORIZON_MS
TEXT = st.text(max_size=12)
NUMBERS = st.floats(width=32)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


def reference(
    servable: Servable, window: NormalizedWindow, said: Forecasts, place: int, at: datetime
) -> Prediction:
    """The prediction, field by field, as the contract describes it."""
    spec, source = servable.spec, window.source
    shown = said.present[place].tolist()

    def row(values: list[float]) -> list[float | None]:
        return [x if there else None for x, there in zip(values, shown, strict=True)]

    return Prediction(
        id=derived_id("p", source.topic, source.partition, source.offset),
        asset=window.asset,
        model=spec.name,
        version=servable.version,
        stamped_version=window.version,
        epoch=window.epoch,
        artefact_digest=servable.artefact_digest,
        normaliser_digest=servable.normaliser.digest,
        window_id=window.window_id,
        source=source,
        interval_start=event_time(window.end_ms),
        interval_end=event_time(window.end_ms + HORIZON_MS),
        targets=spec.target_names,
        present=tuple(shown),
        forecast=[row(values) for values in said.forecast[place].tolist()],
        persistence=row(said.last[place].tolist()),
        predicted_at=at,
        latency_ms=at.timestamp() * 1000 - source.timestamp_ms,
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[Servable, list[NormalizedWindow], Forecasts]:
    """A version, windows of one stamp, and what it says about them."""
    count, steps = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    targets = tuple(draw(st.permutations(SENSORS))[: draw(st.integers(1, 3))])
    name = draw(TEXT.filter(lambda text: name_problem(text) is None))
    spec = ModelSpec(name, SENSORS, HORIZON_MS / 1000 / steps, 4, steps, 1, "sequence", targets)
    units = Normaliser((0.0,) * 3, (1.0,) * 3)
    servable = Servable(spec, draw(st.integers(0, 1 << 40)), units, draw(TEXT), Persistence(spec))
    version, epoch = draw(st.integers(0, 99)), draw(st.integers(0, 99))
    windows = [
        NormalizedWindow(
            window_id=draw(TEXT),
            asset=draw(TEXT),
            model=spec.name,
            version=version,
            epoch=epoch,
            source=Source(
                draw(TEXT),
                draw(st.integers(0, 1000)),
                draw(st.integers(0, 1 << 62)),
                draw(st.integers(-1, 1 << 45)),
            ),
            start_ms=0,
            end_ms=draw(st.integers(0, EXACT_MS)),
            values=b"",
            present=b"",
        )
        for _ in range(count)
    ]
    width = len(targets)
    numbers = st.lists(NUMBERS, min_size=count * width, max_size=count * width)
    shown = np.array(
        draw(st.lists(st.booleans(), min_size=count * width, max_size=count * width)), np.bool_
    )
    forecast = np.array([draw(numbers) for _ in range(steps)], np.float32)
    return (
        servable,
        windows,
        Forecasts(
            forecast.reshape(steps, count, width).swapaxes(0, 1),
            np.array(draw(numbers), np.float32).reshape(count, width),
            shown.reshape(count, width),
            np.ones(count, np.bool_),
        ),
    )


@given(batches(), MOMENTS)
def test_records_are_the_contract_byte_for_byte(
    batch: tuple[Servable, list[NormalizedWindow], Forecasts], at: datetime
) -> None:
    """The batch encoder writes what msgspec writes of the event, and the event's headers."""
    servable, windows, said = batch
    made = prediction_records(servable, windows, said, at)
    assert len(made) == len(windows)
    for place, (window, record) in enumerate(zip(windows, made, strict=True)):
        expected = reference(servable, window, said, place, at)
        topic, key, value, headers, partition = record
        assert value == encode(expected)
        assert (topic, key) == (PREDICTIONS.name, window.asset.encode())
        assert partition == window.source.partition
        made_on = (PLATFORM, platform_name().encode())
        offset = (SOURCE_OFFSET, str(window.source.offset).encode())
        assert headers == [*headers_of(expected, ORIGIN, at), made_on, offset]


@given(st.integers(0, LAST_MS))
@example(0)
@example(999)
@example(LAST_MS)
def test_times_are_those_of_the_contract(end_ms: int) -> None:
    """To the millisecond, from 1970 to 9999."""
    window = msgspec.structs.replace(
        stamped_window(pump_window(), 1), end_ms=min(end_ms, LAST_MS - 180_000)
    )
    servable = Servable(pump_spec(), 1, UNITS, "d", Persistence(pump_spec()))
    nothing = np.zeros((1, 3, 2), np.float32)
    said = Forecasts(nothing, nothing[:, 0], np.ones((1, 2), np.bool_), np.ones(1, np.bool_))
    ((_, _, value, _, _),) = prediction_records(servable, [window], said, AT)
    made = msgspec.json.decode(value, type=Prediction)
    assert made.interval_start == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        milliseconds=window.end_ms
    )
    assert made.interval_end - made.interval_start == timedelta(minutes=3)


def test_a_record_tells_how_late_it_is() -> None:
    """Latency is from the edge's hand-over; the headers say what it is and of which record."""
    window = stamped_window(pump_window(), 7, version=2, epoch=5, units=UNITS)
    servable = Servable(pump_spec(), 2, UNITS, "d", Persistence(pump_spec()))
    nothing = np.zeros((1, 3, 2), np.float32)
    said = Forecasts(nothing, nothing[:, 0], np.ones((1, 2), np.bool_), np.ones(1, np.bool_))
    at = event_time(START_MS) + timedelta(milliseconds=250)
    ((_, _, value, headers, _),) = prediction_records(servable, [window], said, at)
    assert msgspec.json.decode(value)["latency_ms"] == 250.0
    assert header(headers, SOURCE_OFFSET) == "7"
    assert header(headers, "ce_type") == Prediction.TYPE
    assert "tensorflow 2." in (header(headers, PLATFORM) or "")


@given(st.lists(st.tuples(TEXT, st.integers(0, 99), st.integers(0, 1 << 62)), max_size=5))
def test_ids_are_derived_ids(places: list[tuple[str, int, int]]) -> None:
    """The short way to an id gives the id that everybody else derives."""
    windows = [
        msgspec.structs.replace(
            stamped_window(pump_window(), 0), source=Source(topic, partition, offset, 0)
        )
        for topic, partition, offset in places
    ]
    assert prediction_ids(windows) == [derived_id("p", *place).encode() for place in places]

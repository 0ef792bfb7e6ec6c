"""A micro-batch of several versions: every window gets its own answer, in its own place."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import msgspec
import numpy as np
import pytest

from millrace.contracts.events.dead_letter import REASON
from millrace.contracts.events.normalized_window import NormalizedWindow
from millrace.contracts.events.prediction import Prediction
from millrace.contracts.headers import header
from millrace.contracts.invalid_record import InvalidRecord
from millrace.contracts.topics import DEAD_LETTERS, PREDICTIONS
from millrace.inference.batch.records import Record
from millrace.inference.batch.results import SURE_BYTES, MicroBatchResults
from millrace.inference.metrics import LATENCY
from millrace.inference.serving.servables import Persistence, Servable
from millrace.model_families.examples import Bools, Float32
from millrace.model_families.padding import SIZES
from tests.builders import UNITS, pump_spec, pump_window, source_of, stamped_window

SPEC = pump_spec()


@pytest.fixture
def network() -> Iterator[Executor]:
    """A thread on which networks run."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def version(number: int, spoiled: int | None = None) -> Servable:
    """A version; it makes no finite forecast of one of the windows that it is given."""

    def forecast(values: Float32, present: Bools) -> Float32:
        made = Persistence(SPEC)(values, present)
        if spoiled is not None:
            made[spoiled] = np.nan
        return made

    return Servable(SPEC, number, UNITS, f"digest-{number}", forecast)


def window(offset: int, number: int) -> NormalizedWindow:
    """A window that is stamped with a version."""
    made = stamped_window(pump_window(3 * offset), offset, version=number, units=UNITS)
    return msgspec.structs.replace(made, source=source_of(offset))


def told(records: list[Record]) -> list[int | str | None]:
    """The version of each prediction, and the reason of each dead letter."""
    found: list[int | str | None] = []
    for topic, _, value, headers, _ in records:
        if topic == PREDICTIONS.name:
            found.append(msgspec.json.decode(value, type=Prediction).version)
        else:
            assert topic == DEAD_LETTERS.name
            found.append(header(headers, REASON))
    return found


def test_answers_come_in_the_order_of_their_windows(network: Executor) -> None:
    """Versions take turns in the stream; each answers its own, and nothing changes places."""
    stamps = [1, 2, 2, 1, 3, 1, 2]
    windows = [window(offset, number) for offset, number in enumerate(stamps)]
    answers = MicroBatchResults(windows, network)
    for number in (3, 1):
        places = [place for place, stamp in enumerate(stamps) if stamp == number]
        answers.ask(version(number), None, places)
    for place in (1, 2, 6):
        answers.refuse(place, InvalidRecord("unknown_version", "2"))
    records = list(answers.records())
    assert told(records) == [s if s != 2 else "unknown_version" for s in stamps]
    for offset, (topic, _, value, _, _) in enumerate(records):
        if topic == PREDICTIONS.name:
            assert msgspec.json.decode(value, type=Prediction).source.offset == offset


def test_windows_that_fit_no_model_or_have_no_forecast_are_refused(network: Executor) -> None:
    """Each by its own fault; their neighbours are answered."""
    windows = [window(offset, 1) for offset in range(6)]
    windows[2] = msgspec.structs.replace(windows[2], values=b"")
    answers = MicroBatchResults(windows, network)
    answers.ask(version(1, spoiled=3), None, range(6))  # the fourth that fits is the fifth
    assert told(list(answers.records())) == [1, 1, "wrong_shape", 1, "forecast_not_finite", 1]


def test_batches_of_any_length_are_run(network: Executor) -> None:
    """More windows than the largest size are several runs, in order."""
    count = 2 * SIZES[-1] + 3
    answers = MicroBatchResults([window(offset, 1) for offset in range(count)], network)
    answers.ask(version(1), None, range(count))
    made = [msgspec.json.decode(r[2], type=Prediction).source.offset for r in answers.records()]
    assert made == list(range(count))


def test_a_forecast_that_no_topic_takes_is_refused(network: Executor) -> None:
    """The window is a dead letter, not a process that dies of it again and again."""
    steps = SURE_BYTES // 8
    spec = msgspec.structs.replace(SPEC, horizon=steps)
    servable = Servable(spec, 1, UNITS, "digest-1", Persistence(spec))
    answers = MicroBatchResults([window(0, 1)], network)
    answers.ask(servable, None, [0])
    assert told(list(answers.records())) == ["forecast_too_large"]


def test_what_is_counted_are_committed_predictions(network: Executor) -> None:
    """Metrics count when asked to, and only what was predicted."""

    def counted() -> float:
        (family,) = LATENCY.collect()
        return next(s.value for s in family.samples if s.name.endswith("_count"))

    before = counted()
    answers = MicroBatchResults([window(offset, 1) for offset in range(4)], network)
    answers.ask(version(1, spoiled=0), None, range(4))
    list(answers.records())
    assert counted() == before
    answers.count()
    assert counted() == before + 3


def test_a_failing_network_fails_the_batch(network: Executor) -> None:
    """Broken machinery is an exception where the answers are taken."""

    def broken(values: Float32, present: Bools) -> Float32:
        raise RuntimeError(f"{values.shape} {present.shape}")

    answers = MicroBatchResults([window(0, 1)], network)
    answers.ask(Servable(SPEC, 1, UNITS, "d", broken), None, [0])
    with pytest.raises(RuntimeError):
        list(answers.records())
